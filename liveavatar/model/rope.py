"""Rotary positions in time, height and width (model section 4 of the released code's behaviour).

Channels 2k and 2k+1 form one complex number; of the head's complex slots, height and width get a third each and time
the rest. Angles are computed in float64, so positions of any size are exact; rotation runs in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 10_000.0


def axis_slots(head_dim: int) -> tuple[int, int, int]:
    """Complex slots for (time, height, width) in a head of `head_dim` channels."""
    spatial = (head_dim // 2) // 3
    return head_dim // 2 - 2 * spatial, spatial, spatial


def _angles(positions: Tensor, slots: int) -> Tensor:
    """[P] positions -> [P, slots] angles, float64."""
    exponents = torch.arange(slots, dtype=torch.float64) / slots
    return positions.to(torch.float64)[:, None] * BASE ** (-exponents)


def _factors(angles: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def grid_table(times: Tensor, rows: Tensor, columns: Tensor, head_dim: int) -> Tensor:
    """Unit complex factors [T*H*W, head_dim/2] (complex64) of a grid of tokens, in (time, row, column) order.

    times [T], rows [H], columns [W]: positions along each axis, any real numbers, negative allowed.
    """
    time_slots, height_slots, width_slots = axis_slots(head_dim)
    grid = (times.numel(), rows.numel(), columns.numel())
    t = _angles(times, time_slots)[:, None, None].expand(*grid, -1)
    h = _angles(rows, height_slots)[None, :, None].expand(*grid, -1)
    w = _angles(columns, width_slots)[None, None].expand(*grid, -1)
    return _factors(torch.cat([t, h, w], dim=-1).reshape(-1, head_dim // 2))


def rope_table(times: Tensor, height: int, width: int, head_dim: int) -> Tensor:
    """`grid_table` of whole patch grids: rows 0..height-1, columns 0..width-1."""
    return grid_table(times, torch.arange(height), torch.arange(width), head_dim)


def time_shift(frames: float, head_dim: int) -> Tensor:
    """Factors [1, head_dim/2] that move anything already rotated by `frames` in time."""
    slots = axis_slots(head_dim)
    angles = torch.zeros(1, head_dim // 2, dtype=torch.float64)
    angles[:, : slots[0]] = _angles(torch.tensor([frames]), slots[0])
    return _factors(angles)


def half_precision(table: Tensor) -> Tensor:
    """The table with cosines and sines rounded to float16, as the release computes it."""
    return torch.view_as_complex(torch.view_as_real(table).half().float())


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate [..., S, d] by a table [S, d/2] or [1, d/2], in float32 or wider; returns x's dtype."""
    pairs = torch.view_as_complex(x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)
