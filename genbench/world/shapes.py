"""Signed-distance shapes: negative inside, in the units of their coordinates u, v [F, h, w].

Only additions, products, square roots and comparisons are used, so a picture does not depend on how
frames were batched. Parameters are floats or [F, 1, 1] tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

Number = float | Tensor


def circle(u: Tensor, v: Tensor, radius: Number) -> Tensor:
    """Exact distance to a disc at the origin."""
    return torch.sqrt(u * u + v * v) - radius


def ellipse(u: Tensor, v: Tensor, half_u: Number, half_v: Number) -> Tensor:
    """First-order distance to an axis-aligned ellipse at the origin."""
    p, q = u / half_u, v / half_v
    squared = p * p + q * q
    p, q = p / half_u, q / half_v
    # f / |grad f| of f = squared - 1, bounded where the gradient vanishes at the centre.
    return (squared - 1) / (2 * torch.sqrt(p * p + q * q) + 1e-3)


def rounded_box(u: Tensor, v: Tensor, half_u: Number, half_v: Number, radius: Number) -> Tensor:
    """Box with rounded corners; half extents include the rounding."""
    p, q = u.abs() - (half_u - radius), v.abs() - (half_v - radius)
    outside = torch.sqrt(p.clamp(min=0).square() + q.clamp(min=0).square())
    return outside + torch.maximum(p, q).clamp(max=0) - radius


def capsule(
    u: Tensor, v: Tensor, start: tuple[Number, Number], end: tuple[Number, Number], radius: Number, end_radius: Number
) -> Tensor:
    """Segment from start to end whose thickness changes linearly."""
    du, dv = end[0] - start[0], end[1] - start[1]
    p, q = u - start[0], v - start[1]
    along = ((p * du + q * dv) / (du * du + dv * dv + 1e-6)).clamp(0, 1)
    return circle(p - along * du, q - along * dv, 0.0) - radius - along * (end_radius - radius)


def triangle(u: Tensor, v: Tensor, half_base: float, height: float, rounding: float) -> Tensor:
    """Isosceles triangle with its base on v = 0 and its tip at v = -height, base corners rounded."""
    length = (half_base * half_base + height * height) ** 0.5
    side = (u.abs() * height - (v + height) * half_base) / length
    return smooth_intersection(side, v, rounding)


def smooth_union(first: Tensor, second: Tensor, blend: float) -> Tensor:
    """Union whose seam is rounded over the width `blend`."""
    if blend <= 0:
        return torch.minimum(first, second)
    near = (blend - (first - second).abs()).clamp(min=0)
    return torch.minimum(first, second) - near * near * (0.25 / blend)


def smooth_intersection(first: Tensor, second: Tensor, blend: float) -> Tensor:
    """Intersection whose edge is rounded over the width `blend`."""
    return -smooth_union(-first, -second, blend)


def without(shape: Tensor, hole: Tensor) -> Tensor:
    """The part of `shape` outside `hole`."""
    return torch.maximum(shape, -hole)


def lens(u: Tensor, v: Tensor, half: Number, upper: Number, lower: Number, roundness: Number) -> Tensor:
    """Region between two arches that meet at u = +-half: `upper` above v = 0, `lower` below it.

    roundness 0 gives parabolas (pointed corners), 1 nearly half-ellipses.
    """
    q = u / half
    arch = (1 - q * q).clamp(min=0)
    arch = arch + roundness * (torch.sqrt(arch) - arch)
    inside = torch.maximum(-v - upper * arch, v - lower * arch)
    return torch.maximum(inside, u.abs() - half)
