"""Hair, hats and bows: a back part behind the body and a cap with a face-shaped opening in front."""

from __future__ import annotations

from torch import Tensor

from genbench.world.canvas import Canvas, Paint, Shape, surface
from genbench.world.look import Look, hex_colour, mix, scaled, tinted
from genbench.world.pose import Pose
from genbench.world.shapes import capsule, circle, ellipse, rounded_box, smooth_intersection, smooth_union, without

CURLS = ((-0.82, -0.35), (-0.66, -0.72), (-0.28, -0.95), (0.16, -0.98), (0.56, -0.80), (0.80, -0.45))
BACK_CURLS = ((-0.95, -0.1), (0.95, -0.1), (-0.92, 0.32), (0.92, 0.32), (-0.72, 0.65), (0.72, 0.65))
SPIKES = ((-0.62, -0.62, -0.75), (-0.36, -0.84, -0.4), (-0.04, -0.93, -0.05), (0.30, -0.86, 0.35), (0.58, -0.66, 0.75))


def paint_back_hair(canvas: Canvas, pose: Pose, look: Look) -> None:
    """Hair that hangs or stands behind head and body."""
    style = look.words.get("hair", "none")
    paint = surface(scaled(look.hair, 0.80), look.is_soft, look.light)
    turn, radius, more = pose.yaw_sin, look.head_radius, 0.14 * look.volume
    if look.words.get("hat") == "beanie" and style in ("bun", "ponytail"):
        return
    if style == "long":
        shape = lambda u, v: rounded_box(u + 0.22 * turn, v - 0.30, radius + 0.10 + more, 1.22, 0.72)  # noqa: E731
        canvas.fill(pose.head, (-1.4, -1.0, 1.4, 1.6), shape, paint)
    elif style == "bob":
        shape = lambda u, v: rounded_box(u + 0.20 * turn, v + 0.02, radius + 0.13 + more, 0.86, 0.55)  # noqa: E731
        canvas.fill(pose.head, (-1.4, -1.0, 1.4, 1.0), shape, paint)
    elif style == "curly" and look.words["person"] == "woman":
        canvas.fill(pose.head, (-1.5, -1.1, 1.5, 1.15), _curls(pose, BACK_CURLS, 0.30 + more, -0.35), paint)
    elif style == "ponytail":
        u, v = pose.project(-0.25, -0.45, -0.80)
        tail = lambda p, q: capsule(p, q, (u, v), (u - 0.50 - 0.35 * turn, v + 1.05), 0.24, 0.10 + more)  # noqa: E731
        canvas.fill(pose.head, (-2.0, -0.9, 1.6, 1.1), tail, paint)
    elif style == "bun":
        u, v = pose.project(0.0, -0.98, -0.25)
        bun = lambda p, q: circle(p - u, q - v, 0.27 + more)  # noqa: E731
        canvas.fill(pose.head, (-0.9, -1.5, 0.9, -0.4), bun, paint)


def paint_hair(canvas: Canvas, pose: Pose, look: Look) -> None:
    """Cap of hair over the head, fringe included, then hat or bow."""
    if not look.is_animal:
        shape = _cap(pose, look)
        canvas.fill(pose.head, (-1.25, -1.45, 1.25, 0.75), shape, surface(look.hair, look.is_soft, look.light, 0.65))
        _paint_sheen(canvas, pose, look, shape)
    paint_hat(canvas, pose, look)


def paint_hat(canvas: Canvas, pose: Pose, look: Look) -> None:
    """Beanie, bow or flower in the colour of the clothes' accent."""
    hat = look.words["hat"]
    tone = mix(look.clothes, (0.95, 0.45, 0.45), 0.25)
    paint = surface(tone, look.is_soft, look.light)
    if hat == "beanie":
        _paint_beanie(canvas, pose, look, tone)
    elif hat == "bow":
        u, v = pose.project(0.48 * look.light, -0.78, 0.30)
        axes = pose.head.at(u, v).turned(0.35 * look.light)
        canvas.fill(axes, (-0.45, -0.25, 0.45, 0.25), _wings, paint)
        canvas.fill(
            axes,
            (-0.12, -0.12, 0.12, 0.12),
            lambda p, q: circle(p, q, 0.085),
            surface(scaled(tone, 0.82), look.is_soft, look.light),
        )
    elif hat == "flower":
        u, v = pose.project(0.58 * look.light, -0.62, 0.35)
        petal_tone = hex_colour("fff1ea") if sum(look.clothes) < 2.0 else hex_colour("f28aa0")
        canvas.fill(
            pose.head.at(u, v), (-0.34, -0.34, 0.34, 0.34), _petals, surface(petal_tone, look.is_soft, look.light, 0.3)
        )
        canvas.fill(
            pose.head.at(u, v), (-0.1, -0.1, 0.1, 0.1), lambda p, q: circle(p, q, 0.075), Paint((0.95, 0.74, 0.25))
        )


def _wings(u: Tensor, v: Tensor) -> Tensor:
    """Both halves of a bow."""
    return smooth_union(ellipse(u.abs() - 0.19, v, 0.19, 0.15), ellipse(u.abs() - 0.28, v, 0.10, 0.19), 0.08)


def _paint_beanie(canvas: Canvas, pose: Pose, look: Look, tone: tuple[float, float, float]) -> None:
    turn, radius = pose.yaw_sin, look.head_radius * 1.12 + 0.05
    paint = surface(tone, look.is_soft, look.light)
    pom_u, pom_v = pose.project(0.0, -1.20, -0.15)
    canvas.fill(
        pose.head.at(pom_u, pom_v),
        (-0.2, -0.2, 0.2, 0.2),
        lambda p, q: circle(p, q, 0.16),
        surface(tinted(tone, 0.6), look.is_soft, look.light),
    )
    dome = lambda u, v: ellipse(u + 0.10 * turn, v + 0.28, radius, 0.90).maximum(v + 0.42)  # noqa: E731
    canvas.fill(pose.head, (-1.2, -1.3, 1.2, -0.3), dome, paint)
    brim = lambda u, v: rounded_box(u + 0.09 * turn, v + 0.47 - 0.12 * u * u, radius * 0.99, 0.13, 0.11)  # noqa: E731
    canvas.fill(pose.head, (-1.2, -0.75, 1.2, -0.15), brim, surface(scaled(tone, 0.84), look.is_soft, look.light))


def _cap(pose: Pose, look: Look) -> Shape:
    style, turn, radius = look.words["hair"], pose.yaw_sin, look.head_radius
    is_tucked = look.words["hat"] == "beanie"
    more = 0.10 * look.volume
    thick = 0.03 if style == "buzzed" else 0.075 + more
    side_thick = thick if style in ("bob", "long", "curly") else 0.45 * thick + 0.01
    open_u, open_v = pose.project(0, 0.30, 0.62)
    # Most fringes fall to one side.
    slant = look.light * (0.05 if style in ("buzzed", "curly", "spiky") else 0.16)
    is_fringed = (style in ("bob", "long") and look.brow < 0.5) or (
        style == "short" and look.words["person"] == "woman"
    )
    opening_top = 0.66 if is_fringed else 0.86
    opening_half = radius * (0.88 if style in ("buzzed", "short", "spiky", "swept") else 0.82)
    lower_limit = {"long": 0.75, "bob": 0.72, "curly": 0.30, "buzzed": -0.02}.get(style, 0.10)
    part = 0.32 * look.light if style in ("long", "swept", "bob") and not is_fringed else 0.0

    def shape(u: Tensor, v: Tensor) -> Tensor:
        crown = ellipse(u + 0.14 * turn, v + 0.21, radius * (1 + 0.06 * turn * turn) + side_thick, 0.82 + thick)
        if style == "curly" and not is_tucked:
            crown = smooth_union(crown, _curls(pose, CURLS, 0.22 + more, 0.10)(u, v), 0.04)
        if style == "spiky" and not is_tucked:
            crown = smooth_union(crown, _spikes(pose)(u, v), 0.05)
        if style == "swept" and not is_tucked:
            crown = smooth_union(crown, ellipse(u + 0.25 * look.light - 0.2 * turn, v + 0.84, 0.55, 0.24 + more), 0.15)
        # Stretched to the far side, or hair would float before the face of a turned head.
        across = u - open_u
        across = across - 0.75 * turn * (across * turn.sign()).clamp(min=0)
        face = ellipse(across, v - open_v + slant * (u - open_u), opening_half, opening_top)
        if part:
            # Two overlapping openings leave a parting between the locks.
            face = smooth_union(
                face, ellipse(u - open_u - part * 0.5, v - open_v + 0.12, opening_half * 0.62, opening_top), 0.1
            )
        # The nape is lower than the temples, which shows when the head is turned.
        return smooth_intersection(without(crown, face), v - lower_limit + 0.55 * turn * u, 0.12)

    return shape


def _paint_sheen(canvas: Canvas, pose: Pose, look: Look, cap: Shape) -> None:
    """A soft band of light across the crown."""
    if look.words["hair"] in ("curly", "buzzed", "spiky"):
        return
    side = 0.22 * look.light

    def band(u: Tensor, v: Tensor) -> Tensor:
        ring = ellipse(u - side, v + 0.10, 0.62, 0.66).abs() - 0.035
        return ring.maximum(v + 0.42).maximum(cap(u, v) + 0.03)

    paint = Paint(tinted(look.hair, 0.55), softness=0.20 if look.is_soft else 0.0, opacity=0.40)
    canvas.fill(pose.head, (-1.0, -0.95, 1.0, -0.2), band, paint)


def _curls(pose: Pose, places: tuple[tuple[float, float], ...], radius: float, depth: float) -> Shape:
    centres = [pose.project(x, y, depth) for x, y in places]

    def shape(u: Tensor, v: Tensor) -> Tensor:
        union = circle(u - centres[0][0], v - centres[0][1], radius)
        for centre in centres[1:]:
            union = union.minimum(circle(u - centre[0], v - centre[1], radius))
        return union

    return shape


def _spikes(pose: Pose) -> Shape:
    roots = [(pose.project(x, y + 0.15, 0.05), pose.project(x + 0.28 * lean, y - 0.26, 0.0)) for x, y, lean in SPIKES]

    def shape(u: Tensor, v: Tensor) -> Tensor:
        union = capsule(u, v, *roots[0], 0.22, 0.02)
        for root, tip in roots[1:]:
            union = union.minimum(capsule(u, v, root, tip, 0.22, 0.02))
        return union

    return shape


def _petals(u: Tensor, v: Tensor) -> Tensor:
    union = circle(u, v + 0.15, 0.115)
    for x, y in ((0.143, -0.046), (0.088, 0.121), (-0.088, 0.121), (-0.143, -0.046)):
        union = union.minimum(circle(u - x, v - y, 0.115))
    return union
