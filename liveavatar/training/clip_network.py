"""The causal network over one training clip, called whole (masked) or block by block (with lists of keys and values).

Both calls give the same velocities: this is the contract between training and streaming. Caches here are lists of
tensors that are never written again, so they may stand in a graph; the stream's own caches are rings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from liveavatar.model.attention import BlockCausalContext, Seen, scaled_attention
from liveavatar.model.positions import TokenGrid
from liveavatar.model.rope import rotate
from liveavatar.model.transformer import S2VTransformer, Voice
from liveavatar.streaming.flow import model_time

LayerKeysValues = list[tuple[Tensor, Tensor]]  # one layer each: rotated keys and values [B, heads, tokens, d]


@dataclass(frozen=True)
class ClipConditions:
    """What a clip is made from, encoded: sink [B, C, 1, H, W], voice of F latent frames, text per layer."""

    sink: Tensor
    voice: Voice
    text: Sequence[Seen]


class _CachedContext:
    """Attention of a block to itself and to given keys and values; keeps the block's own, detached, in `made`."""

    def __init__(self, table: Tensor, past: Sequence[LayerKeysValues], layers: int) -> None:
        self.table, self.past = table, past
        # By index and not appended: a checkpointed layer is run again during the backward pass.
        self.made: LayerKeysValues = [(torch.zeros(()), torch.zeros(()))] * layers

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = rotate(q, self.table), rotate(k, self.table)
        self.made[layer] = (k.detach(), v.detach())
        keys = torch.cat([*(part[layer][0] for part in self.past), k], dim=2)
        values = torch.cat([*(part[layer][1] for part in self.past), v], dim=2)
        return scaled_attention(q, keys, values)


class ClipNetwork:
    """A causal transformer over clips of `frames` latent frames whose sink stands `distance` after the last one."""

    def __init__(
        self,
        transformer: S2VTransformer,
        size: tuple[int, int],
        frames: int,
        block_latents: int,
        window_past: int,
        distance: int,
    ) -> None:
        """size: latent height and width. Raises ValueError when frames do not fill blocks."""
        if frames % block_latents:
            raise ValueError(f"{frames} latent frames do not fill blocks of {block_latents}; cut the clip")
        self.transformer, self.block_latents, self.window_past = transformer, block_latents, window_past
        grid = TokenGrid(transformer.config, *size)
        self.block_tokens, self.blocks = block_latents * grid.frame_tokens, frames // block_latents
        self.table = grid.frames(torch.cat([torch.arange(frames), torch.tensor([frames - 1 + distance])]))

    def whole(self, x: Tensor, levels: Tensor, conditions: ClipConditions, detach_history: bool = False) -> Tensor:
        """Velocities of all blocks at once; x [B, C, F, H, W], levels [blocks]: one each, the same for the batch."""
        times = torch.tensor([model_time(level) for level in levels.tolist()], dtype=torch.float64, device=x.device)
        times = times.repeat_interleave(self.block_latents).expand(x.shape[0], -1)
        table = self.table.to(x.device)
        context = BlockCausalContext(table, self.blocks, self.block_tokens, self.window_past, detach_history)
        return self.transformer(
            x, times, conditions.sink, conditions.voice, conditions.text, context, self._cond(conditions)
        )

    def block(
        self, x: Tensor, level: float, index: int, conditions: ClipConditions, past: Sequence[LayerKeysValues]
    ) -> tuple[Tensor, LayerKeysValues]:
        """Velocity of block `index`, x [B, C, block_latents, H, W], and its own keys and values, detached.

        past: of the sink and of the blocks that it may see; see `window`.
        """
        table = self._part(index * self.block_tokens, self.block_tokens, x.device)
        context = _CachedContext(table, past, len(self.transformer.blocks))
        voice = self._voice(conditions.voice, index)
        velocity = self.transformer.step(x, model_time(level), voice, conditions.text, context, self._cond(conditions))
        return velocity, context.made

    def sink(self, conditions: ClipConditions) -> LayerKeysValues:
        """The sink's keys and values at its place, detached: it sees only itself, so they are made once per clip."""
        sink_tokens = self.block_tokens // self.block_latents
        table = self._part(self.blocks * self.block_tokens, sink_tokens, conditions.sink.device)
        context = _CachedContext(table, [], len(self.transformer.blocks))
        self.transformer.prefill(conditions.sink, conditions.text, context)
        return context.made

    def window(self, index: int) -> slice:
        """The past blocks that block `index` sees."""
        return slice(max(0, index - self.window_past), index)

    def of_block(self, x: Tensor, index: int) -> Tensor:
        """Block `index`'s part of clip latents [B, C, F, H, W]."""
        return x[:, :, index * self.block_latents : (index + 1) * self.block_latents]

    def _cond(self, conditions: ClipConditions) -> Tensor | None:
        return conditions.sink if self.transformer.config.cond_source == "sink" else None

    def _part(self, start: int, length: int, device: torch.device) -> Tensor:
        return self.table[start : start + length].to(device)

    def _voice(self, voice: Voice, index: int) -> Voice:
        frames = slice(index * self.block_latents, (index + 1) * self.block_latents)
        return replace(voice, local=voice.local[:, frames], pooled=voice.pooled[:, frames])
