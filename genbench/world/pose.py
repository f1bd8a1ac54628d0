"""Where a character's head and body are in every frame: truth plus composition, turned into axes.

The head is a rigid 3-D thing of half-height 1 seen without perspective; features are placed on it in
3-D and projected, so turning the head shifts and foreshortens them by depth.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from genbench.world.canvas import Axes
from genbench.world.character import Character
from genbench.world.look import Look, look_of
from genbench.world.motion import Truth


@dataclass(frozen=True)
class Framing:
    """Where a composition puts things, in frame widths; the frame is 4/3 high."""

    head_x: float
    head_y: float
    head_scale: float
    base_yaw: float
    shoulder_y: float
    shoulder_half: float


FRAMINGS = {
    "frontal": Framing(0.5, 0.60, 0.352, 0.0, 1.07, 0.37),
    "profile": Framing(0.47, 0.60, 0.345, 0.76, 1.06, 0.36),
    "half_body": Framing(0.5, 0.43, 0.245, 0.10, 0.735, 0.285),
    "full_body": Framing(0.5, 0.395, 0.258, 0.08, 0.685, 0.165),
}
MOUTH_3D = (0.0, 0.50, 0.80)
ANIMAL_MOUTH_3D = (0.0, 0.52, 1.02)
# Height of the cavity at mouth_open 1, in head half-heights.
FULL_OPENING = 0.36
PROFILE_YAW_GAIN = 0.6


@dataclass(frozen=True)
class Pose:
    """Per-frame state as [F, 1, 1] tensors, ready to broadcast over pixels."""

    head: Axes
    body: Axes
    yaw_cos: Tensor
    yaw_sin: Tensor
    pitch_cos: Tensor
    pitch_sin: Tensor
    mouth_open: Tensor
    mouth_wide: Tensor
    mouth_round: Tensor
    blink: Tensor
    gaze_x: Tensor
    gaze_y: Tensor
    brow: Tensor
    lift: Tensor

    def chunk(self, start: int, stop: int) -> Pose:
        """Frames start..stop-1."""
        tracks = {f.name: getattr(self, f.name)[start:stop] for f in fields(self) if f.name not in ("head", "body")}
        return Pose(head=self.head.chunk(start, stop), body=self.body.chunk(start, stop), **tracks)

    def project(self, x: float, y: float, z: float) -> tuple[Tensor, Tensor]:
        """Head coordinates (u, v) of a point of the head; z points out of the face."""
        depth = z * self.yaw_cos - x * self.yaw_sin
        return x * self.yaw_cos + z * self.yaw_sin, y * self.pitch_cos + depth * self.pitch_sin

    def facing(self, x: float, radius: float, floor: float = 0.45) -> Tensor:
        """Horizontal foreshortening of a patch at x on a head of the given radius, at least `floor`."""
        across = min(abs(x) / radius, 0.9) * (1 if x >= 0 else -1)
        return (self.yaw_cos - across / (1 - across * across) ** 0.5 * self.yaw_sin).clamp(floor, 1.1)

    def mouth_axes(self, look: Look) -> Axes:
        """Axes at the middle of the upper lip line."""
        place = ANIMAL_MOUTH_3D if look.is_animal else MOUTH_3D
        return self.head.at(*self.project(*place), stretch=self.facing(0.0, 1.0, 0.62))


def pose_of(character: Character, truth: Truth) -> Pose:
    """Pose of one clip; truth tracks are [F]."""
    # Big heads of drawn characters sit lower on shorter necks.
    sink = {"photo": 0.03, "cartoon": 0.11, "animal": 0.24}[character.style]
    look, framing = look_of(character), FRAMINGS[character.composition]
    tracks = {name: track.double()[:, None, None] for name, track in truth.to_dict().items()}
    # A profile that turned as freely as a frontal head would hide the mouth.
    freedom = PROFILE_YAW_GAIN if character.composition == "profile" else 1.0
    yaw = freedom * tracks["yaw"] + framing.base_yaw * look.facing
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    scale = framing.head_scale
    # Roll and pitch pivot at the neck, one head half-height below the head's centre.
    roll, pitch = tracks["roll"], tracks["pitch"]
    side = 0.5 + (framing.head_x - 0.5) * look.facing
    head_x = side + tracks["shift_x"] + tracks["body_sway"] + scale * (roll.sin() + 0.06 * tracks["yaw"])
    head_y = (
        framing.head_y
        + sink * scale
        + tracks["shift_y"]
        - 0.4 * tracks["shoulder_lift"]
        + scale * (1 - roll.cos() + 0.15 * pitch)
    )
    head = Axes(*(t.float() for t in (head_x, head_y, roll.cos(), roll.sin(), one * scale)))
    body_x = 0.5 + 0.6 * tracks["body_sway"] + 0.25 * tracks["shift_x"]
    lean = 0.5 * tracks["body_sway"]
    body = Axes(*(t.float() for t in (body_x, framing.shoulder_y + zero, lean.cos(), lean.sin(), one)))
    plain = ("mouth_open", "mouth_wide", "mouth_round", "blink", "gaze_x", "gaze_y", "brow")
    return Pose(
        head=head,
        body=body,
        yaw_cos=yaw.cos().float(),
        yaw_sin=yaw.sin().float(),
        pitch_cos=pitch.cos().float(),
        pitch_sin=pitch.sin().float(),
        lift=tracks["shoulder_lift"].float(),
        **{name: tracks[name].float() for name in plain},
    )
