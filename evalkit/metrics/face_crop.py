"""A fixed region about a face, cut from every picture of a clip and resized: the same for every method.

The box comes from the manifest (the reference picture); the region is wide enough for a head that moves. Pixels
beyond the border repeat the border. Resizing is linear with antialiasing, written as two small matrices per clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evalkit.metrics.base import Clip

Box = Sequence[float]
"""x0, y0, x1, y1 relative to the picture, 0..1."""

Size = tuple[int, int]
"""Height and width in pixels."""

FACE_SOURCE = "manifest"


@dataclass(frozen=True)
class CropRegion:
    """A rectangle in units of the longer face-box side; its centre lies `down` below the box's centre."""

    width: float
    height: float
    down: float


LOWER_FACE = CropRegion(width=1.15, height=0.76, down=0.27)
"""Mouth and jaw of every composition of the nano world, profiles and moving heads included."""

LOWER_FACE_SIZE: Size = (36, 56)


def box_in_video(clip: Clip) -> Box | None:
    """The reference picture's face box as it lies in the clip, whose aspect may differ: generators crop the picture.

    The crop is `liveavatar.inputs.crop_box`. Videos of the picture's own aspect, and samples without a picture, have the
    box as it is. None for a sample that has no box.
    """
    given = getattr(clip.sample, "face_box", None)
    if given is None:
        return None
    box = tuple(float(value) for value in given)
    image = clip.sample.inputs().image if hasattr(clip.sample, "inputs") else None
    if image is None:
        return box
    from PIL import Image

    from liveavatar.inputs import crop_box

    with Image.open(image) as picture:
        width, height = picture.size
    if width * clip.height == height * clip.width:
        return box
    left, top, right, bottom = crop_box((width, height), (clip.width, clip.height))
    x0, x1 = ((x * width - left) / (right - left) for x in box[::2])
    y0, y1 = ((y * height - top) / (bottom - top) for y in box[1::2])
    return x0, y0, x1, y1


class FaceCrop:
    """Crops pictures of one size with one box; rectangle and resize matrices are made once."""

    def __init__(self, face_box: Box, width: int, height: int, region: CropRegion, size: Size):
        left, top, span_x, span_y = rectangle_of(face_box, width, height, region)
        self._columns, columns = _resize_matrix(left, span_x, size[1], width)
        self._rows, rows = _resize_matrix(top, span_y, size[0], height)
        self._inside = (slice(*rows), slice(*columns))

    def __call__(self, frames: np.ndarray | Tensor) -> Tensor:
        """Float32 [n, 3, *size] in 0..1 from uint8 [n, H, W, 3]."""
        seen = torch.as_tensor(frames[:, self._inside[0], self._inside[1]]).float() / 255
        count, height, width, _ = seen.shape
        tall = torch.matmul(self._rows, seen.reshape(count, height, width * 3))
        channels_first = tall.view(count, -1, width, 3).permute(0, 3, 1, 2)
        return torch.matmul(channels_first, self._columns.T)


def rectangle_of(face_box: Box, width: int, height: int, region: CropRegion) -> tuple[float, float, float, float]:
    """Left, top, width and height in pixels of the rectangle that `region` makes of a relative box."""
    x0, y0, x1, y1 = (float(value) for value in face_box)
    if not (x1 > x0 and y1 > y0):
        raise ValueError(f"face box {tuple(face_box)} is empty; give x0 < x1 and y0 < y1, relative to the picture")
    face_px = max((x1 - x0) * width, (y1 - y0) * height)
    centre_x, centre_y = (x0 + x1) / 2 * width, (y0 + y1) / 2 * height + region.down * face_px
    span_x, span_y = region.width * face_px, region.height * face_px
    return centre_x - span_x / 2, centre_y - span_y / 2, span_x, span_y


def _resize_matrix(start: float, length: float, out_px: int, in_px: int) -> tuple[Tensor, tuple[int, int]]:
    """Weights [out_px, stop - first] of the source pixels first..stop-1 that the span touches."""
    scale = length / out_px
    support = max(1.0, scale)
    centres = start + (np.arange(out_px) + 0.5) * scale
    source = np.arange(int(np.floor(centres[0] - support)), int(np.ceil(centres[-1] + support)) + 1)
    weights = np.maximum(0, 1 - np.abs(source[None] + 0.5 - centres[:, None]) / support)
    weights /= weights.sum(1, keepdims=True)
    inside = np.clip(source, 0, in_px - 1)
    matrix = np.zeros((out_px, in_px))
    np.add.at(matrix.T, inside, weights.T)
    first, stop = int(inside.min()), int(inside.max()) + 1
    return torch.from_numpy(matrix[:, first:stop]).float(), (first, stop)
