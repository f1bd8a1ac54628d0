"""Packed context (scheme of Wan-S2V): the last 73 frames, coded again and packed coarser with age, before 20 new latents."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from evalkit.methods.paradigms.policy import Clip, ClipExtension, Shown, window
from evalkit.methods.paradigms.teacher import Material, Teacher

CONTEXT_FRAMES = 73  # 1 + 72: 19 latents, the first coded alone


@dataclass(frozen=True)
class PackedContext(ClipExtension):
    """80 frames a clip; the network, tuned for it, takes the context as packed motion tokens (1, 2 and 16 latents)."""

    def denoise(self, teacher: Teacher, material: Material, clip: Clip, shown: Shown | None) -> tuple[Tensor, Tensor]:
        """The first clip has no context."""
        motion = None if shown is None else teacher.encode(shown.pixels[:, :, -CONTEXT_FRAMES:])
        at = window(clip.start, clip.new)
        latents = self.sampler.run(
            self.noise(material, clip, clip.new),
            lambda x, level: teacher.velocity(x, level, at, material, self.guidance, motion),
        )
        return latents, material.reference if motion is None else motion
