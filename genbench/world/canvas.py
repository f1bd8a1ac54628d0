"""A batch of frames being painted: local axes, paints, and antialiased compositing of distance shapes.

Shape suffixes: F frames, H x W the canvas, h x w the part a shape can touch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from genbench.world.look import Colour, shadow, tinted
from genbench.world.shapes import Number

Shape = Callable[[Tensor, Tensor], Tensor]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Axes:
    """Moving local coordinates (u right, v down); all fields [F, 1, 1], origin and scale in frame widths."""

    x: Tensor
    y: Tensor
    cos: Tensor
    sin: Tensor
    scale: Tensor
    stretch: Number = 1.0

    def at(self, u: Number, v: Number, stretch: Number = 1.0) -> Axes:
        """Same orientation with the origin at (u, v), and u stretched."""
        x, y = self.to_frame(u, v)
        return replace(self, x=x, y=y, stretch=stretch)

    def turned(self, angle: float) -> Axes:
        """Rotated clockwise by `angle` radians about the origin."""
        c, s = math.cos(angle), math.sin(angle)
        return replace(self, cos=self.cos * c - self.sin * s, sin=self.sin * c + self.cos * s)

    def chunk(self, start: int, stop: int) -> Axes:
        """Frames start..stop-1."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Axes(**{name: v[start:stop] if isinstance(v, Tensor) else v for name, v in values.items()})

    def to_frame(self, u: Number, v: Number) -> tuple[Tensor, Tensor]:
        """Frame position (x, y) in widths of the local point (u, v)."""
        u = u * self.stretch
        return (
            self.x + self.scale * (u * self.cos - v * self.sin),
            self.y + self.scale * (u * self.sin + v * self.cos),
        )


@dataclass(frozen=True)
class Paint:
    """How a shape is coloured.

    dark: colour of the side away from the light (None: flat); outline: drawn `outline_width` frame
    widths outside the edge; softness: width of a blurred edge in local units (0: crisp).
    """

    colour: Colour
    dark: Colour | None = None
    outline: Colour | None = None
    outline_width: float = 0.0
    softness: float = 0.0
    opacity: float = 1.0
    light: float = -1.0


def surface(colour: Colour, is_soft: bool, light: float = -1.0, depth: float = 0.6) -> Paint:
    """Shaded paint for soft styles; flat with a dark outline otherwise."""
    if is_soft:
        return Paint(tinted(colour, 0.15), dark=shadow(colour, depth), light=light)
    return Paint(colour, outline=shadow(colour, 0.95), outline_width=0.0085)


class Canvas:
    """Frames [F, 3, H, W] in 0..1 on which shapes are painted in order, over one `background` [3, H, W]."""

    def __init__(self, background: Tensor, frames: int) -> None:
        _, height, width = background.shape
        self.image = background.expand(frames, -1, -1, -1).clone()
        self.width, self.height = width, height
        self.x = ((torch.arange(width) + 0.5) / width)[None, None, :]
        self.y = ((torch.arange(height) + 0.5) / width)[None, :, None]

    def fill(self, axes: Axes, box: Box, shape: Shape, paint: Paint, clip: Tensor | None = None) -> None:
        """Paint `shape`, which lies within `box` (u0, v0, u1, v1), where `clip` [F, H, W] allows it."""
        region = self._region(axes, box, paint.outline_width)
        if region is None:
            return
        u, v, distance = self._distance(axes, region, shape)
        target = self.image[(slice(None), slice(None), *region)]
        allowed = 1.0 if clip is None else clip[(slice(None), *region)]
        if paint.outline is not None:
            cover = self._coverage(distance - paint.outline_width)
            _composite(target, _flat(paint.outline), cover * allowed)
        cover = self._coverage(distance, paint.softness * axes.scale if paint.softness else None)
        if paint.opacity != 1.0:
            cover = cover * paint.opacity
        _composite(target, self._colour(paint, box, u, v, distance, axes), cover * allowed)

    def mask(self, axes: Axes, box: Box, shape: Shape) -> Tensor:
        """Coverage [F, H, W] of a shape, for use as a clip."""
        mask = torch.zeros(self.image.shape[0], self.height, self.width)
        region = self._region(axes, box, 0.0)
        if region is not None:
            mask[(slice(None), *region)] = self._coverage(self._distance(axes, region, shape)[2])
        return mask

    def _region(self, axes: Axes, box: Box, margin: float) -> tuple[slice, slice] | None:
        """Rows and columns that the box reaches in any frame, or None when it is off the canvas."""
        x, y = axes.to_frame((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        half_u, half_v = (box[2] - box[0]) / 2 * axes.scale * axes.stretch, (box[3] - box[1]) / 2 * axes.scale
        reach_x = half_u * axes.cos.abs() + half_v * axes.sin.abs()
        reach_y = half_u * axes.sin.abs() + half_v * axes.cos.abs()
        edges = torch.stack([(x - reach_x).min(), (x + reach_x).max(), (y - reach_y).min(), (y + reach_y).max()])
        x0, x1, y0, y1 = edges.tolist()
        pad = margin * self.width + 1
        left, right = math.floor(x0 * self.width - pad), math.ceil(x1 * self.width + pad)
        top, bottom = math.floor(y0 * self.width - pad), math.ceil(y1 * self.width + pad)
        left, right = max(0, left), min(self.width, right)
        top, bottom = max(0, top), min(self.height, bottom)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None

    def _distance(self, axes: Axes, region: tuple[slice, slice], shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
        """Local coordinates of the region's pixels and the shape's distance there in frame widths."""
        x, y = self.x[:, :, region[1]] - axes.x, self.y[:, region[0]] - axes.y
        cos, sin = axes.cos / axes.scale, axes.sin / axes.scale
        u = x * (cos / axes.stretch) + y * (sin / axes.stretch)
        v = y * cos - x * sin
        return u, v, shape(u, v) * axes.scale

    def _coverage(self, distance: Tensor, softness: Tensor | None = None) -> Tensor:
        """Share of each pixel that is covered; a soft edge is a smooth step of `softness` [F, 1, 1] frame widths."""
        if softness is None:
            return (0.5 - distance * self.width).clamp_(0, 1)
        # Each frame's own softness: a mean over frames would make a picture depend on what it is batched with.
        ramp = (0.5 - distance / softness.clamp(min=1 / self.width)).clamp_(0, 1)
        return ramp * ramp * (3 - 2 * ramp)

    @staticmethod
    def _colour(paint: Paint, box: Box, u: Tensor, v: Tensor, distance: Tensor, axes: Axes) -> Tensor:
        if paint.dark is None:
            return _flat(paint.colour)
        half_u, half_v = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
        across = (u - (box[0] + box[2]) / 2) * (-0.38 * paint.light / half_u)
        # Lambert-like falloff from the light plus a darker turn of the surface near its edge.
        shade = across + (v * (0.30 / half_v) + (0.42 - 0.15 * (box[1] + box[3]) / half_v))
        edge = (distance * (1 / (0.30 * min(half_u, half_v) * axes.scale)) + 1).clamp_(min=0)
        shade = (shade + edge * edge * 0.28).clamp_(0, 1)[:, None]
        light, dark = _flat(paint.colour), _flat(paint.dark)
        return light + shade * (dark - light)


def _flat(colour: Colour) -> Tensor:
    return torch.tensor(colour, dtype=torch.float32)[:, None, None]


def _composite(target: Tensor, colour: Tensor, cover: Tensor) -> None:
    """Blend `colour` over the view `target` [F, 3, h, w] in place."""
    target += (colour - target) * cover[:, None]
