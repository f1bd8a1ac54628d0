"""Face coverage: in what share of its pictures a clip shows a face. A score on 40 % of the pictures says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.metrics.base import Features, Metric, Score


class FaceCoverage(Metric):
    """Share, 0 to 1, of the pictures (five a second) in which at least one face is found."""

    name, title, direction, bounds, decimals = "face_coverage", "Face coverage", "up", (0.0, 1.0), 3
    extractors = ("faces",)

    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        count = features["faces"]["count"]
        if not len(count):
            return Score.missing("too_short", pictures=0)
        details = {"pictures": len(count), "several_share": float((count > 1).mean()), "most": int(count.max())}
        return Score(float((count > 0).mean()), None, details)
