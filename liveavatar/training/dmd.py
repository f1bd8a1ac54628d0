"""Distribution matching distillation: the gradient of a clip from two scores, and the loss of the fake one.

For Gaussian noising a score is -(z - (1 - level) clean) / level^2, so the difference of the fake and the real score is
proportional to the difference of two clean estimates; every factor goes into a normaliser per sample (DMD, equation 8).
Networks come in as functions of (noisy clip, levels); nothing here knows a transformer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from liveavatar.streaming.flow import add_noise, clean_estimate, shift_level

Velocity = Callable[[Tensor, Tensor], Tensor]  # (z [B, ...], levels [B]) -> velocity of z's shape


def over_clip(levels: Tensor, clip: Tensor) -> Tensor:
    """Levels [B], shaped to broadcast against a clip [B, ...]."""
    return levels.view(-1, *[1] * (clip.dim() - 1)).to(clip.dtype)


def draw_levels(count: int, shift: float, low: float, high: float, generator: torch.Generator) -> Tensor:
    """One level per clip [count]: uniform, shifted, kept inside low..high."""
    return shift_level(torch.rand(count, generator=generator), shift).clamp(low, high)


def clean(velocity: Velocity, z: Tensor, levels: Tensor) -> Tensor:
    """The clean estimate of a network, in z's dtype."""
    return clean_estimate(z, velocity(z, levels).to(z.dtype), over_clip(levels, z))


def guided(with_conditions: Velocity, without: Velocity, guidance: float) -> Velocity:
    """The velocity without conditions, moved `guidance` times towards the one with them; 1: with them, one evaluation.

    The convention of samplers: others write 1 + s here, so that their 3.0 is 4.0 here.
    """
    if guidance == 1.0:
        return with_conditions

    def velocity(z: Tensor, levels: Tensor) -> Tensor:
        plain = without(z, levels)
        return plain + guidance * (with_conditions(z, levels) - plain)

    return velocity


@torch.no_grad()
def distribution_gradient(
    clip: Tensor, real: Velocity, fake: Velocity, levels: Tensor, noise: Tensor, floor: float = 1e-3
) -> Tensor:
    """G of the clip's shape: (fake - real clean estimate) / mean |clip - real estimate| per sample.

    A step of the clip against G lowers KL(student | teacher) at these noise levels. floor: of the normaliser. Values that
    are not finite count as 0, so that one broken sample moves nothing.
    """
    z = add_noise(clip, noise, over_clip(levels, clip))
    wanted = clean(real, z, levels)
    around = tuple(range(1, clip.dim()))
    size = (clip - wanted).abs().mean(around, keepdim=True).clamp_min(floor)
    return torch.nan_to_num((clean(fake, z, levels) - wanted) / size, nan=0.0, posinf=0.0, neginf=0.0)


def flow_errors(fake: Velocity, clip: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
    """Squared velocity errors of the fake score's network on the student's clip, of the clip's shape."""
    z = add_noise(clip, noise, over_clip(levels, clip))
    return (fake(z, levels).to(clip.dtype) - (noise - clip)).square()
