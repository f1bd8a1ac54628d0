"""Dino-S: does the character stay itself? Mean cosine between the reference portrait and the pictures of the video.

The portrait, not the first frame, is the reference: a method that distorts a face at once and then stays there must
lose. Cosines to the first and the previous picture are kept beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from evalkit.metrics.base import Bounds, Features, Metric, Score
from evalkit.metrics.drift import last_minus_first, slope_per_minute

_ROWS_AT_ONCE = 4096


class DinoS(Metric):
    """Mean cosine, at most 1, of five pictures a second."""

    name, title, direction, decimals = "dino_s", "Dino-S", "up", 3
    bounds: ClassVar[Bounds] = (-1.0, 1.0)
    extractors = ("image",)

    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        arrays = features[self.extractors[0]]
        if not len(arrays["frames"]):
            return Score.missing("too_short", frames=0)
        times_s, cosines = arrays["times_s"], cosine_tracks(arrays["reference"], arrays["frames"])
        to_reference = cosines["cos_reference"]
        details = {
            "frames": len(to_reference),
            "min": float(to_reference.min()),
            "cos_first": _mean(cosines["cos_first"]),
            "cos_previous": _mean(cosines["cos_previous"]),
            "vbench_style": vbench_style(cosines),
            "reference": str(arrays.get("reference_source", "portrait")),
            "slope_per_minute": slope_per_minute(times_s, to_reference),
            "last_minus_first": last_minus_first(times_s, to_reference),
        }
        series = {"dino_s": (times_s.tolist(), [round(float(value), 5) for value in to_reference])}
        return Score(float(to_reference.mean()), None, details, series)


class DinoSFull(DinoS):
    """The same on whole pictures of 224 x 392, nothing cut off."""

    name, title = "dino_s_full", "Dino-S, whole picture"
    extractors = ("image_full",)


class IdentityDrift(DinoS):
    """Slope of Dino-S per minute: 0 for a character that stays itself, below 0 for one that drifts away."""

    name, title, direction, unit = "identity_drift", "Identity drift", "up", "1/min"
    bounds: ClassVar[Bounds] = (None, None)

    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        plain = super().score(features, sample)
        if plain.value is None:
            return plain
        slope = plain.details["slope_per_minute"]
        if slope is None:
            return Score.missing("too_short", frames=plain.details["frames"])
        return Score(slope, None, {**plain.details, "mean": plain.value}, plain.series)


def cosine_tracks(reference: np.ndarray, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Cosines of frames [n, D] to the reference [n]; of frames 1.. to frame 0 and to the one before [n - 1]."""
    reference, count = _unit(reference), len(frames)
    first = _unit(frames[0]) if count else reference
    tracks = {name: np.empty(count) for name in ("cos_reference", "cos_first", "cos_previous")}
    before = first
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = _unit(frames[start : start + _ROWS_AT_ONCE])
        place = slice(start, start + len(rows))
        tracks["cos_reference"][place], tracks["cos_first"][place] = rows @ reference, rows @ first
        tracks["cos_previous"][place] = (rows * np.concatenate([before[None], rows[:-1]])).sum(1)
        before = rows[-1]
    return {**tracks, "cos_first": tracks["cos_first"][1:], "cos_previous": tracks["cos_previous"][1:]}


def vbench_style(tracks: Mapping[str, np.ndarray]) -> float | None:
    """Mean over pictures 1.. of both cosines, each at least 0: VBench's subject consistency, whose network is another."""
    if not len(tracks["cos_first"]):
        return None
    return float((np.maximum(tracks["cos_first"], 0) + np.maximum(tracks["cos_previous"], 0)).mean() / 2)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
