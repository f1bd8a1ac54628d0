"""Latents cut into rows of patch values, one per token, and rows put together to latents again."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from liveavatar.model.pointwise import is_plain_inference

Patch = tuple[int, int, int]  # latent frames, rows and columns of a patch
Shape = tuple[int, ...]


def cut(latents: Tensor, patch: Patch) -> Tensor:
    """Latents [B, C, F, H, W] -> [B, F/pt, patches per frame, C*pt*ph*pw], channel slowest: as a convolution sees them."""
    if not is_plain_inference(latents):
        return _cut(latents, patch)
    rows = latents.flatten().index_select(0, _order_of_cut(tuple(latents.shape), patch))
    return rows.view(_cut_shape(tuple(latents.shape), patch))


def join(rows: Tensor, patch: Patch, channels: int, height: int, width: int) -> Tensor:
    """Rows [B, F/pt, patches per frame, pt*ph*pw*C], channel fastest, -> latents [B, C, F, height, width]."""
    if not is_plain_inference(rows):
        return _join(rows, patch, channels, height, width)
    values = rows.flatten().index_select(0, _order_of_join(tuple(rows.shape), patch, channels, height, width))
    return values.view(rows.shape[0], channels, -1, height, width)


def _cut(latents: Tensor, patch: Patch) -> Tensor:
    batch, _, frames, height, width = latents.shape
    pt, ph, pw = patch
    parts = latents.view(batch, -1, frames // pt, pt, height // ph, ph, width // pw, pw)
    return parts.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(2, 3)


def _join(rows: Tensor, patch: Patch, channels: int, height: int, width: int) -> Tensor:
    pt, ph, pw = patch
    grid = rows.view(rows.shape[0], rows.shape[1], height // ph, width // pw, pt, ph, pw, channels)
    return grid.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(rows.shape[0], channels, -1, height, width)


# Runs of two numbers are copied one by one; fetching all by their places takes a seventh of the time on a CPU.


@lru_cache(maxsize=8)
def _order_of_cut(shape: Shape, patch: Patch) -> Tensor:
    """Where each value of the rows lies in latents of `shape`."""
    return _cut(_places(shape), patch).flatten()


@lru_cache(maxsize=8)
def _order_of_join(shape: Shape, patch: Patch, channels: int, height: int, width: int) -> Tensor:
    """Where each value of the latents lies in rows of `shape`."""
    return _join(_places(shape), patch, channels, height, width).flatten()


def _cut_shape(shape: Shape, patch: Patch) -> Shape:
    batch, channels, frames, height, width = shape
    pt, ph, pw = patch
    return batch, frames // pt, (height // ph) * (width // pw), channels * pt * ph * pw


def _places(shape: Shape) -> Tensor:
    return torch.arange(math.prod(shape)).view(shape)
