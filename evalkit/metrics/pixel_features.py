"""What pixels alone say of each picture: brightness, colour, detail, and how much moved since the last one.

No network: these numbers are the same everywhere. Motion is measured on a picture averaged down to 64 rows, so that
noise and coding hardly count: speed is the normal flow sum |dI/dt| |grad I| / sum |grad I|^2 (Horn & Schunck 1981's
brightness constancy along the gradient), in pixels of that picture.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream
from evalkit.metrics.rows import Rows

ROWS = 64
CELLS = (8, 6)
"""Rows and columns of the grid on which flicker is measured."""
LUMA = (0.299, 0.587, 0.114)
LEAST_GRADIENT = 1e-3
"""Mean squared gradient (grey levels of 0..1 per pixel) below which a picture is too plain to show motion."""


class PixelFeatures(Extractor):
    """Arrays per picture [n]: `luma` 0..255, `lab` [n, 3], `rgb` [n, 3] of means 0..255, `sharpness`; `cells` [n, 48], their
    mean brightness 0..255.

    Per pair of pictures, entry 0 being 0: `speed` (pixels of 64 rows per picture) and `change` (mean squared
    difference); `third` is the mean squared third difference, its first three entries 0.
    """

    name = "pixels"
    rate_hz = 25.0

    @property
    def backbone(self) -> Backbone:
        return Backbone("none", None, "none")

    def open(self, clip: Clip) -> FeatureStream:
        return PixelStream()


class PixelStream(FeatureStream):
    """Keeps the last three small pictures."""

    def __init__(self) -> None:
        self._before: Tensor | None = None
        self._scalars = Rows(11)
        self._cells = Rows(CELLS[0] * CELLS[1])

    @torch.inference_mode()
    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        colour = torch.as_tensor(frames).permute(0, 3, 1, 2).float() / 255
        luma = (colour * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        small = shrink(luma)
        joined = small if self._before is None else torch.cat([self._before, small])
        known = len(joined) - len(small)
        change, speed = _pairs(joined, known)
        third = _third(joined, known)
        lab = mean_lab(colour)
        sharp = _sharpness(luma)
        rgb = colour.mean((2, 3)) * 255
        columns = [luma.mean((1, 2, 3)) * 255, *lab.T, sharp, speed, change, third, *rgb.T]
        self._scalars.append(torch.stack(columns, 1).numpy())
        self._cells.append((F.adaptive_avg_pool2d(luma, CELLS).flatten(1) * 255).numpy())
        self._before = joined[-3:].clone()

    def finish(self) -> dict[str, np.ndarray]:
        table = self._scalars.array()
        names = ("luma", None, None, None, "sharpness", "speed", "change", "third")
        out = {name: table[:, column].copy() for column, name in enumerate(names) if name}
        return {**out, "lab": table[:, 1:4].copy(), "rgb": table[:, 8:11].copy(), "cells": self._cells.array()}


def shrink(luma: Tensor) -> Tensor:
    """[n, 1, H, W] averaged to 64 rows of the same aspect; smaller pictures stay."""
    height, width = luma.shape[2:]
    if height <= ROWS:
        return luma
    if height % ROWS == 0 and width % (height // ROWS) == 0:
        return F.avg_pool2d(luma, height // ROWS)
    return F.interpolate(luma, (ROWS, max(8, round(width * ROWS / height))), mode="bilinear", antialias=True)


def _pairs(joined: Tensor, known: int) -> tuple[Tensor, Tensor]:
    """Mean squared change and speed of each new picture against the one before; 0 for the very first."""
    first = max(known, 1)
    now, before = joined[first:], joined[first - 1 : -1]
    difference, middle = now - before, (now + before) / 2
    gradient = _gradient(middle)
    strength = gradient.square().mean((1, 2, 3))
    speed = (difference[:, :, 1:-1, 1:-1].abs() * gradient).mean((1, 2, 3)) / strength.clamp(min=1e-12)
    speed = torch.where(strength > LEAST_GRADIENT**2, speed, torch.zeros(()))
    missing = torch.zeros(len(joined) - known - len(now))
    return torch.cat([missing, difference.square().mean((1, 2, 3))]), torch.cat([missing, speed])


def _third(joined: Tensor, known: int) -> Tensor:
    """Mean squared third difference in time of each new picture; 0 where fewer than three precede it."""
    out = torch.zeros(len(joined) - known)
    first = max(known, 3)
    if len(joined) > first:
        now = joined[first:]
        count = len(now)
        one, two, three = (joined[first - lag : first - lag + count] for lag in (1, 2, 3))
        out[first - known :] = (now - 3 * one + 3 * two - three).square().mean((1, 2, 3))
    return out


def _gradient(x: Tensor) -> Tensor:
    """Length of the central-difference gradient inside the border [n, 1, H - 2, W - 2]."""
    across = (x[:, :, 1:-1, 2:] - x[:, :, 1:-1, :-2]) / 2
    down = (x[:, :, 2:, 1:-1] - x[:, :, :-2, 1:-1]) / 2
    return (across.square() + down.square()).sqrt()


def _sharpness(luma: Tensor) -> Tensor:
    """Mean length of the gradient at full size, in grey levels of 0..255."""
    return 255 * _gradient(luma).mean((1, 2, 3))


def mean_lab(colour: Tensor) -> Tensor:
    """CIELAB (D65) [n, 3] of the mean linear colour of sRGB pictures [n, 3, H, W] in 0..1."""
    small = F.adaptive_avg_pool2d(colour, (16, 12))
    linear = torch.where(small <= 0.04045, small / 12.92, ((small + 0.055) / 1.055).clamp(min=0) ** 2.4).mean((2, 3))
    matrix = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / torch.tensor([0.95047, 1.0, 1.08883])
    f = torch.where(xyz > 216 / 24389, xyz.clamp(min=1e-9) ** (1 / 3), (24389 / 27 * xyz + 16) / 116)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
