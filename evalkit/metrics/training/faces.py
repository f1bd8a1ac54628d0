"""Lower-face crops of training clips, cut as scoring cuts them: one fixed region per clip, boxes a little wrong."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from evalkit.metrics.face_crop import LOWER_FACE, FaceCrop, Size
from evalkit.metrics.training.augment import disturb, uniform
from evalkit.metrics.training.data import ShardSet

SHIFT_JITTER = 0.05
SCALE_JITTER = 0.07


def jittered_box(boxes: Tensor, generator: Generator) -> list[float]:
    """A random frame's face box of boxes [F, 4], moved and scaled: the head need not be where the portrait had it."""
    x0, y0, x1, y1 = boxes[int(torch.randint(len(boxes), (1,), generator=generator))].tolist()
    scale = 1 + uniform(generator, -SCALE_JITTER, SCALE_JITTER)
    centre_x = (x0 + x1) / 2 + uniform(generator, -SHIFT_JITTER, SHIFT_JITTER) * (x1 - x0)
    centre_y = (y0 + y1) / 2 + uniform(generator, -SHIFT_JITTER, SHIFT_JITTER) * (y1 - y0)
    half_x, half_y = scale * (x1 - x0) / 2, scale * (y1 - y0) / 2
    return [centre_x - half_x, centre_y - half_y, centre_x + half_x, centre_y + half_y]


def typical_box(boxes: Tensor) -> list[float]:
    """The middle box of a clip, as a portrait would show it."""
    return boxes.median(0).values.tolist()


def crop_clip(frames: Tensor, box: list[float], size: Size) -> Tensor:
    """Crops [n, 3, *size] in 0..1 of pictures uint8 [n, H, W, 3]."""
    return FaceCrop(box, frames.shape[2], frames.shape[1], LOWER_FACE, size)(frames)


def training_crops(data: ShardSet, clip: int, frames: Tensor, size: Size, generator: Generator) -> Tensor:
    """Disturbed crops in -1..1 of a clip's pictures."""
    crops = crop_clip(frames, jittered_box(data.face_boxes(clip), generator), size)
    return disturb(crops, generator) * 2 - 1
