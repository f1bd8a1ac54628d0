"""Sparse keyframe (scheme of InfiniteTalk): the last 9 frames as momentum, the same picture as keyframe, colours matched."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from evalkit.methods.paradigms.policy import Clip, ClipExtension, Shown, window
from evalkit.methods.paradigms.teacher import Guidance, Material, Teacher, three_branches
from liveavatar.streaming.flow import add_noise

MOMENTUM_FRAMES = 9  # 1 + 8: three latents
COLOUR_STRENGTH = 1.0


@dataclass(frozen=True)
class Keyframe(ClipExtension):
    """Clips of 21 latents, 3 of them momentum: noised to the level of each step, clean at the end. Three branches."""

    guidance: Guidance = field(default_factory=lambda: three_branches(1.5, 1.0))
    new: int = 18
    first: int = 20
    kept_frames: int = 12

    def denoise(self, teacher: Teacher, material: Material, clip: Clip, shown: Shown | None) -> tuple[Tensor, Tensor]:
        """The first clip's momentum is the picture."""
        momentum = material.reference if shown is None else teacher.encode(shown.pixels[:, :, -MOMENTUM_FRAMES:])
        known, frames = momentum.shape[2], momentum.shape[2] + clip.new
        at, noise = window(clip.start - known, frames), self.noise(material, clip, frames)

        def insert(x: Tensor, level: float) -> Tensor:
            noised = add_noise(momentum, noise[:, :, :known], torch.tensor(level, dtype=torch.float32))
            return torch.cat([noised, x[:, :, known:]], dim=2)

        latents = self.sampler.run(
            noise, lambda x, level: teacher.velocity(x, level, at, material, self.guidance), insert
        )
        return latents[:, :, known:], momentum

    def finish(self, material: Material, pixels: Tensor) -> Tensor:
        """Each clip's colours are matched to the picture's."""
        return matched_colours(pixels, material.picture, COLOUR_STRENGTH)


def matched_colours(pixels: Tensor, picture: Tensor, strength: float) -> Tensor:
    """Pixels [1, 3, n, H, W] with mean and spread of each colour channel moved towards the picture's."""
    mean, spread = pixels.mean((2, 3, 4), keepdim=True), pixels.std((2, 3, 4), keepdim=True)
    wanted_mean, wanted_spread = picture.mean((2, 3, 4), keepdim=True), picture.std((2, 3, 4), keepdim=True)
    matched = (pixels - mean) / spread.clamp(min=1e-3) * wanted_spread + wanted_mean
    return torch.lerp(pixels, matched, strength).clamp(-1, 1)
