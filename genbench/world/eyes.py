"""Eyes and brows: sclera, iris with highlight, lids that close, lashes, glasses."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from genbench.world.canvas import Axes, Canvas, Paint, Shape
from genbench.world.look import Look, mix, scaled, shadow, tinted
from genbench.world.pose import Pose
from genbench.world.shapes import capsule, circle, ellipse, lens, rounded_box

EYE_HEIGHT = -0.06
EYE_DEPTH = {"human": 0.70, "animal": 0.72}


def eye_axes(pose: Pose, look: Look, side: float) -> Axes:
    """Axes at one eye, foreshortened with the head; side is -1 (picture left) or 1."""
    depth = EYE_DEPTH["animal" if look.is_animal else "human"]
    u, v = pose.project(side * look.eye_spacing, EYE_HEIGHT, depth)
    return pose.head.at(u, v, stretch=pose.facing(side * look.eye_spacing, look.head_radius * 1.15, 0.5))


def paint_eyes(canvas: Canvas, pose: Pose, look: Look, clip: Tensor) -> None:
    """Both eyes and brows inside the head's coverage."""
    for side in (-1.0, 1.0):
        _paint_eye(canvas, pose, look, clip, side)
        if not look.is_animal:
            _paint_brow(canvas, pose, look, clip, side)


def paint_glasses(canvas: Canvas, pose: Pose, look: Look) -> None:
    """Rims and bridge over everything else on the face."""
    if look.words["glasses"] == "none":
        return
    frame = Paint((0.20, 0.17, 0.20))
    size = max(0.235, look.eye_radius * 1.25)
    for side in (-1.0, 1.0):
        axes = eye_axes(pose, look, side)
        box = (-size - 0.1, -size - 0.1, size + 0.1, size + 0.1)
        canvas.fill(
            axes,
            box,
            lambda u, v: rounded_box(u, v - 0.02, size, size * 0.9, size * 0.7),
            Paint((1, 1, 1), opacity=0.10),
        )
        canvas.fill(axes, box, lambda u, v: rounded_box(u, v - 0.02, size, size * 0.9, size * 0.7).abs() - 0.022, frame)
    start = pose.project(-look.eye_spacing + size, EYE_HEIGHT, 0.84)
    end = pose.project(look.eye_spacing - size, EYE_HEIGHT, 0.84)
    canvas.fill(pose.head, (-1.0, -0.5, 1.0, 0.4), lambda u, v: capsule(u, v, start, end, 0.022, 0.022), frame)


def _paint_eye(canvas: Canvas, pose: Pose, look: Look, clip: Tensor, side: float) -> None:
    axes, r = eye_axes(pose, look, side), look.eye_radius
    is_photo = look.is_soft and not look.is_animal
    tall = r * (0.66 if is_photo else 1.12)
    half = r if is_photo else 0.88 * r
    box = (-1.6 * r, -1.6 * r, 1.6 * r, 1.6 * r)

    def ball(u: Tensor, v: Tensor) -> Tensor:
        return lens(u, v, half, tall, 0.72 * tall, 0.5) if is_photo else ellipse(u, v, half, tall)

    def lid_edge(u: Tensor) -> Tensor:
        """Height of the upper lid: along the top of the eye when open, sagging low when shut."""
        bow = (u * (1 / half)).square()
        raised, shut = bow * (0.66 * tall) - tall, 0.52 * tall - bow * (0.30 * tall)
        return raised + pose.blink * (shut - raised)

    def opening(u: Tensor, v: Tensor) -> Tensor:
        # The lower lid rises to meet the upper one, or a sliver of white would stay.
        lower = v - 1.2 * tall + 0.75 * tall * pose.blink
        return ball(u, v).maximum(lid_edge(u) - v).maximum(lower)

    _paint_lid(canvas, look, clip, axes, ball, side)
    canvas.fill(axes, box, opening, Paint((0.985, 0.975, 0.96)), clip)
    _paint_iris(canvas, pose, look, clip, axes, opening, is_photo)
    _paint_lash(canvas, look, clip, axes, lid_edge, half)


def _paint_lid(canvas: Canvas, look: Look, clip: Tensor, axes: Axes, ball: Shape, side: float) -> None:
    """Socket shade or panda patch, then the lid skin that shows where the eye is shut."""
    r, reach = look.eye_radius, (-0.45, -0.45, 0.45, 0.5)
    if look.is_soft and not look.is_animal:
        socket = Paint(shadow(look.skin, 0.55), softness=0.22, opacity=0.40)
        canvas.fill(axes, reach, lambda u, v: ellipse(u, v + 0.03, r * 1.25, r * 0.95), socket, clip)
    is_panda = look.words.get("species") == "panda"
    if is_panda:
        patch = lambda u, v: ellipse(u, v - 0.06, 0.25, 0.33)  # noqa: E731
        canvas.fill(axes.turned(0.5 * side), reach, patch, Paint((0.20, 0.18, 0.22)), clip)
    lid = Paint((0.36, 0.33, 0.38) if is_panda else shadow(look.skin, 0.16))
    canvas.fill(axes, reach, lambda u, v: ball(u, v) - 0.012, lid, clip)


def _paint_iris(
    canvas: Canvas, pose: Pose, look: Look, clip: Tensor, axes: Axes, opening: Shape, is_photo: bool
) -> None:
    r = look.eye_radius
    size = r * (0.56 if is_photo else 0.66)
    gaze_u, gaze_v = 0.30 * r * pose.gaze_x, 0.26 * r * pose.gaze_y
    box = (-1.4 * r, -1.4 * r, 1.4 * r, 1.4 * r)

    def disc(radius: float, du: float = 0.0, dv: float = 0.0) -> Shape:
        def shape(u: Tensor, v: Tensor) -> Tensor:
            return circle(u - gaze_u - du, v - gaze_v - dv, radius).maximum(opening(u, v))

        return shape

    canvas.fill(axes, box, disc(size), Paint(scaled(look.eye, 0.45)), clip)
    canvas.fill(
        axes, box, disc(size * 0.80, 0, 0.05 * size), Paint(scaled(look.eye, 0.8), dark=tinted(look.eye, 0.25)), clip
    )
    canvas.fill(axes, box, disc(size * 0.46), Paint((0.07, 0.06, 0.08)), clip)
    shine = -0.36 * size * -look.light
    canvas.fill(axes, box, disc(size * 0.30, shine, -0.38 * size), Paint((1, 1, 1)), clip)
    if not is_photo:
        canvas.fill(axes, box, disc(size * 0.14, -shine, 0.42 * size), Paint((1, 1, 1), opacity=0.85), clip)


def _paint_lash(
    canvas: Canvas, look: Look, clip: Tensor, axes: Axes, lid_edge: Callable[[Tensor], Tensor], half: float
) -> None:
    """Dark lashes along the edge of the upper lid, wherever it is."""
    dark = mix((0.12, 0.08, 0.09), scaled(look.hair, 0.5), 0.3)
    if look.words.get("species") == "panda":
        dark = (0.06, 0.05, 0.07)
    thick = (0.027 if look.is_soft else 0.032) * (1.25 if look.words.get("person") == "woman" else 1.0)

    def lash(u: Tensor, v: Tensor) -> Tensor:
        taper = thick * (1.25 - 0.45 * (u * (1 / half)).square())
        return ((v - lid_edge(u)).abs() - taper).maximum(u.abs() - half * 1.02)

    canvas.fill(axes, (-1.2 * half, -1.6 * half, 1.2 * half, 1.4 * half), lash, Paint(dark), clip)


def _paint_brow(canvas: Canvas, pose: Pose, look: Look, clip: Tensor, side: float) -> None:
    u, v = pose.project(
        side * (look.eye_spacing + 0.01), EYE_HEIGHT - 0.265 - (0 if look.is_soft else 0.06), EYE_DEPTH["human"] + 0.04
    )
    axes = pose.head.at(
        u, v - 0.055 * pose.brow, stretch=pose.facing(side * look.eye_spacing, look.head_radius * 1.15, 0.5)
    )
    axes = axes.turned((0.10 * look.brow - 0.02) * side)
    thick = 0.030 + 0.014 * look.brow + (0.010 if look.words["person"] == "man" else 0)

    def arch(p: Tensor, q: Tensor) -> Tensor:
        bent = q + 0.05 - 1.3 * (p * p)
        return capsule(p * side, bent, (-0.17, 0.0), (0.19, 0.0), thick, thick * 0.5)

    tone = mix(scaled(look.hair, 0.75), (0.2, 0.13, 0.11), 0.35)
    canvas.fill(axes, (-0.3, -0.2, 0.3, 0.2), arch, Paint(tone, opacity=0.92), clip)
