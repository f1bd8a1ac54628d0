"""IQA and ASE of a clip: the mean of Q-Align ratings, 1 to 5, of one picture a second.

The arithmetic is Q-Align's whichever network made the logits; ratings are averaged, logits never are. The five logits of
every picture are kept, so that another scale can be had without another run of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from evalkit.metrics.base import Features, Metric, Score
from evalkit.metrics.drift import last_minus_first, slope_per_minute
from evalkit.metrics.levels import scores_of


class _Rating(Metric):
    direction, bounds = "up", (1.0, 5.0)
    extractors = ("quality",)
    task: ClassVar[str]

    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        arrays = features["quality"]
        if not len(arrays["times_s"]):
            return Score.missing("too_short", pictures=0)
        times_s, ratings = arrays["times_s"].astype(np.float64), scores_of(arrays[self.task])
        details = {
            "pictures": len(ratings),
            "min": float(ratings.min()),
            "slope_per_minute": slope_per_minute(times_s, ratings),
            "last_minus_first": last_minus_first(times_s, ratings),
        }
        series = {self.task: (times_s.tolist(), [round(float(value), 4) for value in ratings])}
        return Score(float(ratings.mean()), None, details, series)


class ImageQuality(_Rating):
    """Freedom from blur, noise, blocks and other damage."""

    name, title, task = "iqa", "IQA", "iqa"


class Aesthetics(_Rating):
    """Exposure, colour, contrast and framing."""

    name, title, task = "ase", "ASE", "ase"
