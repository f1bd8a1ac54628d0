"""Rolling key/value caches: a ring of the last blocks per layer, keys stored before rotation.

Un-rotated keys let positions stay bounded: they are rotated at use, relative to the oldest block of the window, so a
stream of any length sees the same angles. State never grows: every slot is allocated once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liveavatar.config import TransformerConfig


class RollingCache:
    """Keys and values of the last `slots` blocks, the current one included, for all layers."""

    def __init__(self, config: TransformerConfig, slots: int, block_tokens: int, batch: int = 1) -> None:
        shape = (config.num_layers, batch, config.num_heads, slots * block_tokens, config.head_dim)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.slots, self.block_tokens = slots, block_tokens

    def write(self, layer: int, block: int, keys: Tensor, values: Tensor) -> None:
        """Overwrite the oldest slot with block number `block`'s keys and values [B, heads, tokens, d]."""
        start = block % self.slots * self.block_tokens
        self.keys[layer, :, :, start : start + self.block_tokens] = keys
        self.values[layer, :, :, start : start + self.block_tokens] = values

    def read(self, layer: int, block: int) -> tuple[Tensor, Tensor]:
        """Keys and values of all filled slots, in slot order, once block `block` is written."""
        filled = min(block + 1, self.slots) * self.block_tokens
        return self.keys[layer, :, :, :filled], self.values[layer, :, :, :filled]

    def blocks_in_slot_order(self, block: int) -> list[int]:
        """Which block each filled slot holds, once block `block` is written."""
        first = max(0, block - self.slots + 1)
        return sorted(range(first, block + 1), key=lambda held: held % self.slots)

    @property
    def nbytes(self) -> int:
        """Memory held, constant over the stream."""
        return self.keys.nbytes + self.values.nbytes
