"""Dino-S: does the character stay itself? Mean cosine between the reference portrait and the pictures of the video.

The portrait, not the first frame, is the reference: a method that distorts a face at once and then stays there must
lose. Cosines to the first and the previous picture are kept beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evalkit.metrics.base import Backbone, Features, Metric, Score
from evalkit.metrics.drift import last_minus_first, slope_per_minute
from evalkit.metrics.weights import nano_backbone


class DinoS(Metric):
    """Mean cosine, at most 1, of five pictures a second."""

    name, title, direction, bounds, decimals = "dino_s", "Dino-S", "up", (-1.0, 1.0), 3
    extractors = ("image",)

    @property
    def backbone(self) -> Backbone:
        return nano_backbone("image_encoder")

    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        arrays = features["image"]
        if not len(arrays["frames"]):
            return Score.missing("too_short", frames=0)
        times_s, cosines = arrays["times_s"], cosine_tracks(arrays["reference"], arrays["frames"])
        to_reference = cosines["cos_reference"]
        details = {
            "frames": len(to_reference),
            "min": float(to_reference.min()),
            "cos_first": _mean(cosines["cos_first"]),
            "cos_previous": _mean(cosines["cos_previous"]),
            "slope_per_minute": slope_per_minute(times_s, to_reference),
            "last_minus_first": last_minus_first(times_s, to_reference),
        }
        series = {"dino_s": (times_s.tolist(), [round(float(value), 5) for value in to_reference])}
        return Score(float(to_reference.mean()), None, details, series)


def cosine_tracks(reference: np.ndarray, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Cosines of frames [n, D] to the reference [n]; of frames 1.. to frame 0 and to the one before [n - 1]."""
    frames, reference = _unit(frames), _unit(reference)
    return {
        "cos_reference": frames @ reference,
        "cos_first": frames[1:] @ frames[0],
        "cos_previous": (frames[1:] * frames[:-1]).sum(1),
    }


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
