"""What a rule is: given the material of a clip, it yields its frames in order; and clip extension, which five rules are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from evalkit.methods.paradigms.sampling import Sampler, clip_noise
from evalkit.methods.paradigms.teacher import Guidance, Material, Teacher, two_branches
from evalkit.methods.timelines import Stopwatch


class Policy(ABC):
    """An extension rule."""

    sampler: Sampler
    guidance: Guidance

    @abstractmethod
    def run(self, teacher: Teacher, material: Material, watch: Stopwatch) -> Iterator[Tensor]:
        """Yield pixels [1, 3, n, H, W] in [-1, 1], oldest first, until the material's latents are used up or more."""


@dataclass(frozen=True)
class Clip:
    """One clip of an extension: its number, the latent frame of the video that it begins with, and how many are new."""

    number: int
    start: int
    new: int


@dataclass(frozen=True)
class Shown:
    """What was made so far and may be fed back: the newest pixels [1, 3, n, H, W] and latents [1, z, k, h, w]."""

    pixels: Tensor
    latents: Tensor


@dataclass(frozen=True)
class ClipExtension(Policy):
    """Clip after clip, each behind a context of the one before.

    new: latent frames per clip; first: of the first clip, which has no context. kept_frames: pixels that are kept.
    """

    sampler: Sampler = field(default_factory=Sampler)
    guidance: Guidance = field(default_factory=lambda: two_branches(1.5))
    new: int = 20
    first: int = 20
    kept_frames: int = 80

    @abstractmethod
    def denoise(self, teacher: Teacher, material: Material, clip: Clip, shown: Shown | None) -> tuple[Tensor, Tensor]:
        """The clip's new latents [1, z, new, h, w], and those that stand before them when they are decoded."""

    def run(self, teacher: Teacher, material: Material, watch: Stopwatch) -> Iterator[Tensor]:
        """See `Policy`."""
        shown, start, number = None, 0, 0
        while start < material.latents:
            clip = Clip(number, start, self.new if number else self.first)
            begin_s = watch.now_s()
            latents, before = self.denoise(teacher, material, clip, shown)
            watch.span("denoise", number, begin_s)
            begin_s = watch.now_s()
            pixels = self.finish(material, teacher.decode(latents, before))
            watch.span("decode", number, begin_s)
            yield pixels
            shown = self._keep(shown, pixels, latents)
            start, number = start + clip.new, number + 1

    def finish(self, material: Material, pixels: Tensor) -> Tensor:
        """A last change of a clip's pixels before they are shown and fed back."""
        return pixels

    def noise(self, material: Material, clip: Clip, frames: int) -> Tensor:
        """The clip's noise [1, z, frames, h, w]."""
        reference = material.reference
        return clip_noise(material.key, clip.number, (*reference.shape[:2], frames, *reference.shape[3:]))

    def _keep(self, shown: Shown | None, pixels: Tensor, latents: Tensor) -> Shown:
        if shown is not None:
            pixels, latents = torch.cat([shown.pixels, pixels], dim=2), torch.cat([shown.latents, latents], dim=2)
        return Shown(pixels[:, :, -self.kept_frames :], latents[:, :, -(self.kept_frames // 4 + 1) :])


def window(start: int, frames: int) -> Tensor:
    """Indices [1, frames] of latent frames from `start` on."""
    return torch.arange(start, start + frames)[None]
