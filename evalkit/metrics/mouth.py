"""Does the mouth move as the truth says? Correlation of the opening read from pixels with the true opening.

Only the nano world has that truth; other sets report `no_truth`. `read_opening` is the readout for anyone's pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evalkit.metrics.base import Clip, Features, Metric, Score
from evalkit.metrics.face_crop import FACE_SOURCE, Box
from evalkit.metrics.truth import true_track

FPS = 25
MIN_FRAMES = 25
MIN_TRUE_SPREAD = 0.02
SERIES_FRAMES = 10 * FPS
SEARCH_FRAMES = 15


class MouthCorrelation(Metric):
    """Pearson r, in -1..1, over the frames that video and truth share; a mouth that never moves scores 0."""

    name, title, direction, bounds = "mouth_correlation", "Mouth correlation", "up", (-1.0, 1.0)
    extractors = ("mouth",)

    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        arrays, true = features["mouth"], true_track(sample, "mouth_open")
        if true is None:
            return Score.missing("no_truth")
        read, first = arrays["opening"], int(arrays.get("first_frame", 0))
        if first and not len(read):
            return Score.missing("no_face_track", frames=first)
        true = true[first:]
        count = min(len(read), len(true))
        if count < MIN_FRAMES:
            return Score.missing("too_short", frames=count, frames_needed=MIN_FRAMES)
        read, true = read[:count].astype(np.float64), true[:count].astype(np.float64)
        if true.std() < MIN_TRUE_SPREAD:
            return Score.missing("mouth_never_opens_in_truth", frames=count)
        lag = best_lag(read, true)
        details = {
            "frames": count,
            "amplitude_ratio": float(read.std() / true.std()),
            "mean_read": float(read.mean()),
            "mean_true": float(true.mean()),
            "best_lag_frames": lag,
            "best_lag_correlation": pearson(*lagged(read, true, lag)),
            "face_source": str(arrays.get("face_source", FACE_SOURCE)),
        }
        return Score(pearson(read, true), None, details, _series(read, true))


def read_opening(frames: np.ndarray, face_box: Box) -> np.ndarray:
    """Mouth opening float32 [n] in 0..1 of pictures uint8 [n, H, W, 3] with one relative face box (x0, y0, x1, y1)."""
    from evalkit.metrics.registry import get_extractor

    stream = get_extractor("mouth").open(Clip(frames.shape[2], frames.shape[1], FPS, False, _FaceOnly(face_box)))
    for start in range(0, len(frames), 256):
        stream.frames(frames[start : start + 256], np.zeros(0))
    return stream.finish()["opening"]


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two tracks [n]; 0 if either does not vary."""
    first, second = first - first.mean(), second - second.mean()
    size = np.sqrt(np.square(first).sum() * np.square(second).sum())
    return float((first * second).sum() / size) if size > 1e-9 else 0.0


def best_lag(read: np.ndarray, true: np.ndarray, search: int = SEARCH_FRAMES) -> int:
    """Frames by which the picture is late (positive) where the correlation is highest."""
    search = min(search, len(read) // 2)
    return max(range(-search, search + 1), key=lambda lag: (pearson(*lagged(read, true, lag)), -abs(lag)))


def lagged(read: np.ndarray, true: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """The overlap of read[t + lag] with true[t]."""
    count = len(read) - abs(lag)
    return read[max(lag, 0) :][:count], true[max(-lag, 0) :][:count]


class _FaceOnly:
    def __init__(self, face_box: Box):
        self.face_box = tuple(float(value) for value in face_box)


def _series(read: np.ndarray, true: np.ndarray) -> dict[str, tuple[list[float], list[float]]]:
    """The first ten seconds of both tracks, enough to look at."""
    times_s = [(index + 0.5) / FPS for index in range(min(len(read), SERIES_FRAMES))]
    return {
        name: (times_s, [round(float(value), 4) for value in track[: len(times_s)]])
        for name, track in (("mouth_read", read), ("mouth_true", true))
    }
