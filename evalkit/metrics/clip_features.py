"""Clip features of a video: one vector for every 16 consecutive pictures, and for 16 pictures spread over 128."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.clip_encoder import CLIP_FRAMES, ClipEncoder, ClipEncoderConfig
from evalkit.metrics.rows import Rows
from evalkit.metrics.weights import load_nano, nano_backbone

WEIGHTS = "clip_encoder"
LONG_STRIDE = 8
FIRST_FRAME = 1
"""Picture 0 is often the given portrait itself; windows begin after it."""


class ClipFeatures(Extractor):
    """Arrays `windows` float32 [n, D] with `starts` [n] (picture numbers), and `long` [k, D] at stride 8."""

    name = "clip"
    rate_hz = 25.0

    def __init__(self) -> None:
        self._network = load_nano(WEIGHTS, ClipEncoder())

    @property
    def backbone(self) -> Backbone:
        return nano_backbone(WEIGHTS)

    def open(self, clip: Clip) -> FeatureStream:
        return ClipStream(self._network)


class ClipStream(FeatureStream):
    """Keeps the pictures of one window in the network's size, and 16 strided ones."""

    def __init__(self, network: ClipEncoder):
        config = network.config
        self._network, self._config = network, config
        self._waiting = torch.zeros(0, 3, config.height, config.width)
        self._strided = torch.zeros(0, 3, config.height, config.width)
        self._seen = 0
        self._windows, self._long, self._starts = Rows(network.features), Rows(network.features), Rows()

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        small = prepare_clip(frames, self._config)
        numbers = torch.arange(self._seen, self._seen + len(frames))
        self._seen += len(frames)
        small, numbers = small[numbers >= FIRST_FRAME], numbers[numbers >= FIRST_FRAME]
        on_stride = (numbers - FIRST_FRAME) % LONG_STRIDE == 0
        self._strided = self._emit(torch.cat([self._strided, small[on_stride]]), self._long)
        self._waiting = self._emit(torch.cat([self._waiting, small]), self._windows)

    def finish(self) -> dict[str, np.ndarray]:
        count = len(self._windows)
        self._starts.append(FIRST_FRAME + CLIP_FRAMES * np.arange(count, dtype=np.float32))
        return {"windows": self._windows.array(), "starts": self._starts.array(), "long": self._long.array()}

    @torch.inference_mode()
    def _emit(self, pictures: torch.Tensor, out: Rows) -> torch.Tensor:
        """Embed whole windows; gives what is left."""
        whole = len(pictures) // CLIP_FRAMES
        if whole:
            clips = pictures[: whole * CLIP_FRAMES].unflatten(0, (whole, CLIP_FRAMES))
            out.append(self._network(clips.transpose(1, 2)).numpy())
        return pictures[whole * CLIP_FRAMES :].clone()


def prepare_clip(frames: np.ndarray, config: ClipEncoderConfig) -> torch.Tensor:
    """Float32 [n, 3, height, width] in -1..1 of uint8 [n, H, W, 3], shrunk with antialiasing."""
    tensor = torch.as_tensor(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    size = (config.height, config.width)
    if tensor.shape[2:] == (2 * config.height, 2 * config.width):
        return F.avg_pool2d(tensor, 2)  # the world's own size: the same as antialiased halving, and faster
    return F.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
