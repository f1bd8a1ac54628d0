"""Everything on the front of the head except eyes and mouth: cheeks, nose, muzzle, beard, whiskers."""

from __future__ import annotations

from torch import Tensor

from genbench.world.canvas import Canvas, Paint, surface
from genbench.world.eyes import paint_eyes
from genbench.world.look import Look, mix, scaled, shadow, tinted
from genbench.world.mouth import paint_mouth
from genbench.world.pose import Pose
from genbench.world.shapes import capsule, circle, ellipse, lens, smooth_union, without

FRECKLES = ((0.24, 0.20), (0.36, 0.16), (0.45, 0.23), (0.31, 0.28), (0.40, 0.31))


def paint_face(canvas: Canvas, pose: Pose, look: Look, clip: Tensor) -> None:
    """Paint all features inside the head's coverage `clip` [F, H, W]."""
    if look.is_animal:
        _paint_coat(canvas, pose, look, clip)
    _paint_cheeks(canvas, pose, look, clip)
    if look.words.get("facial_hair") == "beard":
        _paint_beard(canvas, pose, look, clip)
    paint_eyes(canvas, pose, look, clip)
    if look.is_animal:
        paint_mouth(canvas, pose, look, clip)
        _paint_snout(canvas, pose, look)
        return
    _paint_nose(canvas, pose, look, clip)
    if look.words["facial_hair"] != "none":
        _paint_moustache(canvas, pose, look, clip)
    paint_mouth(canvas, pose, look, clip)


def _paint_cheeks(canvas: Canvas, pose: Pose, look: Look, clip: Tensor) -> None:
    strength = 0.12 + 0.24 * look.blush if look.is_soft else 0.30 + 0.35 * look.blush
    tone = mix(look.skin, (0.93, 0.38, 0.36), 0.55)
    softness, radius = (0.30, 0.17) if look.is_soft else (0.06, 0.15)
    for side in (-1.0, 1.0):
        axes = pose.head.at(*pose.project(side * 0.46, 0.27, 0.58), stretch=pose.facing(side * 0.46, 0.9, 0.35))
        canvas.fill(
            axes, (-0.4, -0.35, 0.4, 0.35), lambda u, v: ellipse(u, v, radius, radius * 0.75),
            Paint(tone, softness=softness, opacity=strength), clip,
        )  # fmt: skip
        if look.words.get("freckles", "none") != "none":
            for x, y in FRECKLES:
                spot = pose.head.at(*pose.project(side * x, y, 0.66))
                paint = Paint(shadow(look.skin, 0.6), opacity=0.55)
                canvas.fill(spot, (-0.04, -0.04, 0.04, 0.04), lambda u, v: circle(u, v, 0.022), paint, clip)


def _paint_nose(canvas: Canvas, pose: Pose, look: Look, clip: Tensor) -> None:
    root, tip = pose.project(0, -0.10, 0.80), pose.project(0, 0.15, 1.08)
    size = 0.095 * look.nose
    box = (-1.1, -0.4, 1.1, 0.5)
    if look.is_soft:
        away = -0.055 * look.light
        shade = Paint(shadow(look.skin, 0.55), softness=0.13, opacity=0.55)
        low = (tip[0] + 1.1 * away, tip[1] + 0.06)
        canvas.fill(pose.head, box, lambda u, v: capsule(u - away, v, root, low, 0.02, size), shade, clip)
        body = Paint(mix(look.skin, tinted(look.skin, 0.2), 0.5), softness=0.10, opacity=0.85)
        canvas.fill(pose.head, box, lambda u, v: capsule(u, v, root, tip, 0.025, size * 0.85), body, clip)
        for side in (-1.0, 1.0):
            axes = pose.head.at(*pose.project(side * 0.055 * look.nose, 0.215, 0.90))
            hole = Paint(shadow(look.skin, 0.95), softness=0.04, opacity=0.75)
            canvas.fill(axes, (-0.1, -0.08, 0.1, 0.08), lambda u, v: ellipse(u, v, 0.036, 0.022), hole, clip)
        spot = pose.head.at(tip[0] - away * 0.5, tip[1] - 0.02)
        canvas.fill(
            spot,
            (-0.1, -0.1, 0.1, 0.1),
            lambda u, v: circle(u, v, 0.03),
            Paint((1, 0.98, 0.94), softness=0.06, opacity=0.55),
            clip,
        )
        return
    axes = pose.head.at(tip[0], tip[1])
    paint = Paint(shadow(look.skin, 0.65))

    def crescent(u: Tensor, v: Tensor) -> Tensor:
        return without(ellipse(u, v, size, size * 0.8), ellipse(u, v + 0.045, size * 1.1, size * 0.8))

    canvas.fill(axes, (-0.2, -0.2, 0.2, 0.2), crescent, paint, clip)


def _paint_beard(canvas: Canvas, pose: Pose, look: Look, clip: Tensor) -> None:
    """Hair on the jaw below a line from the ears to under the nose; the mouth is painted later, on top."""
    u0, v0 = pose.project(0, 0.16, 0.70)
    radius = look.jaw_radius
    tone = mix(look.hair, shadow(look.skin, 0.5), 0.15)

    def beard(u: Tensor, v: Tensor) -> Tensor:
        cheek = ellipse(u - u0, v - v0 + 0.08, radius * 0.86, 0.42)
        upper_edge = 0.16 - v
        return (-smooth_union(cheek, -upper_edge, 0.10)) * 1.0

    canvas.fill(pose.head, (-1.1, 0.05, 1.1, 1.2), beard, Paint(tone, softness=0.07 if look.is_soft else 0.0), clip)


def _paint_moustache(canvas: Canvas, pose: Pose, look: Look, clip: Tensor) -> None:
    axes = pose.mouth_axes(look)
    lift = 0.085 + 0.08 * pose.mouth_open

    def moustache(u: Tensor, v: Tensor) -> Tensor:
        return lens(u, v + lift + 0.06 - 0.45 * u * u, 0.30, 0.075, 0.055, 0.6)

    paint = Paint(mix(look.hair, shadow(look.hair), 0.3), softness=0.03 if look.is_soft else 0.0)
    canvas.fill(axes, (-0.4, -0.45, 0.4, 0.2), moustache, paint, clip)


def _paint_coat(canvas: Canvas, pose: Pose, look: Look, clip: Tensor) -> None:
    """Second fur tone: muzzle for all, cheeks for fox and dog, forehead marks for cats."""
    species = look.words["species"]
    muzzle = pose.head.at(*pose.project(0, 0.46, 0.95), stretch=pose.facing(0.0, 1.0, 0.7))
    drop = 0.07 * pose.mouth_open
    wide = 0.60 if species == "fox" else 0.46
    pale = surface(look.belly, look.is_soft, look.light, 0.25)
    pale = Paint(pale.colour, dark=pale.dark, light=look.light, softness=0.07)

    def shape(u: Tensor, v: Tensor) -> Tensor:
        snout = ellipse(u, v - drop, wide, 0.37 + drop)
        if species == "fox":
            return smooth_union(snout, ellipse(u.abs() - 0.55, v + 0.02, 0.40, 0.34), 0.1)
        return smooth_union(snout, circle(u, v + 0.25, 0.18), 0.15) if species != "cat" else snout

    canvas.fill(muzzle, (-1.0, -0.6, 1.0, 0.7), shape, pale, clip)
    if species == "cat":
        for x in (-0.16, 0.0, 0.16):
            axes = pose.head.at(*pose.project(x, -0.66, 0.55)).turned(x * 0.9)
            stripe = Paint(shadow(look.skin, 0.5), opacity=0.8)
            canvas.fill(
                axes,
                (-0.1, -0.25, 0.1, 0.25),
                lambda u, v: capsule(u, v, (0, -0.14), (0, 0.12), 0.05, 0.022),
                stripe,
                clip,
            )
    if species == "dog":
        axes = pose.head.at(*pose.project(0, -0.45, 0.74))
        canvas.fill(
            axes, (-0.25, -0.55, 0.25, 0.75), lambda u, v: capsule(u, v, (0, -0.35), (0, 0.55), 0.07, 0.14), pale, clip
        )


def _paint_snout(canvas: Canvas, pose: Pose, look: Look) -> None:
    species = look.words["species"]
    axes = pose.head.at(*pose.project(0, 0.235, 1.16), stretch=pose.facing(0.0, 1.0, 0.7))
    pink = species in ("cat", "rabbit")
    tone = (0.86, 0.48, 0.50) if pink else (0.17, 0.13, 0.15)
    half_u, half_v = (0.115, 0.075) if pink else (0.15, 0.105)
    line = Paint(scaled(mix(look.lips, (0.3, 0.2, 0.2), 0.4), 0.9))
    canvas.fill(axes, (-0.05, 0.0, 0.05, 0.25), lambda u, v: capsule(u, v, (0, 0.05), (0, 0.21), 0.016, 0.016), line)
    nose = lambda u, v: lens(u, v, half_u, half_v * 0.8, half_v * 1.2, 0.8)  # noqa: E731
    canvas.fill(
        axes, (-0.2, -0.15, 0.2, 0.2), nose, Paint(tinted(tone, 0.05), dark=scaled(tone, 0.7), light=look.light)
    )
    shine = axes.at(0.3 * half_u * look.light, -0.4 * half_v)
    canvas.fill(
        shine, (-0.06, -0.04, 0.06, 0.04), lambda u, v: ellipse(u, v, 0.04, 0.02), Paint((1, 1, 1), opacity=0.7)
    )
    if species in ("cat", "rabbit", "fox"):
        for side in (-1.0, 1.0):
            for angle in (-0.10, 0.14):
                _paint_whisker(canvas, pose, look, side, angle)


def _paint_whisker(canvas: Canvas, pose: Pose, look: Look, side: float, angle: float) -> None:
    whisker = pose.head.at(*pose.project(side * 0.40, 0.42, 0.80)).turned(side * angle)
    paint = Paint((0.98, 0.97, 0.95) if sum(look.skin) < 1.9 else (0.45, 0.40, 0.40), opacity=0.75)
    canvas.fill(
        whisker, (-0.62, -0.08, 0.62, 0.08),
        lambda u, v: capsule(u * side, v, (0.0, 0.0), (0.5, 0.0), 0.014, 0.006), paint,
    )  # fmt: skip
