"""Sound as bytes: the sets' own WAV form out, and in with every deviation named; recordings of other rates resampled."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genbench.speech import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from genbench.speech import Speech

INT16_SCALE = 32_768.0


def wav_bytes(speech: Speech) -> bytes:
    """A 16-bit mono WAV file of the speech at its own rate."""
    from genbench.timeline import to_int16

    return int16_wav(to_int16(speech.samples), speech.sample_rate_hz)


def int16_wav(samples: np.ndarray, rate_hz: int) -> bytes:
    """A mono WAV file of int16 samples [n]."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def read_set_wav(path: Path) -> np.ndarray:
    """Samples int16 [n] of a set's own speech file. Raises ValueError unless it is 16 kHz, mono, 16 bit and not empty."""
    try:
        with wave.open(str(path), "rb") as file:
            found = (file.getframerate(), file.getnchannels(), 8 * file.getsampwidth())
            data = file.readframes(file.getnframes())
            promised = file.getnframes()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is no readable WAV file ({error}); make it again") from error
    if found != (SAMPLE_RATE_HZ, 1, 16):
        raise ValueError(
            f"{path} has {found[0]} Hz, {found[1]} channels, {found[2]} bits; speech of a set has "
            f"{SAMPLE_RATE_HZ} Hz, 1 channel, 16 bits: make it again"
        )
    samples = np.frombuffer(data, "<i2")
    if not promised or len(samples) != promised:
        raise ValueError(f"{path} holds {len(samples)} of {promised} samples; make it again")
    return samples


def read_recording(path: Path) -> tuple[np.ndarray, int]:
    """(samples float32 [n] at 16 kHz, the file's own rate) of any audio file, channels averaged.

    Raises ValueError where the file cannot be read, is empty, or has a rate below 16 kHz: what was cut off up there is lost.
    """
    import av

    pieces, rate = [], 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ValueError(f"{path} holds no sound")
            rate = container.streams.audio[0].rate
            resampler = av.AudioResampler(format="fltp", rate=rate)
            for frame in container.decode(audio=0):
                pieces += [out.to_ndarray().mean(axis=0) for out in resampler.resample(frame)]
    except av.FFmpegError as error:
        raise ValueError(f"{path} is no readable sound file ({error}); give a whole WAV, FLAC, MP3 or MP4 file") from error
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(samples):
        raise ValueError(f"{path} holds no sound; record it again")
    if rate < SAMPLE_RATE_HZ:
        raise ValueError(f"{path} has {rate} Hz; give {SAMPLE_RATE_HZ} Hz or more")
    return resampled(samples, rate), rate


def resampled(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Float32 samples at 16 kHz; the filter is symmetric, so nothing moves in time."""
    if rate_hz == SAMPLE_RATE_HZ:
        return samples.astype(np.float32)
    from math import gcd

    from scipy.signal import resample_poly

    common = gcd(rate_hz, SAMPLE_RATE_HZ)
    made = resample_poly(samples.astype(np.float64), SAMPLE_RATE_HZ // common, rate_hz // common)
    return np.clip(made, -1, 1).astype(np.float32)


def whole_blocks(samples: np.ndarray) -> np.ndarray:
    """The samples with silence after them up to the next whole block of 0.48 s."""
    from genbench.timeline import SAMPLES_PER_BLOCK

    blocks = max(1, -(-len(samples) // SAMPLES_PER_BLOCK))
    padded = np.zeros(blocks * SAMPLES_PER_BLOCK, np.float32)
    padded[: len(samples)] = samples
    return padded
