"""The resizes that published numbers depend on, each under the name of the protocol that uses it.

All take RGB pictures uint8 or float [n, H, W, 3] on the 0..255 scale and give float32 [n, 3, h, w]. None keeps the
aspect ratio unless it says so. Values are never rounded in between unless a protocol does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Resize = Callable[[np.ndarray | Tensor, int], Tensor]


def channels_first(pictures: np.ndarray | Tensor) -> Tensor:
    """Float32 [n, 3, H, W] of [n, H, W, 3], same scale."""
    tensor = torch.as_tensor(pictures)
    if tensor.ndim != 4 or tensor.shape[-1] != 3:
        raise ValueError(f"pictures of shape {tuple(tensor.shape)}; give [n, H, W, 3]")
    return tensor.permute(0, 3, 1, 2).float()


def bilinear(pictures: np.ndarray | Tensor, size: int) -> Tensor:
    """Half-pixel bilinear without antialias (pytorch-fid): shrinking skips pixels."""
    return F.interpolate(channels_first(pictures), (size, size), mode="bilinear", align_corners=False)


def bilinear_antialias(pictures: np.ndarray | Tensor, size: int) -> Tensor:
    """Bilinear with antialias (the default of torchmetrics)."""
    return F.interpolate(channels_first(pictures), (size, size), mode="bilinear", align_corners=False, antialias=True)


def bilinear_tf1(pictures: np.ndarray | Tensor, size: int) -> Tensor:
    """TensorFlow 1's bilinear: source coordinate = index x in / out, no half-pixel shift, no antialias."""
    x = channels_first(pictures)
    for axis in (2, 3):
        length = x.shape[axis]
        source = torch.arange(size, dtype=torch.float32) * (length / size)
        low = source.floor().long().clamp(max=length - 1)
        high = (low + 1).clamp(max=length - 1)
        share = (source - low).view([-1 if dim == axis else 1 for dim in range(4)])
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)
    return x


def bicubic_clean(pictures: np.ndarray | Tensor, size: int) -> Tensor:
    """Pillow's antialiased bicubic on each channel in 32-bit float, clipped to 0..255, not rounded (clean-fid)."""
    from PIL import Image

    array = torch.as_tensor(pictures).numpy().astype(np.float32)
    made = np.zeros((len(array), 3, size, size), np.float32)
    for picture, out in zip(array, made, strict=True):
        for channel in range(3):
            plane = Image.fromarray(np.ascontiguousarray(picture[..., channel]))
            out[channel] = np.asarray(plane.resize((size, size), Image.Resampling.BICUBIC))
    return torch.from_numpy(made).clamp(0, 255)


def short_side_crop(pictures: np.ndarray | Tensor, size: int) -> Tensor:
    """Short side to `size` without antialias, long side rounded up, centre crop: the aspect is kept."""
    x = channels_first(pictures)
    height, width = x.shape[2:]
    # The long side takes the same float arithmetic as the published script, which can give one pixel more.
    scale = size / min(height, width)
    target = (size, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), size)
    x = F.interpolate(x, target, mode="bilinear", align_corners=False)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return x[:, :, top : top + size, left : left + size]


def bilinear_fixed_point(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """OpenCV's INTER_LINEAR on uint8 [H, W, 3]: half-pixel bilinear with 11-bit weights and its own rounding.

    The published face pipelines resize with it; a float resize differs by up to one grey level.
    """
    if picture.dtype != np.uint8:
        raise ValueError(f"a picture of {picture.dtype}; give uint8")
    rows, row_weights = _two_taps(picture.shape[0], height)
    columns, column_weights = _two_taps(picture.shape[1], width)
    source = picture.astype(np.int32)
    near, far = (source[:, columns[tap]] * column_weights[tap][:, None] for tap in (0, 1))
    wide = near + far
    upper, lower = (((wide[rows[tap]] >> 4) * row_weights[tap][:, None, None]) >> 16 for tap in (0, 1))
    return np.clip((upper + lower + 2) >> 2, 0, 255).astype(np.uint8)


def _two_taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Source indices [2, size] and 11-bit weights [2, size] of a bilinear resize along one axis."""
    position = ((np.arange(size) + 0.5) * (length / size) - 0.5).astype(np.float32)
    low = np.floor(position).astype(np.int64)
    share = position - low
    share = np.where((low < 0) | (low >= length - 1), np.float32(0), share)
    low = np.clip(low, 0, length - 1)
    weights = np.rint(np.stack([1 - share, share]) * 2048).astype(np.int32)
    return np.stack([low, np.minimum(low + 1, length - 1)]), weights
