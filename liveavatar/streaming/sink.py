"""The Rolling Sink Frame (paper section 4.4): the one picture, with its motion latents, that every block attends to.

Adaptive Attention Sink (AAS) replaces the given picture by the model's own first latent frame; Rolling RoPE keeps the
picture ahead of the newest block. Keys are kept un-rotated here; caches hold them rotated to where the sink is now.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.config import RolloutOptions
from liveavatar.model.attention import Seen
from liveavatar.model.positions import REFERENCE_TIME, TokenGrid
from liveavatar.model.rope import half_precision, rotate
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.cache import RollingCache

Offset = Callable[[int, int], int]  # (block, step) -> latent frames from the block's first frame to the sink


class _SinkContext:
    """Attention of conditioning tokens among themselves, remembering each layer's un-rotated keys and values."""

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del layer
        self.keys.append(k)
        self.values.append(v)
        return F.scaled_dot_product_attention(rotate(q, self.table), rotate(k, self.table), v)


class RollingSink:
    """Un-rotated keys and values of the conditioning tokens, and where these are for a given block and step."""

    def __init__(self, options: RolloutOptions, grid: TokenGrid, block_latents: int, offset: Offset) -> None:
        self.options, self.grid, self.block_latents, self.offset = options, grid, block_latents, offset
        self.latent: Tensor | None = None
        self.motion: Tensor | None = None
        self.keys = self.values = torch.zeros(())
        self._set_count = 0

    def set(self, model: S2VTransformer, latent: Tensor, text: list[Seen], motion: Tensor | None = None) -> None:
        """Make `latent` [B, C, 1, H, W] the sink, beside motion latents [B, C, T, H, W] if the model has them.

        One evaluation at time 0, its tokens seeing only each other.
        """
        table = self.grid.frames(torch.tensor([REFERENCE_TIME]))
        if motion is not None:
            table = torch.cat([table, self.grid.motion()])
        context = _SinkContext(self._factors(table, latent.device))
        model.prefill(latent, text, context, motion)
        self.keys, self.values = torch.stack(context.keys), torch.stack(context.values)
        self.latent, self.motion = latent.clone(), motion
        self._set_count += 1

    @property
    def tokens(self) -> int:
        """Conditioning tokens."""
        return self.keys.shape[-2]

    def position(self, block: int, step: int = 0) -> int:
        """The sink's temporal position on the stream's own time line, in latent frames.

        Not rolling: where block 0 had it. "distance": constant, after the newest latent frame of block `block`. "release":
        a distance drawn for this very evaluation, after its first latent frame, and never before 30.
        """
        start = block * self.block_latents if self.options.rolling_rope else 0
        if self.options.sink_position == "distance":
            return start + self.block_latents - 1 + self.options.sink_distance
        return max(REFERENCE_TIME, start + self.offset(block, step)) if self.options.rolling_rope else REFERENCE_TIME

    def place(self, cache: RollingCache, block: int, step: int) -> None:
        """Put rotated conditioning into a cache, on its time line; only what changed since it was last put there."""
        start = block * self.block_latents
        motion_shift = (start if self.options.motion_position == "rolling" else 0) - cache.origin
        wanted = (self._set_count, motion_shift, self.position(block, step) - cache.origin)
        if cache.placed == wanted:
            return
        reference = self.grid.frame_tokens
        if cache.placed is None or cache.placed[0] != wanted[0]:
            cache.values[..., : cache.beside, :] = self.values
        if self.motion is not None and (cache.placed is None or cache.placed[:2] != wanted[:2]):
            self._write(cache, slice(reference, cache.beside), self.grid.motion(motion_shift))
        self._write(cache, slice(reference), self.grid.frames(torch.tensor([wanted[2]])))
        cache.placed = wanted

    def _write(self, cache: RollingCache, tokens: slice, table: Tensor) -> None:
        cache.keys[..., tokens, :] = rotate(self.keys[..., tokens, :], self._factors(table, self.keys.device))

    def _factors(self, table: Tensor, device: torch.device) -> Tensor:
        return (half_precision(table) if self.options.rope_factors == "half" else table).to(device)
