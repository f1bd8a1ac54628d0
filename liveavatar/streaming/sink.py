"""The Rolling Sink Frame (paper section 4.4): the one picture that every block attends to.

Adaptive Attention Sink (AAS) replaces the given picture by the model's own first latent frame; Rolling RoPE keeps the
picture's distance ahead of the newest block constant. Keys are stored un-rotated, so that moving it costs one rotation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.model.rope import rope_table, rotate
from liveavatar.model.transformer import KeysValues, S2VTransformer


class _SinkContext:
    """Attention of the sink's tokens among themselves, remembering each layer's un-rotated keys and values."""

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.layers: list[KeysValues] = []

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del layer
        self.layers.append((k, v))
        return F.scaled_dot_product_attention(rotate(q, self.table), rotate(k, self.table), v)


class RollingSink:
    """Keys and values of the sink latent, and the position it has for a given block."""

    def __init__(self, block_latents: int, distance: int, rolling: bool) -> None:
        self.block_latents, self.distance, self.rolling = block_latents, distance, rolling
        self.layers: list[KeysValues] = []
        self.latent: Tensor | None = None

    def set(self, model: S2VTransformer, latent: Tensor, text: list[KeysValues]) -> None:
        """Make `latent` [B, C, 1, H, W] the sink: one evaluation at time 0, its tokens seeing only each other."""
        _, ph, pw = model.config.patch_size
        grid = latent.shape[3] // ph, latent.shape[4] // pw
        context = _SinkContext(rope_table(torch.zeros(1), *grid, model.config.head_dim))
        model.prefill(latent, text, context)
        self.layers, self.latent = context.layers, latent.clone()

    def position(self, block: int) -> int:
        """The sink's temporal position on the stream's own time line, in latent frames.

        Rolling: `distance` after the newest latent frame of block `block`. Fixed: where block 0 had it.
        """
        newest = (block + 1 if self.rolling else 1) * self.block_latents - 1
        return newest + self.distance
