"""Noise on the past: keys and values of a finished block disturbed before later blocks see them ("History Corrupt").

The paper's text speaks of random noise injected into the historical cache; its algorithms have none beyond the noise of
the level at which keys and values were written. This is the literal reading, as a switch.
"""

from __future__ import annotations

import torch

from liveavatar.streaming.cache import RollingCache
from liveavatar.streaming.noise import keyed_generator


def disturb(cache: RollingCache, block: int, strength: float, *key: object) -> None:
    """Add normal noise to block `block`'s keys and values in `cache`, in units of their root mean square per layer.

    The noise depends on `key` alone and is drawn on the CPU.
    """
    generator = keyed_generator(*key)
    for held in (cache.keys, cache.values):
        part = held[..., cache.place_of(block), :]
        noise = torch.randn(part.shape, generator=generator).to(part)
        size = part.float().square().mean(dim=(1, 2, 3, 4), keepdim=True).sqrt()
        part += (strength * size * noise).to(part.dtype)
