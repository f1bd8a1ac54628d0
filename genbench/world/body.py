"""Neck, torso, arms, legs and clothes under the head."""

from __future__ import annotations

from torch import Tensor

from genbench.world.canvas import Axes, Box, Canvas, Paint, Shape, surface
from genbench.world.look import Look, mix, scaled, shadow
from genbench.world.pose import FRAMINGS, Pose
from genbench.world.shapes import capsule, circle, ellipse, rounded_box, smooth_union


def paint_body(canvas: Canvas, pose: Pose, look: Look, composition: str) -> None:
    """Paint everything below the chin, in frame-width coordinates around the shoulders."""
    half = FRAMINGS[composition].shoulder_half
    torso_axes = pose.body.at(0.0, -1.0 * pose.lift)
    is_full = composition == "full_body"
    if is_full:
        for side in (-1.0, 1.0):
            _paint_leg(canvas, pose, look, half, side)
    shape, box = _torso(composition, half)
    if composition in ("half_body", "full_body"):
        for side in (-1.0, 1.0):
            _paint_arm(canvas, pose, look, is_full, half, side)
    _paint_neck(canvas, pose, look)
    canvas.fill(torso_axes, box, shape, surface(look.clothes, look.is_soft, look.light, 0.55))
    _paint_pattern(canvas, torso_axes, look, shape, box, half)
    _paint_clothes(canvas, torso_axes, pose, look)


def _torso(composition: str, half: float) -> tuple[Shape, Box]:
    if composition == "full_body":

        def whole(u: Tensor, v: Tensor) -> Tensor:
            chest = rounded_box(u, v - 0.12, half * 0.86, 0.14, 0.08)
            return smooth_union(chest, rounded_box(u, v - 0.23, half * 0.96, 0.09, 0.06), 0.08)

        return whole, (-half, -0.03, half, 0.33)

    trunk_share = 0.90 if composition == "half_body" else 1.0

    def upper(u: Tensor, v: Tensor) -> Tensor:
        slope = ellipse(u, v - 0.13, half * 0.62, 0.16)
        trunk = rounded_box(u, v - 0.62, half * trunk_share, 0.60, half * trunk_share * 0.56)
        return smooth_union(trunk, slope, 0.10)

    return upper, (-half - 0.02, -0.06, half + 0.02, 0.62)


def _neck_top(pose: Pose) -> tuple[Tensor, Tensor]:
    """Base of the skull in body coordinates."""
    x, y = pose.head.to_frame(-0.15 * pose.yaw_sin, 0.45)
    return x - pose.body.x, y - pose.body.y


def _paint_neck(canvas: Canvas, pose: Pose, look: Look) -> None:
    top = _neck_top(pose)
    # The scale is the same in every frame; a mean over frames would round differently in batches of other sizes.
    width = (0.30 if not look.is_animal else 0.36) * float(pose.head.scale[0])
    base = (0.0, 0.05 - pose.lift)
    neck = lambda u, v: capsule(u, v, top, base, width, width * 1.08)  # noqa: E731
    tone = mix(look.skin, shadow(look.skin), 0.45)
    canvas.fill(pose.body, (-0.35, -0.35, 0.35, 0.2), neck, surface(tone, look.is_soft, look.light, 0.45))


def _paint_clothes(canvas: Canvas, axes: Axes, pose: Pose, look: Look) -> None:
    kind, wide = look.words["clothes"], 0.36 * float(pose.head.scale[0])
    darker = surface(scaled(look.clothes, 0.86), look.is_soft, look.light, 0.45)
    if kind == "sweater":
        collar = lambda u, v: ellipse(u, v - 0.015, wide * 1.12, wide * 0.42)  # noqa: E731
        canvas.fill(axes, (-wide * 1.3, -0.15, wide * 1.3, 0.2), collar, darker)
        hole = lambda u, v: ellipse(u, v + 0.008, wide * 0.84, wide * 0.20)  # noqa: E731
        canvas.fill(axes, (-wide, -0.1, wide, 0.1), hole, Paint(mix(shadow(look.skin, 0.5), shadow(look.clothes), 0.3)))
        return
    deep = wide * (1.25 if kind == "shirt" else 1.9)
    opening = lambda u, v: (u.abs() + v * (wide * 0.80 / deep) - wide * 0.80).maximum(-v - 0.012)  # noqa: E731
    if kind == "scarf":
        band = lambda u, v: rounded_box(u, v - 0.012, wide * 1.35, wide * 0.40, wide * 0.36)  # noqa: E731
        knot, end = (0.5 * wide * look.light, 0.05), (0.7 * wide * look.light, 1.9 * wide)
        tail = lambda u, v: capsule(u, v, knot, end, wide * 0.27, wide * 0.32)  # noqa: E731
        paint = surface(look.accent, look.is_soft, look.light)
        canvas.fill(axes, (-0.3, 0.0, 0.3, 0.5), tail, paint)
        canvas.fill(axes, (-0.3, -0.2, 0.3, 0.25), band, paint)
        return
    inner = look.skin if kind == "shirt" else look.accent
    canvas.fill(
        axes,
        (-wide, -0.1, wide, deep + 0.05),
        opening,
        surface(mix(inner, shadow(inner), 0.25), look.is_soft, look.light, 0.4),
    )
    if kind == "jacket":
        _paint_jacket_neck(canvas, axes, look, wide)
    flap = lambda u, v: capsule(u.abs(), v, (wide * 0.92, -0.02), (wide * 0.10, deep * 0.97), wide * 0.20, wide * 0.12)  # noqa: E731
    canvas.fill(axes, (-wide * 1.3, -0.12, wide * 1.3, deep + 0.08), flap, darker)


def _paint_jacket_neck(canvas: Canvas, axes: Axes, look: Look, wide: float) -> None:
    skin = surface(mix(look.skin, shadow(look.skin), 0.35), look.is_soft, look.light, 0.4)
    canvas.fill(axes, (-wide, -0.1, wide, 0.15), lambda u, v: ellipse(u, v, wide * 0.75, wide * 0.34), skin)


def _paint_pattern(canvas: Canvas, axes: Axes, look: Look, torso: Shape, box: Box, half: float) -> None:
    pattern, pitch = look.words["clothes_pattern"], half * 0.30
    if pattern == "plain":
        return
    tone = mix(look.clothes, look.accent, 0.75)

    def cell(w: Tensor) -> Tensor:
        return (w - (w / pitch).floor() * pitch) - 0.5 * pitch

    def stripes(u: Tensor, v: Tensor) -> Tensor:
        return (cell(v + 0.12 * u * u).abs() - 0.20 * pitch).maximum(torso(u, v) + 0.004)

    def dots(u: Tensor, v: Tensor) -> Tensor:
        return circle(cell(u), cell(v), 0.20 * pitch).maximum(torso(u, v) + 0.004)

    shape = stripes if pattern == "striped" else dots
    canvas.fill(
        axes, box, shape, Paint(tone, dark=shadow(tone, 0.35) if look.is_soft else None, light=look.light, opacity=0.9)
    )


def _paint_arm(canvas: Canvas, pose: Pose, look: Look, is_full: bool, half: float, side: float) -> None:
    sleeve = surface(mix(look.clothes, shadow(look.clothes), 0.12), look.is_soft, look.light, 0.55)
    hand = surface(look.skin, look.is_soft, look.light, 0.4)
    thick = 0.042 if is_full else 0.072
    top, reach = (0.055, 0.23) if is_full else (0.14, 0.48)
    swing = 0.04 * pose.yaw_sin + 1.2 * pose.lift * side
    shoulder = (side * (half * (0.84 if is_full else 0.80)), top - pose.lift)
    elbow = (side * (half + (0.035 if is_full else 0.0)), top + 0.5 * reach - 0.5 * pose.lift)
    wrist = (side * (half + (0.062 if is_full else -0.01)) + swing, top + reach - 2.0 * swing * side)
    box = (-half - 0.2, -0.05, half + 0.2, 0.75)
    canvas.fill(pose.body, box, lambda u, v: circle(u - wrist[0], v - wrist[1] - 0.02, thick * 0.95), hand)

    def arm(u: Tensor, v: Tensor) -> Tensor:
        upper = capsule(u, v, shoulder, elbow, thick * 1.1, thick)
        return smooth_union(upper, capsule(u, v, elbow, wrist, thick, thick * 0.92), 0.02)

    canvas.fill(pose.body, box, arm, sleeve)


def _paint_leg(canvas: Canvas, pose: Pose, look: Look, half: float, side: float) -> None:
    trousers = surface(look.trousers, look.is_soft, look.light, 0.5)
    shoe = surface(
        scaled(look.accent, 0.9) if sum(look.trousers) < 1.3 else (0.3, 0.25, 0.27), look.is_soft, look.light, 0.5
    )
    # Feet stay on the ground while the hips follow the body.
    ground_u, ground_v = 0.5 - pose.body.x, 1.235 - pose.body.y
    hip, foot = (side * half * 0.46, 0.27), (ground_u + side * half * 0.52, ground_v)
    shoes = lambda u, v: rounded_box(u - foot[0] - 0.018 * side, v - foot[1], 0.068, 0.036, 0.034)  # noqa: E731
    canvas.fill(pose.body, (-0.3, 0.4, 0.3, 0.7), shoes, shoe)
    leg = lambda u, v: capsule(u, v, hip, (foot[0], foot[1] - 0.035), 0.068, 0.052)  # noqa: E731
    canvas.fill(pose.body, (-0.3, 0.15, 0.3, 0.68), leg, trousers)
