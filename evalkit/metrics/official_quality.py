"""Q-Align's level logits of a clip's pictures, one a second, both tasks."""

from __future__ import annotations

import numpy as np
import torch

from evalkit.metric_setup import MetricSetup
from evalkit.metrics.backbones import backbone_of
from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.levels import LEVELS
from evalkit.metrics.official.qalign import TASK_WORDS, QAlign, load_qalign
from evalkit.metrics.rows import Rows


class QAlignFeatures(Extractor):
    """Arrays as of the nano `QualityFeatures`."""

    name = "quality"
    rate_hz = 1.0

    def __init__(self, setup: MetricSetup):
        self._setup = setup
        device = torch.device(setup.device)
        dtype = torch.float32 if device.type == "cpu" else torch.float16
        self._model = load_qalign(setup.folder.folder("qalign"), device, dtype)

    @property
    def backbone(self) -> Backbone:
        return backbone_of(self.name, self._setup)

    def open(self, clip: Clip) -> FeatureStream:
        return QAlignStream(self._model)

    def rate(self, pictures: np.ndarray, task: str) -> np.ndarray:
        """Logits float32 [n, 5] of pictures uint8 [n, H, W, 3] for iqa or ase."""
        return self._model.rate(pictures, task)


class QAlignStream(FeatureStream):
    """Rates each picture when it comes."""

    def __init__(self, model: QAlign):
        self._model = model
        self._logits = {task: Rows(len(LEVELS)) for task in TASK_WORDS}
        self._times_s = Rows()

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        for task, rows in self._logits.items():
            rows.append(self._model.rate(frames, task))
        self._times_s.append(times_s)

    def finish(self) -> dict[str, np.ndarray]:
        return {"times_s": self._times_s.array(), **{task: rows.array() for task, rows in self._logits.items()}}
