"""Features of pictures by official networks: Inception for FID, DINOv2 for Dino-S."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from evalkit.metric_setup import MetricSetup
from evalkit.metrics.backbones import backbone_of
from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.image_features import portrait_of, reference_arrays
from evalkit.metrics.official import dinov2
from evalkit.metrics.official.inception import FEATURES, Inception
from evalkit.metrics.official.loading import empty, load_strict, read_checkpoint
from evalkit.metrics.protocols import get_protocol
from evalkit.metrics.rows import Rows

BATCH = 16
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"


class InceptionFeatures(Extractor):
    """Array `features` float32 [n - 1, 2048]: every picture but the first, which image-to-video methods are given."""

    name = "inception"
    rate_hz = 25.0
    protocol: ClassVar[str] = "fid_pytorch"

    def __init__(self, setup: MetricSetup):
        self._setup, self._device = setup, torch.device(setup.device)
        path = setup.folder.file("inception", INCEPTION_FILE)
        self._network = load_strict(empty(Inception), read_checkpoint(path), "Inception").to(self._device)

    @property
    def backbone(self) -> Backbone:
        return backbone_of(self.name, self._setup)

    def open(self, clip: Clip) -> FeatureStream:
        prepare = get_protocol(self.protocol)
        return PictureStream(prepare, lambda x: self._network(x.to(self._device)).cpu(), FEATURES, skip=1)


class CleanInceptionFeatures(InceptionFeatures):
    """The same after clean-fid's antialiased resize."""

    name, protocol = "inception_clean", "fid_clean"


class TfInceptionFeatures(InceptionFeatures):
    """The same after TensorFlow 1's resize."""

    name, protocol = "inception_tf", "fid_tf"


class PictureStream(FeatureStream):
    """Features of each picture, in small batches."""

    def __init__(
        self, prepare: Callable[[np.ndarray], Tensor], network: Callable[[Tensor], Tensor], width: int, skip: int = 0
    ):
        self._prepare, self._network, self._skip = prepare, network, skip
        self._rows, self._seen = Rows(width), 0

    @torch.inference_mode()
    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        wanted = frames[max(0, self._skip - self._seen) :]
        self._seen += len(frames)
        for start in range(0, len(wanted), BATCH):
            self._rows.append(self._network(self._prepare(wanted[start : start + BATCH])).numpy())

    def finish(self) -> dict[str, np.ndarray]:
        return {"features": self._rows.array()}


class DinoFeatures(Extractor):
    """Arrays as of the nano `ImageFeatures`, without `pooled`: class tokens of DINOv2."""

    name = "image"
    rate_hz = 5.0
    prepare = staticmethod(dinov2.prepare)

    def __init__(self, setup: MetricSetup):
        self._setup, self._device = setup, torch.device(setup.device)
        self._network = dinov2.load_dinov2(setup.folder.folder("dinov2")).to(self._device)

    @property
    def backbone(self) -> Backbone:
        return backbone_of(self.name, self._setup)

    def open(self, clip: Clip) -> FeatureStream:
        return DinoStream(self.prepare, lambda x: self._network(x.to(self._device)).cpu(), clip)


class WholeDinoFeatures(DinoFeatures):
    """Whole pictures at 224 x 392, nothing cut off."""

    name = "image_full"
    prepare = staticmethod(dinov2.prepare_full)


class DinoStream(FeatureStream):
    """Embeds the portrait and each picture."""

    def __init__(self, prepare: Callable[[np.ndarray], Tensor], network: Callable[[Tensor], Tensor], clip: Clip):
        self._prepare, self._network = prepare, network
        portrait = portrait_of(clip)
        self._reference = None if portrait is None else self._embed(portrait[None])[0]
        self._rows: Rows | None = None
        self._times_s = Rows()

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        for start in range(0, len(frames), BATCH):
            vectors = self._embed(frames[start : start + BATCH])
            self._rows = self._rows or Rows(vectors.shape[1])
            self._rows.append(vectors)
        self._times_s.append(times_s)

    def finish(self) -> dict[str, np.ndarray]:
        width = 0 if self._reference is None else len(self._reference)
        frames = self._rows.array() if self._rows is not None else np.zeros((0, width), np.float32)
        return {"frames": frames, "times_s": self._times_s.array(), **reference_arrays(self._reference, frames)}

    @torch.inference_mode()
    def _embed(self, pictures: np.ndarray) -> np.ndarray:
        return self._network(self._prepare(pictures)).numpy()
