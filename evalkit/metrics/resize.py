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
    planes = [
        [
            np.asarray(Image.fromarray(np.ascontiguousarray(picture[..., channel])).resize((size, size), Image.Resampling.BICUBIC))
            for channel in range(3)
        ]
        for picture in array
    ]
    if not planes:
        return torch.zeros(0, 3, size, size)
    return torch.from_numpy(np.array(planes, np.float32)).clamp(0, 255)


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
