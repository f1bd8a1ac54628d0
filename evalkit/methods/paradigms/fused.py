"""Fused windows (scheme of StableAvatar): all latents at once, overlapping windows mixed from left to right at each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from evalkit.methods.paradigms.policy import Policy, window
from evalkit.methods.paradigms.sampling import Sampler, clip_noise
from evalkit.methods.paradigms.teacher import Guidance, Material, Teacher, three_branches
from evalkit.methods.timelines import Stopwatch
from liveavatar.streaming.flow import euler_step

DECODED_AT_ONCE = 21


@dataclass(frozen=True)
class FusedWindows(Policy):
    """Windows of 21 latents, 5 of them shared with the next. Nothing is shown before everything is made."""

    sampler: Sampler = field(default_factory=Sampler)
    guidance: Guidance = field(default_factory=lambda: three_branches(1.5, 1.0))
    window: int = 21
    overlap: int = 5

    def run(self, teacher: Teacher, material: Material, watch: Stopwatch) -> Iterator[Tensor]:
        """See `Policy`."""
        begin_s, reference = watch.now_s(), material.reference
        x = clip_noise(material.key, 0, (*reference.shape[:2], material.latents, *reference.shape[3:]))
        for step, (level, next_level) in enumerate(pairwise(self.sampler.levels())):
            x = self._step(teacher, material, x, step, level, next_level)
        watch.span("denoise", 0, begin_s)
        before = reference
        for number, part in enumerate(x.split(DECODED_AT_ONCE, dim=2)):
            begin_s = watch.now_s()
            pixels = teacher.decode(part, before)
            watch.span("decode", number, begin_s)
            yield pixels
            before = part

    def starts(self, latents: int) -> list[int]:
        """Where windows begin; the last one ends with the video."""
        last = max(0, latents - self.window)
        return [*range(0, last, self.window - self.overlap), last]

    def _step(
        self, teacher: Teacher, material: Material, x: Tensor, step: int, level: float, next_level: float
    ) -> Tensor:
        """One step of every window; from the second step on each is mixed into what its left neighbour made."""
        moved, done = x.clone(), 0
        for start in self.starts(x.shape[2]):
            part = x[:, :, start : start + self.window]
            velocity = teacher.velocity(part, level, window(start, part.shape[2]), material, self.guidance)
            made = euler_step(part, velocity, level, next_level)
            shared = max(0, done - start)
            if step and shared:
                weight = torch.linspace(0, 1, shared + 2)[1:-1].view(1, 1, -1, 1, 1)
                made[:, :, :shared] = torch.lerp(moved[:, :, start:done], made[:, :, :shared], weight)
            moved[:, :, start : start + part.shape[2]] = made
            done = start + part.shape[2]
        return moved
