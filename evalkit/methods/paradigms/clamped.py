"""Clamped prefix (scheme of OmniAvatar), and the contrasts: pixels or latents fed back, an anchor that moves or stays."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from evalkit.methods.paradigms.policy import Clip, ClipExtension, Shown, window
from evalkit.methods.paradigms.teacher import Guidance, Material, Teacher, two_branches


@dataclass(frozen=True)
class ClampedPrefix(ClipExtension):
    """Clips of 27 latents whose first 4, coded from the last 13 frames, overwrite the noisy ones before every step.

    What is known has level 0 beside noisy frames, which is how the network is told. The first clip holds the picture.
    """

    new: int = 23
    first: int = 26
    kept_frames: int = 80

    def prefix(self, teacher: Teacher, material: Material, shown: Shown | None) -> Tensor:
        """Known latents [1, z, k, h, w] at the beginning of a clip."""
        return material.reference if shown is None else teacher.encode(shown.pixels[:, :, -13:])

    def times(self, clip: Clip, known: int, frames: int) -> tuple[Tensor | None, float | None]:
        """Positions of the clip's frames and of the anchor; None: as in training."""
        return None, None

    def denoise(self, teacher: Teacher, material: Material, clip: Clip, shown: Shown | None) -> tuple[Tensor, Tensor]:
        """Prefix and new latents together."""
        prefix = self.prefix(teacher, material, shown)
        known, frames = prefix.shape[2], prefix.shape[2] + clip.new
        at = window(clip.start - known, frames)
        times, anchor = self.times(clip, known, frames)
        is_new = (torch.arange(frames) >= known).float()

        def velocity(x: Tensor, level: float) -> Tensor:
            return teacher.velocity(x, level * is_new, at, material, self.guidance, times=times, anchor_time=anchor)

        def clamp(x: Tensor, _level: float) -> Tensor:
            return torch.cat([prefix, x[:, :, known:]], dim=2)

        latents = self.sampler.run(self.noise(material, clip, frames), velocity, clamp)
        return latents[:, :, known:], prefix


@dataclass(frozen=True)
class Contrast(ClampedPrefix):
    """One rule, 4 latents (16 frames) of context in 21: as latents or as pixels, the anchor moving along or staying."""

    new: int = 17
    first: int = 20
    guidance: Guidance = field(default_factory=lambda: two_branches(1.5))
    keeps_latents: bool = True
    moves: bool = True
    context: int = 4

    def prefix(self, teacher: Teacher, material: Material, shown: Shown | None) -> Tensor:
        """The same 16 frames either way, each four coded together; the frame before them is only there for the codec."""
        if shown is None:
            return material.reference
        if self.keeps_latents:
            return shown.latents[:, :, -self.context :]
        return teacher.encode(shown.pixels[:, :, -4 * self.context - 1 :])[:, :, 1:]

    def times(self, clip: Clip, known: int, frames: int) -> tuple[Tensor | None, float | None]:
        """A staying anchor keeps the place that it had beside the first clip, while positions go on."""
        if self.moves:
            return None, None
        own = torch.arange(clip.start - known, clip.start - known + frames)
        return own, float(self.first - 1 + DISTANCE)


DISTANCE = 9  # as the stream's sink, ahead of the newest frame


def latent_moving() -> Contrast:
    """The one that the others are compared with."""
    return Contrast()


def pixel_moving() -> Contrast:
    """Context goes through the decoder and the codec."""
    return Contrast(keeps_latents=False)


def latent_fixed() -> Contrast:
    """The anchor stays where it was."""
    return Contrast(moves=False)
