"""Level logits of a clip's pictures, one a second, by the nano rating network."""

from __future__ import annotations

import numpy as np
import torch

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.image_features import prepare_pictures
from evalkit.metrics.levels import LEVELS
from evalkit.metrics.quality_net import TASKS, QualityNet
from evalkit.metrics.rows import Rows
from evalkit.metrics.weights import load_nano, nano_backbone

WEIGHTS = "quality"


class QualityFeatures(Extractor):
    """Arrays `iqa` and `ase` float32 [n, 5] (logits in the order of LEVELS), `times_s` [n]."""

    name = "quality"
    rate_hz = 1.0

    def __init__(self) -> None:
        self._network = load_nano(WEIGHTS, QualityNet())

    @property
    def backbone(self) -> Backbone:
        return nano_backbone(WEIGHTS)

    def open(self, clip: Clip) -> FeatureStream:
        return QualityStream(self._network)


class QualityStream(FeatureStream):
    """Rates each picture when it comes."""

    def __init__(self, network: QualityNet):
        self._network = network
        self._logits, self._times_s = Rows(len(TASKS), len(LEVELS)), Rows()

    @torch.inference_mode()
    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        self._logits.append(self._network(prepare_pictures(frames, self._network.config)).numpy())
        self._times_s.append(times_s)

    def finish(self) -> dict[str, np.ndarray]:
        logits = self._logits.array()
        return {"times_s": self._times_s.array(), **{task: logits[:, index].copy() for index, task in enumerate(TASKS)}}
