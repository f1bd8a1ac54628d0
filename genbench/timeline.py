"""How audio samples, frames and blocks line up: the one place that knows the rates of the nano world.

Frame n shows the time [n, n + 1) / FPS, and its audio is samples [n, n + 1) * SAMPLES_PER_FRAME.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genbench.speech import PAUSE, SAMPLE_RATE_HZ, Speech, TimedLabel

if TYPE_CHECKING:
    import torch

FPS = 25
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FPS
FRAMES_PER_BLOCK = 12
SAMPLES_PER_BLOCK = FRAMES_PER_BLOCK * SAMPLES_PER_FRAME
BLOCK_S = FRAMES_PER_BLOCK / FPS
# Root mean square of a loud vowel; louder frames count as full energy.
_FULL_ENERGY_RMS = 0.18


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] as 16-bit integers."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


def frame_energy(samples: np.ndarray, frames: int) -> torch.Tensor:
    """Loudness of each frame in 0..1, float32 [frames]; audio beyond the end counts as silent."""
    import torch

    padded = np.zeros(frames * SAMPLES_PER_FRAME, dtype=np.float64)
    kept = min(len(samples), len(padded))
    padded[:kept] = samples[:kept]
    rms = np.sqrt((padded.reshape(frames, SAMPLES_PER_FRAME) ** 2).mean(axis=1))
    return torch.from_numpy(np.clip(rms / _FULL_ENERGY_RMS, 0, 1).astype(np.float32))


def shift_labels(labels: list[TimedLabel], offset_s: float) -> list[TimedLabel]:
    """The same labels with `offset_s` added to every time."""
    return [(name, start + offset_s, end + offset_s) for name, start, end in labels]


def cut_labels(labels: list[TimedLabel], start_s: float, stop_s: float) -> list[TimedLabel]:
    """Labels cut to [start_s, stop_s), counted from start_s."""
    return shift_labels(_split(_split(labels, start_s)[1], stop_s)[0], -start_s)


def run_of_sentences(speech: Speech, duration_s: float) -> Speech:
    """The run of whole sentences whose length is nearest to `duration_s`, padded with silence to whole blocks."""
    first, last = _nearest_run(speech.sentences, duration_s)
    start = round(speech.sentences[first][1] * speech.sample_rate_hz)
    stop = round(speech.sentences[last][2] * speech.sample_rate_hz)
    blocks = -(-(stop - start) // SAMPLES_PER_BLOCK)
    samples = np.zeros(blocks * SAMPLES_PER_BLOCK, dtype=np.float32)
    spoken = speech.samples[start:stop]
    samples[: len(spoken)] = spoken
    start_s, stop_s, total_s = (count / speech.sample_rate_hz for count in (start, stop, start + len(samples)))
    phonemes = cut_labels(speech.phonemes, start_s, stop_s)
    if total_s > stop_s:
        phonemes.append((PAUSE, stop_s - start_s, total_s - start_s))
    return Speech(
        samples,
        phonemes,
        cut_labels(speech.words, start_s, stop_s),
        cut_labels(speech.sentences[first : last + 1], start_s, stop_s),
        speech.sample_rate_hz,
    )


def insert_silence(speech: Speech, at_sample: int, length: int) -> Speech:
    """Speech with `length` silent samples at `at_sample`, which should lie in a pause; sentence times are dropped."""
    at_s, length_s = at_sample / speech.sample_rate_hz, length / speech.sample_rate_hz
    pieces = [speech.samples[:at_sample], np.zeros(length, dtype=np.float32), speech.samples[at_sample:]]
    before, after = _split(speech.phonemes, at_s)
    words_before, words_after = _split(speech.words, at_s)
    return Speech(
        np.concatenate(pieces),
        [*before, (PAUSE, at_s, at_s + length_s), *shift_labels(after, length_s)],
        words_before + shift_labels(words_after, length_s),
        sample_rate_hz=speech.sample_rate_hz,
    )


def pause_middles(speech: Speech) -> list[int]:
    """Middle sample of every pause, in order."""
    return [
        round((start + end) / 2 * speech.sample_rate_hz) for name, start, end in speech.phonemes if name == PAUSE
    ]


def _split(labels: list[TimedLabel], at_s: float) -> tuple[list[TimedLabel], list[TimedLabel]]:
    before = [(name, start, min(end, at_s)) for name, start, end in labels if start < at_s]
    after = [(name, max(start, at_s), end) for name, start, end in labels if end > at_s]
    return before, after


def _nearest_run(sentences: list[TimedLabel], duration_s: float) -> tuple[int, int]:
    """(first, last) sentence of the run nearest in length; the earliest of equals."""
    runs = [(first, last) for first in range(len(sentences)) for last in range(first, len(sentences))]
    return min(runs, key=lambda run: abs(sentences[run[1]][2] - sentences[run[0]][1] - duration_s))
