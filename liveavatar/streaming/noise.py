"""Noise that depends only on (seed, sample, block): the same for any number of devices, order or resume."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def keyed_generator(*key: object) -> torch.Generator:
    """A CPU generator seeded by a hash of the key's parts."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def block_noise(seed: int, sample_id: str, block: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of one block, drawn on the CPU in float32."""
    return torch.randn(shape, generator=keyed_generator(seed, sample_id, block))
