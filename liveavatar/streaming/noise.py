"""Noise that depends only on (seed, sample, block): the same for any number of devices, order or resume."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from liveavatar.config import RolloutOptions


def keyed_generator(*key: object) -> torch.Generator:
    """A CPU generator seeded by a hash of the key's parts."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def block_noise(seed: int, sample_id: str, block: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of one block, drawn on the CPU in float32."""
    return torch.randn(shape, generator=keyed_generator(seed, sample_id, block))


def clip_noise(seed: int, block: int, clip_blocks: int, shape: tuple[int, ...]) -> Tensor:
    """A block's part of the noise that the release draws for whole clips of `clip_blocks` blocks, from seed + clip.

    shape: [B, C, F, H, W] of one block. The release draws on its GPU in bfloat16; the values are not those.
    """
    clip, part = divmod(block, clip_blocks)
    whole = (*shape[:2], clip_blocks * shape[2], *shape[3:])
    drawn = torch.randn(whole, generator=torch.Generator().manual_seed(seed + clip))
    return drawn[:, :, part * shape[2] : (part + 1) * shape[2]]


def noise_of(options: RolloutOptions, key: tuple[int, str], block: int, shape: tuple[int, ...]) -> Tensor:
    """A block's noise as the options name it; key: (seed, sample id); shape: [B, C, F, H, W] of a whole block.

    A short first block has the noise of its last latent frame.
    """
    if options.noise == "clip":
        noise = clip_noise(key[0], block, options.clip_blocks, shape)
    else:
        noise = block_noise(*key, block, shape)
    return noise[:, :, -1:] if block == 0 and options.first_block == "short" else noise


def keyed_integer(low: int, high: int, *key: object) -> int:
    """An integer drawn evenly from low..high, both included, that depends on the key alone."""
    return int(torch.randint(low, high + 1, (1,), generator=keyed_generator(*key)))
