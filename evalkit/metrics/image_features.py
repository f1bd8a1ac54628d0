"""Image embeddings of a clip, five pictures a second, and of its reference portrait."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.image_encoder import ImageEncoder
from evalkit.metrics.rows import Rows
from evalkit.metrics.weights import load_nano, nano_backbone

WEIGHTS = "image_encoder"


class PictureSize(Protocol):
    """A network's configuration as far as its pictures go."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...


class ImageFeatures(Extractor):
    """Arrays `reference` float32 [D], `frames` float32 [n, D] of unit length, `times_s` [n], `pooled` float32 [n, P].

    `pooled` are the features before the head, for distances between sets. `reference_source` says what the reference
    is: the portrait, or the first picture where a sample has none.
    """

    name = "image"
    version = 2
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
        self._network, config = network, network.config
        self._pooled = Rows(2 * config.widths[-1])
        self._embeddings = Rows(config.embedding)
        self._times_s = Rows()
        portrait = portrait_of(clip)
        self._reference = None if portrait is None else self._embed(portrait[None])[1][0]

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        pooled, embeddings = self._embed(frames)
        self._pooled.append(pooled)
        self._embeddings.append(embeddings)
        self._times_s.append(times_s)

    def finish(self) -> dict[str, np.ndarray]:
        frames = self._embeddings.array()
        arrays = {"frames": frames, "pooled": self._pooled.array(), "times_s": self._times_s.array()}
        return {**arrays, **reference_arrays(self._reference, frames)}

    @torch.inference_mode()
    def _embed(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pooled = self._network.features(prepare_pictures(pictures, self._network.config))
        return pooled.numpy(), F.normalize(self._network.head(pooled).float(), dim=-1).numpy()


def portrait_of(clip: Clip) -> np.ndarray | None:
    """The sample's portrait uint8 [H, W, 3] in the video's aspect; None for a sample without one.

    A sample has it as a file (`inputs().image`) or as the picture itself (`portrait`).
    """
    given = getattr(clip.sample, "portrait", None)
    if given is not None:
        return crop_to_aspect(given, clip.width / clip.height)
    if not hasattr(clip.sample, "inputs"):
        return None
    image = clip.sample.inputs().image
    return None if image is None else crop_to_aspect(read_picture(image), clip.width / clip.height)


def reference_arrays(reference: np.ndarray | None, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The reference's vector, or that of the first picture, and which of them it is."""
    if reference is not None:
        return {"reference": reference, "reference_source": np.array("portrait")}
    first = frames[0] if len(frames) else np.zeros(frames.shape[1], np.float32)
    return {"reference": first.copy(), "reference_source": np.array("first picture")}


def prepare_pictures(pictures: np.ndarray, config: PictureSize) -> torch.Tensor:
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
