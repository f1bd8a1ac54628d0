"""Ring windows (scheme of EchoMimic-V2): short windows on a closed ring, averaged where they overlap, moved each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from evalkit.methods.paradigms.policy import Policy
from evalkit.methods.paradigms.sampling import Sampler, clip_noise
from evalkit.methods.paradigms.teacher import Guidance, Material, Teacher, two_branches
from evalkit.methods.timelines import Stopwatch
from liveavatar.streaming.flow import euler_step


@dataclass(frozen=True)
class RingWindows(Policy):
    """Windows of 4 latents, one shared with each neighbour: as many evaluations per frame as 12 frames sharing 3."""

    sampler: Sampler = field(default_factory=Sampler)
    guidance: Guidance = field(default_factory=lambda: two_branches(1.5))
    window: int = 4
    overlap: int = 1
    moved_per_step: int = 1

    def run(self, teacher: Teacher, material: Material, watch: Stopwatch) -> Iterator[Tensor]:
        """See `Policy`."""
        begin_s, reference = watch.now_s(), material.reference
        latents = max(self.window, material.latents)
        x = clip_noise(material.key, 0, (*reference.shape[:2], latents, *reference.shape[3:]))
        for step, (level, next_level) in enumerate(pairwise(self.sampler.levels())):
            velocity = self._averaged(teacher, material, x, level, self.places(latents, step))
            x = euler_step(x, velocity, level, next_level)
        watch.span("denoise", 0, begin_s)
        begin_s = watch.now_s()
        pixels = teacher.decode(x, reference)
        watch.span("decode", 0, begin_s)
        yield pixels

    def places(self, latents: int, step: int) -> Tensor:
        """Latent frames [W, window] of the windows of a step; beyond the end they go on at the beginning."""
        starts = torch.arange(0, latents, self.window - self.overlap) + step * self.moved_per_step
        return (starts[:, None] + torch.arange(self.window)) % latents

    def _averaged(self, teacher: Teacher, material: Material, x: Tensor, level: float, places: Tensor) -> Tensor:
        """Velocities of all latent frames, averaged over the windows that hold them."""
        windows = x[0][:, places].transpose(0, 1)  # [W, z, window, h, w]
        found = teacher.velocity(windows, level, places, material, self.guidance)
        total, count = torch.zeros_like(x[0]), torch.zeros(x.shape[2])
        flat = places.flatten()
        total.index_add_(1, flat, found.transpose(0, 1).flatten(1, 2))
        count.index_add_(0, flat, torch.ones(len(flat)))
        return (total / count.view(1, -1, 1, 1))[None]
