"""Disturbances that coded and generated video show: blur, noise, colour and lost detail; harmless to what is learned.

All functions take pictures float32 [n, 3, H, W] in 0..1 of one clip and disturb all of them alike, but for noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def uniform(generator: Generator, low: float, high: float) -> float:
    """One draw."""
    return low + (high - low) * torch.rand(1, generator=generator).item()


def happens(generator: Generator, probability: float) -> bool:
    """One coin."""
    return uniform(generator, 0, 1) < probability


def disturb(pictures: Tensor, generator: Generator) -> Tensor:
    """A light random mixture of all disturbances."""
    if happens(generator, 0.4):
        pictures = blur(pictures, uniform(generator, 0.2, 0.9))
    if happens(generator, 0.2):
        pictures = lose_detail(pictures, uniform(generator, 0.5, 0.9))
    if happens(generator, 0.7):
        pictures = recolour(pictures, 0.12, generator)
    if happens(generator, 0.5):
        pictures = add_noise(pictures, uniform(generator, 0.0, 0.03), generator)
    return pictures.clamp(0, 1)


def blur(pictures: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur with repeated borders."""
    radius = max(1, round(3 * sigma_px))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).repeat(3, 1)
    padded = F.pad(pictures, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[:, None, :, None], groups=3), kernel[:, None, None, :], groups=3)


def lose_detail(pictures: Tensor, share: float) -> Tensor:
    """Shrink to `share` of the size and back."""
    height, width = pictures.shape[2:]
    small = F.interpolate(
        pictures,
        (max(4, round(height * share)), max(4, round(width * share))),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    return F.interpolate(small, (height, width), mode="bilinear", align_corners=False)


def recolour(pictures: Tensor, strength: float, generator: Generator) -> Tensor:
    """Contrast, brightness and a cast per channel, each within +- strength."""
    gain = 1 + strength * (2 * torch.rand(3, generator=generator) - 1)
    shift = 0.6 * strength * (2 * torch.rand(3, generator=generator) - 1)
    return (pictures - 0.5) * gain[:, None, None] + 0.5 + shift[:, None, None]


def add_noise(pictures: Tensor, deviation: float, generator: Generator) -> Tensor:
    """Independent noise per pixel, channel and picture."""
    return pictures + deviation * torch.randn(pictures.shape, generator=generator)
