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


def rope_table(times: Tensor, height: int, width: int, head_dim: int) -> Tensor:
    """Unit complex factors [len(times)*height*width, head_dim/2] (complex64) in (time, height, width) token order.

    times: [T] temporal positions, any real numbers, negative allowed.
    """
    time_slots, height_slots, width_slots = axis_slots(head_dim)
    frames = times.numel()
    grid = (frames, height, width)
    t = _angles(times, time_slots)[:, None, None].expand(*grid, -1)
    h = _angles(torch.arange(height), height_slots)[None, :, None].expand(*grid, -1)
    w = _angles(torch.arange(width), width_slots)[None, None].expand(*grid, -1)
    angles = torch.cat([t, h, w], dim=-1).reshape(frames * height * width, head_dim // 2)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate [B, heads, S, d] by a table [S, d/2]; returns x's dtype."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)
