"""Bad framing of known degree: the picture cut so that part of the face is lost, or tilted."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from evalkit.metrics.training.augment import happens, uniform

LOST_SHARE = 0.7
"""How much of the face is cut off at severity 1."""
TILT_DEGREES = 28.0
LEAST_WINDOW = 0.62


def reframe(x: Tensor, box: Tensor, severity: float, generator: Generator) -> Tensor:
    """[3, H, W] seen through another window, resized back; `box` is the relative face box (x0, y0, x1, y1).

    A share of the face proportional to `severity` lies outside the window, or the picture is tilted by it.
    """
    if severity <= 0.02:
        return x
    if happens(generator, 0.35):
        degrees = severity * TILT_DEGREES * (1 if happens(generator, 0.5) else -1)
        return _through(x, 0.0, 0.0, _scale_of_tilt(degrees, x), degrees)
    x0, y0, x1, y1 = (2 * float(value) - 1 for value in box)
    wanted, lost = uniform(generator, LEAST_WINDOW, 0.8), severity * LOST_SHARE
    # The window's edge passes through the face; the window is small enough to stay inside the picture.
    side = int(torch.randint(3, (1,), generator=generator))
    if side == 0:
        edge = x0 + lost * (x1 - x0)
        scale = min(wanted, (1 - edge) / 2)
        centre = (edge + scale, _towards((y0 + y1) / 2, scale))
    elif side == 1:
        edge = x1 - lost * (x1 - x0)
        scale = min(wanted, (1 + edge) / 2)
        centre = (edge - scale, _towards((y0 + y1) / 2, scale))
    else:
        edge = y0 + lost * (y1 - y0)
        scale = min(wanted, (1 - edge) / 2)
        centre = (_towards((x0 + x1) / 2, scale), edge + scale)
    return _through(x, *centre, scale, 0.0)


def nearer(x: Tensor, box: Tensor, generator: Generator) -> Tensor:
    """A nearer view with the whole face in it: nothing is wrong with that."""
    x0, y0, x1, y1 = (2 * float(value) - 1 for value in box)
    scale = uniform(generator, LEAST_WINDOW, 1.0)
    spans = [(max(scale - 1, high - scale), min(1 - scale, low + scale)) for low, high in ((x0, x1), (y0, y1))]
    if any(low > high for low, high in spans):
        return x
    centre_x, centre_y = (uniform(generator, low, high) for low, high in spans)
    return _through(x, centre_x, centre_y, scale, 0.0)


def _towards(middle: float, scale: float) -> float:
    """A window's centre near `middle` that stays inside the picture."""
    return max(scale - 1, min(1 - scale, middle))


def _scale_of_tilt(degrees: float, x: Tensor) -> float:
    """The largest window of the same form that a tilt leaves inside the picture."""
    angle, form = math.radians(abs(degrees)), x.shape[1] / x.shape[2]
    return 1 / (math.cos(angle) + max(form, 1 / form) * math.sin(angle))


def _through(x: Tensor, centre_x: float, centre_y: float, scale: float, degrees: float) -> Tensor:
    angle, form = math.radians(degrees), x.shape[1] / x.shape[2]
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    matrix = torch.tensor([[cos, -sin * form, centre_x], [sin / form, cos, centre_y]])
    grid = F.affine_grid(matrix[None], [1, *x.shape], align_corners=False)
    return F.grid_sample(x[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]

