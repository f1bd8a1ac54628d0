"""Clip + 2 frames (scheme of Hallo3): the last two decoded frames, some of their pixels masked, coded with the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evalkit.methods.paradigms.policy import Clip, ClipExtension, Shown, window
from evalkit.methods.paradigms.teacher import Material, Teacher
from liveavatar.streaming.noise import keyed_generator

MASKED_SHARE = 0.1


@dataclass(frozen=True)
class PixelContext(ClipExtension):
    """48 frames a clip. One latent of four frames (the picture twice, then the last two) is the network's motion token."""

    new: int = 12
    first: int = 12
    kept_frames: int = 4

    def denoise(self, teacher: Teacher, material: Material, clip: Clip, shown: Shown | None) -> tuple[Tensor, Tensor]:
        """The first clip's context repeats the picture."""
        last = material.picture.expand(-1, -1, 2, -1, -1) if shown is None else shown.pixels[:, :, -2:]
        generator = keyed_generator(*material.key, "mask", clip.number)
        frames = context_frames(material.picture, masked(last, generator))
        motion = teacher.encode(frames)[:, :, 1:]
        at = window(clip.start, clip.new)
        latents = self.sampler.run(
            self.noise(material, clip, clip.new),
            lambda x, level: teacher.velocity(x, level, at, material, self.guidance, motion),
        )
        # Decoded behind the frames as they were shown: the mask is for the network only.
        before = teacher.encode(context_frames(material.picture, last))[:, :, 1:]
        return latents, before


def context_frames(picture: Tensor, last: Tensor) -> Tensor:
    """Frames [B, 3, 5, H, W] of which the last four make the context's latent: the picture twice, two frames."""
    return torch.cat([picture.expand(-1, -1, 3, -1, -1), last], dim=2)


def masked(frames: Tensor, generator: torch.Generator) -> Tensor:
    """A tenth of the pixels, drawn anew, set to grey."""
    hidden = torch.rand((*frames.shape[:1], 1, *frames.shape[2:]), generator=generator) < MASKED_SHARE
    return frames.masked_fill(hidden, 0.0)
