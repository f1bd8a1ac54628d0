"""Flow matching: noise levels, their shift, and the Euler step. Shared by training and streaming.

x_sigma = (1 - sigma) x + sigma eps; the model predicts v = eps - x; its time input is 1000 sigma.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shift_level(level: Tensor, shift: float) -> Tensor:
    """k u / (1 + (k - 1) u): moves levels in [0, 1] towards noise for shift k > 1."""
    return shift * level / (1 + (shift - 1) * level)


def level_grid(steps: int, shift: float, kind: str = "shifted") -> tuple[float, ...]:
    """Levels of a rollout, steps + 1 of them, from 1 to 0.

    "uniform": evenly spaced (paper: dt = -1/T). "shifted": those, shifted. "release": as diffusers'
    `FlowMatchEulerDiscreteScheduler` makes them: its lowest level is 1/1000 already shifted, evenly spaced from 1 down to
    that, and all shifted again, so that the last step is very small. "release3": the release's levels of one more step,
    without that last one. Raises ValueError for another kind.
    """
    even = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    if kind == "uniform":
        return tuple(even.tolist())
    if kind == "shifted":
        return tuple(shift_level(even, shift).tolist())
    if kind == "release":
        lowest = shift_level(torch.tensor(1 / 1000, dtype=torch.float32), shift)
        # Rounded to float32 where diffusers rounds.
        levels = shift_level(torch.linspace(1, lowest.item(), steps, dtype=torch.float64), shift).float()
        return (*levels.tolist(), 0.0)
    if kind == "release3":
        return (*level_grid(steps + 1, shift, "release")[:steps], 0.0)
    raise ValueError(f"grid={kind!r}: allowed are 'uniform', 'shifted', 'release' and 'release3'")


def model_time(level: float) -> float:
    """A level as the model's time input in 0..1000, rounded to float32 like the scheduler's timesteps."""
    return float(torch.tensor(level, dtype=torch.float32) * 1000)


def add_noise(x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """x at a noise level; `level` broadcasts against x."""
    return (1 - level) * x + level * noise


def clean_estimate(x: Tensor, velocity: Tensor, level: Tensor | float) -> Tensor:
    """The clean latents that a velocity implies at x's level."""
    return x - level * velocity


def euler_step(x: Tensor, velocity: Tensor, level: float, next_level: float) -> Tensor:
    """x moved along the velocity from one level to the next (Algorithm 3, line x + v dt)."""
    return x + (next_level - level) * velocity
