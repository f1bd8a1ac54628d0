"""Image embeddings of a clip, five pictures a second, and of its reference portrait."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.image_encoder import ImageEncoder, ImageEncoderConfig
from evalkit.metrics.rows import Rows
from evalkit.metrics.weights import load_nano, nano_backbone

WEIGHTS = "image_encoder"


class ImageFeatures(Extractor):
    """Arrays `reference` float32 [D], `frames` float32 [n, D] of unit length, `times_s` [n]."""

    name = "image"
    rate_hz = 5.0

    def __init__(self) -> None:
        self._network = load_nano(WEIGHTS, ImageEncoder())

    @property
    def backbone(self) -> Backbone:
        return nano_backbone(WEIGHTS)

    def open(self, clip: Clip) -> FeatureStream:
        return ImageStream(self._network, clip)


class ImageStream(FeatureStream):
    """Embeds each piece when it comes."""

    def __init__(self, network: ImageEncoder, clip: Clip):
        self._network = network
        portrait = crop_to_aspect(read_picture(clip.sample.inputs().image), clip.width / clip.height)
        self._reference = self._embed(portrait[None])[0]
        self._embeddings = Rows(network.config.embedding)
        self._times_s = Rows()

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        self._embeddings.append(self._embed(frames))
        self._times_s.append(times_s)

    def finish(self) -> dict[str, np.ndarray]:
        return {
            "reference": self._reference,
            "frames": self._embeddings.array(),
            "times_s": self._times_s.array(),
        }

    @torch.inference_mode()
    def _embed(self, pictures: np.ndarray) -> np.ndarray:
        return self._network(prepare_pictures(pictures, self._network.config)).numpy()


def prepare_pictures(pictures: np.ndarray, config: ImageEncoderConfig) -> torch.Tensor:
    """Float32 [n, 3, height, width] in -1..1 of uint8 [n, H, W, 3], resized with antialiasing where sizes differ."""
    tensor = torch.as_tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    if tensor.shape[2:] != (config.height, config.width):
        size = (config.height, config.width)
        tensor = F.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
    return tensor


def read_picture(path: Path | str) -> np.ndarray:
    """RGB uint8 [H, W, 3] of a picture file."""
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def crop_to_aspect(picture: np.ndarray, aspect: float) -> np.ndarray:
    """The part of a picture [H, W, 3] with width / height = aspect that a generator of that format is given."""
    from liveavatar.inputs import crop_box

    height, width = picture.shape[:2]
    left, top, right, bottom = (round(edge) for edge in crop_box((width, height), (aspect, 1.0)))
    return picture[top:bottom, left:right]
