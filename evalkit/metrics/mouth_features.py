"""Mouth opening per picture, read from pixels."""

from __future__ import annotations

import numpy as np
import torch

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.face_crop import LOWER_FACE
from evalkit.metrics.face_region import FaceRegion
from evalkit.metrics.mouth_net import MouthNet
from evalkit.metrics.rows import Rows
from evalkit.metrics.weights import load_nano, nano_backbone

WEIGHTS = "mouth"


class MouthFeatures(Extractor):
    """Array `opening` float32 [n]: 0 shut, 1 wide open, at 25 pictures per second, from `first_frame` on."""

    name = "mouth"
    version = 2
    rate_hz = 25.0

    def __init__(self) -> None:
        self._network = load_nano(WEIGHTS, MouthNet())

    @property
    def backbone(self) -> Backbone:
        return nano_backbone(WEIGHTS)

    def open(self, clip: Clip) -> FeatureStream:
        return MouthStream(self._network, clip)


class MouthStream(FeatureStream):
    """Reads each piece when it comes and keeps one number per picture."""

    def __init__(self, network: MouthNet, clip: Clip):
        self._network = network
        self._region = FaceRegion(clip, LOWER_FACE, network.config.face_size)
        self._frame_count = 0
        self._opening = Rows()

    @torch.inference_mode()
    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        self._frame_count += len(frames)
        crops = self._region.crops(frames)
        if crops is not None:
            self._opening.append(self._network(crops * 2 - 1)[:, 0].clamp(0, 1).numpy())

    def finish(self) -> dict[str, np.ndarray]:
        return {"opening": self._opening.array(), **self._region.arrays(self._frame_count)}
