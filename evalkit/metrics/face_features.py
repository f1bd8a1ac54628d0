"""How many faces a clip shows, once a fifth of a second, by the nano face finder."""

from __future__ import annotations

import numpy as np

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.face_finder import FaceFinder, shared_finder
from evalkit.metrics.rows import Rows


class FaceFeatures(Extractor):
    """Arrays `count` [n], `score` [n] of the best face and `box` [n, 4], relative; zeros where there is none."""

    name = "faces"
    rate_hz = 5.0

    def __init__(self) -> None:
        self._finder = shared_finder()

    @property
    def backbone(self) -> Backbone:
        return self._finder.backbone

    def open(self, clip: Clip) -> FeatureStream:
        return FaceStream(self._finder)


class FaceStream(FeatureStream):
    """Keeps six numbers per picture."""

    def __init__(self, finder: FaceFinder):
        self._finder = finder
        self._rows = Rows(6)

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        size = np.array([frames.shape[2], frames.shape[1]] * 2, np.float64)
        rows = np.zeros((len(frames), 6))
        for row, faces in zip(rows, self._finder.detect_many(frames), strict=True):
            if len(faces):
                row[:] = (len(faces), faces[0, 4], *(faces[0, :4] / size))
        self._rows.append(rows)

    def finish(self) -> dict[str, np.ndarray]:
        rows = self._rows.array()
        return {"count": rows[:, 0].copy(), "score": rows[:, 1].copy(), "box": rows[:, 2:].copy()}
