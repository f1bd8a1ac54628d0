"""The streaming loop (Algorithm 3): a condition per block in, a clean latent block out, for ever.

One function for all variants; what differs between them is a value in `RolloutOptions`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.config import RolloutOptions
from liveavatar.model.rope import rope_table, rotate
from liveavatar.model.transformer import KeysValues, S2VTransformer, Voice
from liveavatar.streaming.cache import RollingCache
from liveavatar.streaming.flow import euler_step, level_grid
from liveavatar.streaming.sink import RollingSink

Noise = Callable[[int], Tensor]


@dataclass(frozen=True)
class LatentBlock:
    """One finished block: clean latents [B, C, F, H, W], its number, and when its denoising ran (monotonic seconds)."""

    latents: Tensor
    block: int
    begin_s: float
    end_s: float


class _StreamContext:
    """Attention of one block to itself, its past at one level, and the sink."""

    def __init__(self, cache: RollingCache, block: int, sink: RollingSink, table: Tensor, sink_table: Tensor) -> None:
        self.cache, self.block, self.sink, self.sink_table = cache, block, sink, sink_table
        self.table = table
        own = cache.blocks_in_slot_order(block).index(block) * cache.block_tokens
        self.own_table = table[own : own + cache.block_tokens]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.cache.write(layer, self.block, k, v)
        keys, values = self.cache.read(layer, self.block)
        sink_keys, sink_values = self.sink.layers[layer]
        keys = torch.cat([rotate(keys, self.table), rotate(sink_keys, self.sink_table)], dim=2)
        values = torch.cat([values, sink_values], dim=2)
        return F.scaled_dot_product_attention(rotate(q, self.own_table), keys, values)


class Rollout:
    """State of one stream: caches, sink and the number of the next block. Its size never changes."""

    def __init__(
        self,
        model: S2VTransformer,
        options: RolloutOptions,
        text: list[KeysValues],
        sink_latent: Tensor,
        block_latents: int,
    ) -> None:
        """sink_latent: [1, C, 1, H, W], the reference picture's latent."""
        self.model, self.options, self.text = model, options, text
        self.levels = level_grid(options.steps, options.shift)
        _, ph, pw = model.config.patch_size
        self.grid = sink_latent.shape[3] // ph, sink_latent.shape[4] // pw
        self.block_latents = block_latents
        self.block_tokens = block_latents * self.grid[0] * self.grid[1]
        caches = options.steps if options.cache == "timestep" else 1
        slots = options.window_past + 1
        self.caches = [RollingCache(model.config, slots, self.block_tokens) for _ in range(caches)]
        self.sink = RollingSink(block_latents, options.sink_distance, options.rolling_rope)
        self.sink.set(model, sink_latent, text)
        self.next_block = 0

    def denoise(self, noise: Tensor, voice: Voice) -> Tensor:
        """The next block's clean latents from its noise [1, C, F, H, W] and its voice; moves the stream on."""
        block, x = self.next_block, noise
        for step, (level, next_level) in enumerate(zip(self.levels, self.levels[1:], strict=False)):
            cache = self.caches[step % len(self.caches)]
            velocity = self._evaluate(x, level, voice, cache)
            x = euler_step(x, velocity, level, next_level)
        if self.options.cache == "clean":
            # The extra evaluation of clean-KV caching: what later blocks see is this block without noise.
            self._evaluate(x, 0.0, voice, self.caches[0])
        if self.options.aas and block == 0:
            self.sink.set(self.model, x[:, :, :1], self.text)
        self.next_block += 1
        return x

    def _evaluate(self, x: Tensor, level: float, voice: Voice, cache: RollingCache) -> Tensor:
        """One model call on the block in hand."""
        cond = self.sink.latent if self.model.config.cond_dim else None
        return self.model.step(x, 1000 * level, voice, self.text, self._context(cache, self.next_block), cond)

    def _context(self, cache: RollingCache, block: int) -> _StreamContext:
        # Only differences of positions matter, so time starts anew at the window's oldest block: angles stay bounded.
        held = cache.blocks_in_slot_order(block)
        origin = min(held) * self.block_latents
        times = torch.tensor([b * self.block_latents - origin + f for b in held for f in range(self.block_latents)])
        sink_time = torch.tensor([self.sink.position(block) - origin])
        head_dim = self.model.config.head_dim
        return _StreamContext(
            cache, block, self.sink, rope_table(times, *self.grid, head_dim), rope_table(sink_time, *self.grid, head_dim)
        )


@torch.inference_mode()
def stream_blocks(rollout: Rollout, voices: Iterable[Voice], noise: Noise) -> Iterator[LatentBlock]:
    """Yield one clean latent block per voice, oldest first; ends only when `voices` does."""
    for voice in voices:
        block, begin_s = rollout.next_block, time.perf_counter()
        latents = rollout.denoise(noise(block), voice)
        yield LatentBlock(latents, block, begin_s, time.perf_counter())
