"""From characters and truth to pixels: the layer order, batching over frames, and the ground-truth boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from genbench.world.background import background
from genbench.world.body import paint_body
from genbench.world.canvas import Axes, Box, Canvas, Paint
from genbench.world.character import Character
from genbench.world.eyes import paint_glasses
from genbench.world.face import paint_face
from genbench.world.hair import paint_back_hair, paint_hair
from genbench.world.head import paint_front_ears, paint_head
from genbench.world.look import Look, look_of
from genbench.world.motion import Truth
from genbench.world.pose import FULL_OPENING, Pose, pose_of
from genbench.world.shapes import ellipse

FRAMES_PER_BATCH = 24
CHIN_SHADOW = (0.20, 0.08, 0.12)


def render(
    characters: Sequence[Character],
    truth: Truth,
    height: int = 128,
    width: int = 96,
    frames_per_batch: int = FRAMES_PER_BATCH,
) -> Tensor:
    """Frames uint8 [B, F, height, width, 3] of B characters acting out `truth` [B, F].

    Any height and width with height = 4/3 width; the picture does not depend on frames_per_batch,
    which only bounds memory.
    """
    _check(characters, truth, height, width)
    clips = torch.empty(len(characters), truth.frames, height, width, 3, dtype=torch.uint8)
    for clip, character, index in zip(clips, characters, range(len(characters)), strict=True):
        pose, still = pose_of(character, truth.row(index)), background(character, height, width)
        look = look_of(character)
        for start in range(0, truth.frames, frames_per_batch):
            stop = min(start + frames_per_batch, truth.frames)
            image = _paint(character, look, pose.chunk(start, stop), still, stop - start)
            clip[start:stop] = (image * 255 + 0.5).clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return clips


def face_box(characters: Sequence[Character], truth: Truth) -> Tensor:
    """Boxes [B, F, 4] (x0, y0, x1, y1 in 0..1 of the frame) around each head from crown to chin.

    Each holds its mouth_box; ears, hats and voluminous hair may stand out.
    """
    head, mouth = _boxes(characters, truth, _face_box), mouth_box(characters, truth)
    return torch.cat(
        [torch.minimum(head[..., :2], mouth[..., :2]), torch.maximum(head[..., 2:], mouth[..., 2:])], dim=-1
    )


def mouth_box(characters: Sequence[Character], truth: Truth) -> Tensor:
    """Boxes [B, F, 4] around each mouth as if fully open, moving with the head; units as face_box."""
    return _boxes(characters, truth, _mouth_box)


def _check(characters: Sequence[Character], truth: Truth, height: int, width: int) -> None:
    if truth.yaw.ndim != 2 or truth.yaw.shape[0] != len(characters):
        raise ValueError(f"truth is {tuple(truth.yaw.shape)} for {len(characters)} characters; pass [B, F] tracks")
    if height * 3 != width * 4:
        raise ValueError(f"{width}x{height} is not 3:4; the world is drawn for portrait frames such as 96x128")


def _paint(character: Character, look: Look, pose: Pose, still: Tensor, frames: int) -> Tensor:
    """Layers from back to front; returns [frames, 3, H, W]."""
    canvas = Canvas(still, frames)
    is_turned = character.composition == "profile"
    paint_back_hair(canvas, pose, look)
    paint_body(canvas, pose, look, character.composition)
    _paint_chin_shadow(canvas, pose, look)
    head_cover = paint_head(canvas, pose, look, is_turned)
    paint_face(canvas, pose, look, head_cover)
    paint_hair(canvas, pose, look)
    paint_front_ears(canvas, pose, look, is_turned)
    paint_glasses(canvas, pose, look)
    return canvas.image


def _paint_chin_shadow(canvas: Canvas, pose: Pose, look: Look) -> None:
    if not look.is_soft:
        return
    paint = Paint(CHIN_SHADOW, softness=0.16, opacity=0.30)
    neck = lambda u, v: ellipse(u - 0.1 * pose.yaw_sin, v - 0.92, 0.25, 0.24)  # noqa: E731
    canvas.fill(pose.head, (-0.7, 0.5, 0.7, 1.4), neck, paint)


def _boxes(
    characters: Sequence[Character], truth: Truth, local_box: Callable[[Look, Pose], tuple[Axes, Box]]
) -> Tensor:
    rows = []
    for index, character in enumerate(characters):
        look, pose = look_of(character), pose_of(character, truth.row(index))
        axes, box = local_box(look, pose)
        rows.append(_frame_box(axes, box))
    return torch.stack(rows)


def _face_box(look: Look, pose: Pose) -> tuple[Axes, Box]:
    half = max(look.head_radius * (1.10 if look.is_animal else 1.0) + 0.06, 0.9)
    return pose.head, (-half, -1.04, half, 1.08)


def _mouth_box(look: Look, pose: Pose) -> tuple[Axes, Box]:
    half = look.mouth_half * 1.26 + 0.05
    return pose.mouth_axes(look), (-half, -0.22 * FULL_OPENING - 0.10, half, 0.78 * FULL_OPENING + 0.12)


def _frame_box(axes: Axes, box: Box) -> Tensor:
    """Upright box [F, 4] in 0..1 around a local box."""
    corners = [axes.to_frame(u, v) for u in (box[0], box[2]) for v in (box[1], box[3])]
    x = torch.cat([corner[0] for corner in corners], dim=-1)[:, 0]
    y = torch.cat([corner[1] for corner in corners], dim=-1)[:, 0] * 0.75
    return torch.stack([x.amin(-1), y.amin(-1), x.amax(-1), y.amax(-1)], dim=-1).clamp(0, 1)
