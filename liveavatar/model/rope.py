"""Rotary positions in time, height and width (model section 4 of the released code's behaviour).

Channels 2k and 2k+1 form one complex number; of the head's complex slots, height and width get a third each and time
the rest. Angles are computed in float64, so positions of any size are exact; rotation runs in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

BASE = 10_000.0


def axis_slots(head_dim: int) -> tuple[int, int, int]:
    """Complex slots for (time, height, width) in a head of `head_dim` channels."""
    spatial = (head_dim // 2) // 3
    return head_dim // 2 - 2 * spatial, spatial, spatial


def _angles(positions: Tensor, slots: int) -> Tensor:
    """[P] positions -> [P, slots] angles, float64."""
    return positions.to(torch.float64)[:, None] * _frequencies(slots)


@lru_cache(maxsize=16)
def _frequencies(slots: int) -> Tensor:
    """[slots] angles per position, float64."""
    return BASE ** (-(torch.arange(slots, dtype=torch.float64) / slots))


def _factors(angles: Tensor) -> Tensor:
    """Unit complex numbers, complex128."""
    return torch.polar(torch.ones_like(angles), angles)


def grid_table(times: Tensor, rows: Tensor, columns: Tensor, head_dim: int) -> Tensor:
    """Unit complex factors [T*H*W, head_dim/2] (complex64) of a grid of tokens, in (time, row, column) order.

    times [T], rows [H], columns [W]: positions along each axis, any real numbers, negative allowed.
    """
    time_slots, _, _ = axis_slots(head_dim)
    return _over_time(_factors(_angles(times, time_slots)), _spatial_factors(rows, columns, head_dim))


def rope_table(times: Tensor, height: int, width: int, head_dim: int) -> Tensor:
    """`grid_table` of whole patch grids: rows 0..height-1, columns 0..width-1."""
    time_slots, _, _ = axis_slots(head_dim)
    return _over_time(_factors(_angles(times, time_slots)), _whole_grid(height, width, head_dim))


def _spatial_factors(rows: Tensor, columns: Tensor, head_dim: int) -> Tensor:
    """[H*W, height slots + width slots], complex128."""
    _, height_slots, width_slots = axis_slots(head_dim)
    grid = (rows.numel(), columns.numel())
    h = _angles(rows, height_slots)[:, None].expand(*grid, -1)
    w = _angles(columns, width_slots)[None].expand(*grid, -1)
    return _factors(torch.cat([h, w], dim=-1)).flatten(0, 1)


@lru_cache(maxsize=4)
def _whole_grid(height: int, width: int, head_dim: int) -> Tensor:
    """The part of a whole grid's factors that is the same at all times."""
    return _spatial_factors(torch.arange(height), torch.arange(width), head_dim)


def _over_time(time: Tensor, spatial: Tensor) -> Tensor:
    """[T, time slots] and [P, other slots] -> [T*P, head_dim/2], complex64."""
    shape = (len(time), len(spatial), -1)
    return torch.cat([time[:, None].expand(shape), spatial[None].expand(shape)], dim=-1).flatten(0, 1).to(torch.complex64)


def time_shift(frames: float, head_dim: int) -> Tensor:
    """Factors [1, head_dim/2] that move anything already rotated by `frames` in time."""
    slots = axis_slots(head_dim)
    angles = torch.zeros(1, head_dim // 2, dtype=torch.float64)
    angles[:, : slots[0]] = _angles(torch.tensor([frames]), slots[0])
    return _factors(angles).to(torch.complex64)


def half_precision(table: Tensor) -> Tensor:
    """The table with cosines and sines rounded to float16, as the release computes it."""
    return torch.view_as_complex(torch.view_as_real(table).half().float())


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate [..., S, d] by a table [S, d/2] or [1, d/2], in float32 or wider; returns x's dtype."""
    if torch.compiler.is_compiling():
        return rotate_real(x, torch.view_as_real(table))
    return torch.view_as_real(_pairs(x.to(torch.promote_types(x.dtype, torch.float32))) * table).flatten(-2).to(x.dtype)


Rotate = Callable[[Tensor, Tensor], Tensor]


def rotate_into(out: Tensor, x: Tensor, table: Tensor, by: Rotate = rotate) -> None:
    """`rotate`, or a compiled form of it, written where it is kept."""
    if by is rotate and out.dtype == x.dtype == torch.float32 and not torch.is_grad_enabled():
        torch.mul(_pairs(x), table, out=_pairs(out))
    else:
        out.copy_(by(x, table))


def rotated(x: Tensor, table: Tensor, by: Rotate = rotate) -> Tensor:
    """`rotate`, or a compiled form of it, head after head in memory where attention reads that faster (on a CPU)."""
    if x.device.type != "cpu" or by is not rotate:
        return by(x, table)
    out = torch.empty(x.shape, dtype=x.dtype)
    rotate_into(out, x, table)
    return out


def rotate_real(x: Tensor, table: Tensor) -> Tensor:
    """`rotate` by a real table [S, d/2, 2], cosines and sines: for compilers, which do not fuse complex numbers."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table.unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


def _pairs(x: Tensor) -> Tensor:
    """[..., d] real -> [..., d/2] complex of the same width, a view where strides allow."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
