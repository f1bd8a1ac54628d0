"""The head without its features: outline, ears, and animal ears; shared by hair and face as a clip."""

from __future__ import annotations

from torch import Tensor

from genbench.world.canvas import Box, Canvas, Shape, surface
from genbench.world.look import Colour, Look, mix, scaled, shadow
from genbench.world.pose import Pose
from genbench.world.shapes import capsule, circle, ellipse, smooth_union, triangle

HEAD_BOX: Box = (-1.25, -1.15, 1.25, 1.25)
EAR_KIND = {"cat": "pointed", "fox": "pointed", "bear": "round", "panda": "round", "rabbit": "long", "dog": "floppy"}


def paint_head(canvas: Canvas, pose: Pose, look: Look, is_turned: bool) -> Tensor:
    """Paint ears and head; returns the head's coverage [F, H, W]."""
    if look.is_animal:
        _animal_ears(canvas, pose, look)
    elif not is_turned:
        _human_ears(canvas, pose, look, is_turned=False)
    shape = head_shape(pose, look, is_turned)
    canvas.fill(pose.head, HEAD_BOX, shape, surface(look.skin, look.is_soft, look.light, 0.5))
    return canvas.mask(pose.head, HEAD_BOX, shape)


def head_shape(pose: Pose, look: Look, is_turned: bool) -> Shape:
    """Outline of the head; a turned head shows nose, lips and chin against the background."""
    return _animal_head(pose, look) if look.is_animal else _human_head(pose, look, is_turned)


def _human_head(pose: Pose, look: Look, is_turned: bool) -> Shape:
    turn, drop = pose.yaw_sin, 0.09 * pose.mouth_open
    nose_root, nose_tip = pose.project(0, -0.12, 0.80), pose.project(0, 0.13, 1.12 + 0.10 * (look.nose - 1))
    lips, chin = pose.project(0, 0.50, 0.76), pose.project(0, 0.84, 0.66)
    is_chubby = not look.is_soft

    def shape(u: Tensor, v: Tensor) -> Tensor:
        skull = ellipse(u + 0.12 * turn, v + 0.20, look.head_radius * (1 + 0.08 * turn * turn), 0.80)
        jaw = ellipse(u - 0.16 * turn, v - 0.34 - 0.6 * drop, look.jaw_radius + 0.10 * is_chubby, 0.63 + 0.4 * drop)
        head = smooth_union(skull, jaw, 0.25)
        if not is_turned:
            return head
        nose = capsule(u, v, nose_root, nose_tip, 0.03, 0.085 * look.nose)
        mouth = circle(u - lips[0], v - lips[1] - drop, 0.13)
        jut = circle(u - chin[0], v - chin[1] - drop, 0.13)
        return smooth_union(smooth_union(head, nose, 0.14), smooth_union(mouth, jut, 0.10), 0.14)

    return shape


def _animal_head(pose: Pose, look: Look) -> Shape:
    turn, drop = pose.yaw_sin, 0.07 * pose.mouth_open
    muzzle = pose.project(0, 0.42, 0.90)
    cheeks = 1.13 if look.words["species"] in ("cat", "fox", "panda") else 0.98

    def shape(u: Tensor, v: Tensor) -> Tensor:
        skull = ellipse(u + 0.05 * turn, v + 0.08, look.head_radius, 0.86)
        jowls = ellipse(u, v - 0.32 - 0.5 * drop, look.head_radius * cheeks, 0.52 + 0.5 * drop)
        snout = ellipse(u - muzzle[0], v - muzzle[1] - 0.5 * drop, 0.40, 0.36 + drop)
        return smooth_union(smooth_union(skull, jowls, 0.12), snout, 0.12)

    return shape


def _human_ears(canvas: Canvas, pose: Pose, look: Look, is_turned: bool) -> None:
    paint = surface(mix(look.skin, shadow(look.skin), 0.15), look.is_soft, look.light)
    for side in (-1.0, 1.0):
        # Turned towards +x the ear at -x comes to the front of the head, the other one vanishes.
        if is_turned and side == look.facing:
            continue
        u, v = pose.project(side * (look.head_radius + 0.02), 0.02, 0.0 if is_turned else -0.08)
        if is_turned:
            u = u + 0.10 * look.facing
        axes = pose.head.at(u, v)
        canvas.fill(axes, (-0.2, -0.25, 0.2, 0.25), lambda p, q: ellipse(p, q, 0.115, 0.19), paint)
        inner = surface(shadow(look.skin, 0.45), True, look.light, 0.2)
        canvas.fill(axes, (-0.1, -0.15, 0.1, 0.15), lambda p, q: ellipse(p, q, 0.05, 0.10), inner)


def _animal_ears(canvas: Canvas, pose: Pose, look: Look) -> None:
    species, kind = look.words["species"], EAR_KIND[look.words["species"]]
    coat: Colour = (0.20, 0.18, 0.22) if species == "panda" else look.skin
    if species == "fox":
        coat = scaled(look.skin, 0.72)
    if species == "dog":
        coat = shadow(look.skin, 0.45)
    inner = (0.32, 0.28, 0.32) if species == "panda" else mix(look.skin, (0.95, 0.62, 0.62), 0.6)
    for side in (-1.0, 1.0):
        if kind == "floppy":
            continue
        _animal_ear(canvas, pose, look, kind, side, coat, inner)


def paint_front_ears(canvas: Canvas, pose: Pose, look: Look, is_turned: bool) -> None:
    """Ears that lie over head and hair: hanging ones, and the near ear of a turned person."""
    if EAR_KIND.get(look.words.get("species", "")) == "floppy":
        _floppy_ears(canvas, pose, look, (-look.facing,) if is_turned else (-1.0, 1.0))
    elif is_turned and look.words.get("hair", "long") not in ("long", "bob", "curly"):
        _human_ears(canvas, pose, look, is_turned=True)


def _floppy_ears(canvas: Canvas, pose: Pose, look: Look, sides: tuple[float, ...]) -> None:
    paint = surface(shadow(look.skin, 0.42), look.is_soft, look.light)
    for side in sides:
        axes = pose.head.at(*pose.project(side * look.head_radius * 0.93, -0.42, -0.10)).turned(-0.30 * side)
        canvas.fill(
            axes, (-0.3, -0.25, 0.3, 0.95),
            lambda p, q: capsule(p, q, (0.0, 0.0), (0.0, 0.60), 0.15, 0.22), paint,
        )  # fmt: skip


def _animal_ear(canvas: Canvas, pose: Pose, look: Look, kind: str, side: float, coat: Colour, inner: Colour) -> None:
    outer_paint, inner_paint = surface(coat, look.is_soft, look.light), surface(inner, look.is_soft, look.light, 0.3)
    place = {"pointed": (0.60, -0.52), "round": (0.66, -0.66), "long": (0.36, -0.72)}[kind]
    tilt = {"pointed": 0.34, "round": 0.5, "long": 0.13}[kind] * side
    u, v = pose.project(side * place[0] * look.head_radius, place[1], -0.15)
    axes = pose.head.at(u, v).turned(tilt)
    if kind == "pointed":
        canvas.fill(axes, (-0.5, -0.8, 0.5, 0.3), lambda p, q: triangle(p, q - 0.12, 0.42, 0.84, 0.16), outer_paint)
        canvas.fill(axes, (-0.3, -0.6, 0.3, 0.2), lambda p, q: triangle(p, q - 0.05, 0.25, 0.58, 0.10), inner_paint)
    elif kind == "round":
        canvas.fill(axes, (-0.34, -0.34, 0.34, 0.34), lambda p, q: circle(p, q, 0.30), outer_paint)
        canvas.fill(axes, (-0.2, -0.2, 0.2, 0.2), lambda p, q: circle(p, q - 0.03, 0.17), inner_paint)
    else:
        long = lambda p, q, r: capsule(p, q, (0.0, 0.0), (0.0, -0.62), r * 0.85, r)  # noqa: E731
        canvas.fill(axes, (-0.26, -0.9, 0.26, 0.25), lambda p, q: long(p, q, 0.20), outer_paint)
        canvas.fill(axes, (-0.14, -0.78, 0.14, 0.2), lambda p, q: long(p, q, 0.10), inner_paint)
