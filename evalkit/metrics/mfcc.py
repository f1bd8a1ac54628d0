"""Mel-frequency cepstral coefficients exactly as SyncNet was trained on (python_speech_features 0.6 defaults).

16 kHz sound on the int16 scale, float64 arithmetic: pre-emphasis 0.97, frames of 400 every 160 samples, rectangular
window, 512-point power spectrum, 26 mel filters, logarithm, orthonormal DCT-II, 13 coefficients, lifter 22, and
coefficient 0 replaced by the log energy. Other libraries' MFCCs differ and are not interchangeable.
"""

from __future__ import annotations

from functools import cache

import numpy as np

RATE_HZ = 16_000
FRAME_SAMPLES = 400
HOP_SAMPLES = 160
COEFFICIENTS = 13

_FFT = 512
_FILTERS = 26
_PRE_EMPHASIS = 0.97
_LIFTER = 22
_FLOOR = np.finfo(float).eps


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Coefficients float64 [frames, 13] of a whole waveform [n] on the int16 scale (-32768..32767)."""
    stream = MfccStream()
    return np.concatenate([stream.push(samples), stream.flush()])


class MfccStream:
    """The same numbers (to 1e-12) from a waveform that arrives in pieces of any size."""

    def __init__(self) -> None:
        self._emphasised = np.zeros(0)
        self._previous: float | None = None
        self._emitted = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Coefficients [k, 13] of the frames that are complete now."""
        samples = np.asarray(samples, dtype=np.float64)
        if not len(samples):
            return np.zeros((0, COEFFICIENTS))
        before = np.concatenate([[self._previous or 0.0], samples[:-1]])
        self._previous = samples[-1]
        self._emphasised = np.concatenate([self._emphasised, samples - _PRE_EMPHASIS * before])
        complete = max(0, 1 + (len(self._emphasised) - FRAME_SAMPLES) // HOP_SAMPLES)
        return self._emit(complete)

    def flush(self) -> np.ndarray:
        """Coefficients [0 or 1, 13] of the zero-padded tail; nothing at all for an empty waveform."""
        covered = FRAME_SAMPLES - HOP_SAMPLES if self._emitted else 0
        if len(self._emphasised) <= covered:
            return np.zeros((0, COEFFICIENTS))
        self._emphasised = np.pad(self._emphasised, (0, FRAME_SAMPLES - len(self._emphasised)))
        return self._emit(1)

    def _emit(self, frames: int) -> np.ndarray:
        if not frames:
            return np.zeros((0, COEFFICIENTS))
        windows = np.lib.stride_tricks.sliding_window_view(self._emphasised, FRAME_SAMPLES)[::HOP_SAMPLES][:frames]
        out = _coefficients(windows)
        self._emphasised = self._emphasised[frames * HOP_SAMPLES :].copy()
        self._emitted += frames
        return out


@cache
def mel_filterbank() -> np.ndarray:
    """Triangles of height 1 [26, 257], equally spaced in mel from 0 to 8000 Hz."""
    mel_top = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    hz = 700 * (10 ** (np.linspace(0, mel_top, _FILTERS + 2) / 2595) - 1)
    edges = np.floor((_FFT + 1) * hz / RATE_HZ)
    bank = np.zeros((_FILTERS, _FFT // 2 + 1))
    for row, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        rising, falling = np.arange(int(low), int(middle)), np.arange(int(middle), int(high))
        bank[row, rising] = (rising - low) / (middle - low)
        bank[row, falling] = (high - falling) / (high - middle)
    return bank


@cache
def _dct() -> np.ndarray:
    """Orthonormal DCT-II [13, 26] with the lifter folded in."""
    order, position = np.arange(COEFFICIENTS)[:, None], np.arange(_FILTERS)[None]
    basis = np.sqrt(2 / _FILTERS) * np.cos(np.pi * order * (2 * position + 1) / (2 * _FILTERS))
    basis[0] /= np.sqrt(2)
    return basis * (1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER))


def _coefficients(windows: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(windows, _FFT)) ** 2 / _FFT
    energy = power.sum(1)
    bands = power @ mel_filterbank().T
    out = np.log(np.where(bands == 0, _FLOOR, bands)) @ _dct().T
    out[:, 0] = np.log(np.where(energy == 0, _FLOOR, energy))
    return out
