"""What all rules share when they sample: noise that depends on the key alone, levels, and one Euler step after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from liveavatar.streaming.flow import euler_step, level_grid
from liveavatar.streaming.noise import keyed_generator

STEPS = 16


@dataclass(frozen=True)
class Sampler:
    """Many-step Euler sampling. shift: as in the stream; its lowest level stays where the network still resolves noise."""

    steps: int = STEPS
    shift: float = 0.8

    def levels(self) -> tuple[float, ...]:
        """steps + 1 levels from 1 to 0."""
        return level_grid(self.steps, self.shift)

    def run(
        self,
        x: Tensor,
        velocity: Callable[[Tensor, float], Tensor],
        before_step: Callable[[Tensor, float], Tensor] | None = None,
    ) -> Tensor:
        """From noise to clean; before_step sees x and its level before each step, and x and 0 at the end."""
        for level, next_level in pairwise(self.levels()):
            x = before_step(x, level) if before_step else x
            x = euler_step(x, velocity(x, level), level, next_level)
        return before_step(x, 0.0) if before_step else x


def clip_noise(key: tuple[int, str], clip: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of one clip of a sample."""
    return torch.randn(shape, generator=keyed_generator(*key, "paradigm", clip))
