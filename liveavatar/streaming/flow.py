"""Flow matching: noise levels, their shift, and the Euler step. Shared by training and streaming.

x_sigma = (1 - sigma) x + sigma eps; the model predicts v = eps - x; its time input is 1000 sigma.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shift_level(level: Tensor, shift: float) -> Tensor:
    """k u / (1 + (k - 1) u): moves levels in [0, 1] towards noise for shift k > 1."""
    return shift * level / (1 + (shift - 1) * level)


def level_grid(steps: int, shift: float) -> tuple[float, ...]:
    """Levels of a rollout, steps + 1 of them, from 1 to 0: evenly spaced, then shifted (paper: dt = -1/T, schematic)."""
    levels = shift_level(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift)
    return tuple(levels.tolist())


def add_noise(x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """x at a noise level; `level` broadcasts against x."""
    return (1 - level) * x + level * noise


def clean_estimate(x: Tensor, velocity: Tensor, level: Tensor | float) -> Tensor:
    """The clean latents that a velocity implies at x's level."""
    return x - level * velocity


def euler_step(x: Tensor, velocity: Tensor, level: float, next_level: float) -> Tensor:
    """x moved along the velocity from one level to the next (Algorithm 3, line x + v dt)."""
    return x + (next_level - level) * velocity
