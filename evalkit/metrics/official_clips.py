"""Features of 16 pictures by official networks: I3D for FVD, VideoMAE-v2 for its content-debiased variant."""

from __future__ import annotations

import numpy as np
import torch

from evalkit.metric_setup import MetricSetup
from evalkit.metrics.backbones import backbone_of
from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.clip_encoder import CLIP_FRAMES
from evalkit.metrics.clip_features import FIRST_FRAME, LONG_STRIDE
from evalkit.metrics.official import videomae
from evalkit.metrics.official.i3d_script import WIDTH, ScriptedI3D
from evalkit.metrics.official.loading import empty, load_strict, read_checkpoint
from evalkit.metrics.rows import Rows


class I3dFeatures(Extractor):
    """Arrays `windows` float32 [n, 400] with `starts` [n], and `long` [k, 400] at stride 8."""

    name = "clip"
    rate_hz = 25.0

    def __init__(self, setup: MetricSetup):
        self._setup = setup
        self._network = ScriptedI3D(setup.folder.file("i3d", "i3d_torchscript.pt"), setup.device)

    @property
    def backbone(self) -> Backbone:
        return backbone_of(self.name, self._setup)

    def open(self, clip: Clip) -> FeatureStream:
        return WindowStream(self._network, WIDTH, has_long=True)

    def embed(self, clip: np.ndarray) -> np.ndarray:
        """Features float32 [400] of pictures uint8 [T, H, W, 3], T >= 9."""
        return self._network(clip)


class VideoMaeFeatures(Extractor):
    """Array `windows` float32 [n, 1408] with `starts`."""

    name = "clip_debiased"
    rate_hz = 25.0

    def __init__(self, setup: MetricSetup):
        self._setup, self._device = setup, torch.device(setup.device)
        path = setup.folder.file("videomae", "vit_g_hybrid_pt_1200e_ssv2_ft.pth")
        state = videomae.without_head(read_checkpoint(path, wrappers=("module", "model")))
        self._network = load_strict(empty(videomae.VideoMae, videomae.vit_g()), state, "VideoMAE-v2 ViT-g").to(self._device)

    @property
    def backbone(self) -> Backbone:
        return backbone_of(self.name, self._setup)

    def open(self, clip: Clip) -> FeatureStream:
        return WindowStream(self._embed, self._network.config.width, has_long=False)

    @torch.inference_mode()
    def _embed(self, clip: np.ndarray) -> np.ndarray:
        return self._network(videomae.prepare(clip)[None].to(self._device))[0].cpu().numpy()


class WindowStream(FeatureStream):
    """Cuts consecutive windows of 16 pictures after the first one, and windows of stride 8, each embedded when full."""

    def __init__(self, network: object, width: int, has_long: bool):
        self._network, self._has_long = network, has_long
        self._windows, self._long = Rows(width), Rows(width)
        self._waiting: list[np.ndarray] = []
        self._strided: list[np.ndarray] = []
        self._seen = 0

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        for picture in frames:
            number = self._seen - FIRST_FRAME
            self._seen += 1
            if number < 0:
                continue
            self._waiting.append(picture)
            if self._has_long and number % LONG_STRIDE == 0:
                self._strided.append(picture)
            self._emit(self._waiting, self._windows)
            self._emit(self._strided, self._long)

    def finish(self) -> dict[str, np.ndarray]:
        starts = FIRST_FRAME + CLIP_FRAMES * np.arange(len(self._windows), dtype=np.float32)
        arrays = {"windows": self._windows.array(), "starts": starts}
        return {**arrays, "long": self._long.array()} if self._has_long else arrays

    def _emit(self, pictures: list[np.ndarray], out: Rows) -> None:
        if len(pictures) == CLIP_FRAMES:
            out.append(self._network(np.stack(pictures))[None])  # type: ignore[operator]
            pictures.clear()
