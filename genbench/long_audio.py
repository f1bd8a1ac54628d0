"""A voice without end: a recording repeated so that every second is spoken and no seam clicks, readable at any place.

The silence after the last word is cut to a short pause, a period is a whole number of frames, and the first moment of each
repetition is cross-faded with what would have followed. The number of frames in a period has no factor in common with a
block's 12, so that a repetition never meets the same blocks again before 12 of them have passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from genbench.sound import read_set_wav
from genbench.speech import SAMPLE_RATE_HZ
from genbench.timeline import FRAMES_PER_BLOCK, SAMPLES_PER_FRAME

PAUSE_S = 0.24
FADE_S = 0.02
PIECE_S = 0.48
_SILENT = 104  # int16 level of -50 dBFS


class LongVoice:
    """An int16 voice at 16 kHz, repeated. period_frames: after how many video frames it begins again.

    Raises ValueError for a voice that is silent or too short to repeat.
    """

    def __init__(self, samples: np.ndarray) -> None:
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > _SILENT)
        if not len(loud):
            raise ValueError("the voice is silent; give one that speaks")
        end = int(loud[-1]) + 1 + round(PAUSE_S * SAMPLE_RATE_HZ)
        frames = -(-end // SAMPLES_PER_FRAME)
        while gcd(frames, FRAMES_PER_BLOCK) > 1:
            frames += 1
        self.period_frames = frames
        self._fade = round(FADE_S * SAMPLE_RATE_HZ)
        period = frames * SAMPLES_PER_FRAME
        padded = np.zeros(max(period + self._fade, len(samples)), np.float64)
        padded[: len(samples)] = samples
        # Raised cosine: both sides add up to one, and neither has a corner.
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(self._fade) + 0.5) / self._fade)
        self._first = samples[: self._fade].astype(np.int16)
        self._loop = padded[:period].copy()
        self._loop[: self._fade] = padded[: self._fade] * rise + padded[period : period + self._fade] * (1 - rise)
        self._loop = np.round(self._loop).astype(np.int16)

    @classmethod
    def of(cls, path: Path) -> LongVoice:
        """The voice in a set's own WAV file."""
        return cls(read_set_wav(path))

    @staticmethod
    def rule() -> dict[str, Any]:
        """How a voice is repeated, for manifests."""
        return {
            "rule": "loop-1",  # another way to repeat is another name: it stands in the digest of sets
            "pause_s": PAUSE_S,
            "fade_s": FADE_S,
            "frames_per_block": FRAMES_PER_BLOCK,
        }

    def read(self, start: int, count: int) -> np.ndarray:
        """Samples [start, start + count) of the endless voice, int16; no others are computed."""
        if start < 0 or count < 0:
            raise ValueError(f"read({start}, {count}); give a start and a count of 0 or more")
        samples = self._loop[(start + np.arange(count)) % len(self._loop)]
        if start < self._fade:
            stop = min(self._fade, start + count)
            samples[: stop - start] = self._first[start:stop]
        return samples

    def pieces(self, length_s: float, piece_s: float = PIECE_S) -> Iterator[np.ndarray]:
        """The first `length_s` seconds in pieces; memory does not grow."""
        total, step = round(length_s * SAMPLE_RATE_HZ), max(1, round(piece_s * SAMPLE_RATE_HZ))
        for start in range(0, total, step):
            yield self.read(start, min(step, total - start))

    def segment(self, span_s: Sequence[float]) -> np.ndarray:
        """The samples of [begin, end) seconds, e.g. of one of Table 7's segments."""
        begin, end = (round(second * SAMPLE_RATE_HZ) for second in span_s)
        return self.read(begin, end - begin)

    def frame_in_voice(self, frame: int) -> int:
        """The frame of the voice (and of its truth) that is heard at a frame of the endless stream."""
        return frame % self.period_frames
