"""The mouth: cavity, teeth, tongue and lips, for people and animals alike."""

from __future__ import annotations

from torch import Tensor

from genbench.world.canvas import Canvas, Paint, Shape
from genbench.world.look import Look, mix, scaled, tinted
from genbench.world.pose import FULL_OPENING, Pose
from genbench.world.shapes import ellipse, lens

CAVITY = (0.23, 0.05, 0.07)
TEETH = (0.97, 0.95, 0.92)
TONGUE = (0.83, 0.36, 0.38)
SMILE = 0.07
REACH = (-0.55, -0.30, 0.55, 0.55)


def paint_mouth(canvas: Canvas, pose: Pose, look: Look, clip: Tensor) -> None:
    """Paint the mouth at its current opening, inside the head's coverage `clip` [F, H, W]."""
    axes = pose.mouth_axes(look)
    half = look.mouth_half * (1 + 0.26 * pose.mouth_wide - 0.42 * pose.mouth_round) - 0.04 * pose.mouth_open
    opening = FULL_OPENING * pose.mouth_open
    # The upper lip hardly moves; the jaw does the opening.
    upper, lower = 0.22 * opening, 0.78 * opening
    curl = SMILE * (1 - 0.9 * pose.mouth_round)
    fullness = 0.35 + 0.55 * pose.mouth_open

    def bent(u: Tensor, v: Tensor) -> Tensor:
        return v + curl * (u / half).square().clamp(max=1.6) - 0.02

    def cavity(u: Tensor, v: Tensor) -> Tensor:
        return lens(u, bent(u, v), half, upper, lower, fullness)

    def lips(u: Tensor, v: Tensor) -> Tensor:
        pout = 1 + 0.5 * pose.mouth_round
        return lens(u, bent(u, v), half + 0.05, upper + lip_up * pout, lower + lip_low * pout, fullness)

    lip_up, lip_low = (0.060, 0.085) if look.is_soft else (0.040, 0.050)
    if look.is_animal:
        lip_up, lip_low = 0.035, 0.040
    if look.is_soft and not look.is_animal:
        lip_paint = Paint(tinted(look.lips, 0.12), dark=scaled(look.lips, 0.72), light=look.light)
    else:
        lip_paint = Paint(look.lips)
    canvas.fill(axes, REACH, lips, lip_paint, clip)
    canvas.fill(axes, REACH, lambda u, v: cavity(u, v) - 0.012, Paint(scaled(mix(look.lips, CAVITY, 0.7), 0.8)), clip)
    canvas.fill(axes, REACH, cavity, Paint(CAVITY), clip)
    _paint_inside(canvas, pose, look, clip, cavity, bent, (half, upper, lower))


def _paint_inside(
    canvas: Canvas,
    pose: Pose,
    look: Look,
    clip: Tensor,
    cavity: Shape,
    bent: Shape,
    size: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Tongue low and teeth high in the cavity."""
    axes, (half, upper, lower) = pose.mouth_axes(look), size

    def tongue(u: Tensor, v: Tensor) -> Tensor:
        mound = ellipse(u, v - lower * 1.02, half * 0.62, 0.02 + 0.42 * lower)
        return mound.maximum(cavity(u, v) + 0.012)

    def teeth(u: Tensor, v: Tensor) -> Tensor:
        band = bent(u, v) + upper - (0.25 * (upper + lower)).clamp(max=0.085)
        return band.maximum(cavity(u, v) + 0.010).maximum(u.abs() - half * 0.80)

    canvas.fill(axes, REACH, tongue, Paint(TONGUE, dark=scaled(TONGUE, 0.8), light=look.light), clip)
    canvas.fill(axes, REACH, teeth, Paint(TEETH), clip)
