"""The streaming loop (Algorithm 3): a condition per block in, a clean latent block out, for ever.

One function for all variants; what differs between them is a value in `RolloutOptions`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.config import RolloutOptions
from liveavatar.model.attention import Seen
from liveavatar.model.positions import TokenGrid
from liveavatar.model.rope import Rotate, half_precision
from liveavatar.model.transformer import Levels, S2VTransformer, Voice
from liveavatar.streaming.cache import RollingCache
from liveavatar.streaming.flow import euler_step, level_grid, model_time
from liveavatar.streaming.noise import keyed_integer
from liveavatar.streaming.sink import Offset, RollingSink

Noise = Callable[[int], Tensor]
REBASE_BLOCKS = 4096  # with bounded positions, time starts anew after so many blocks (half an hour at 25 fps)


@dataclass(frozen=True)
class LatentBlock:
    """One finished block: clean latents [B, C, F, H, W], its number, and when its denoising ran (monotonic seconds)."""

    latents: Tensor
    block: int
    begin_s: float
    end_s: float


class _StreamContext:
    """Attention of one block to itself, its past at one level, and the sink: all of it lies rotated in the cache."""

    def __init__(self, cache: RollingCache, block: int, table: Tensor, rotate: Rotate) -> None:
        self.cache, self.block, self.table, self.rotate = cache, block, table, rotate

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.cache.write(layer, self.block, k, v, self.table, self.rotate)
        return F.scaled_dot_product_attention(self.rotate(q, self.table), *self.cache.read(layer, self.block))


class Rollout:
    """State of one stream: caches, sink and the number of the next block. Its size never changes."""

    cache_type: type[RollingCache] = RollingCache

    def __init__(
        self,
        model: S2VTransformer,
        options: RolloutOptions,
        text: list[Seen],
        sink_latent: Tensor,
        block_latents: int,
        motion: Tensor | None = None,
        sink_offset: Offset | None = None,
        key: tuple[int, str] = (0, ""),
    ) -> None:
        """sink_latent: [1, C, 1, H, W], the reference picture's latent; motion: latents before the stream [1, C, T, H, W].

        sink_offset: the release's random sink distance of (block, step); None: drawn from `key` = (seed, sample id).
        """
        self.model, self.options, self.text = model, options, text
        self.levels = level_grid(options.steps, options.shift, options.grid)
        self.grid = TokenGrid(model.config, *sink_latent.shape[-2:])
        self.block_latents = block_latents
        low, high = options.sink_random
        drawn = sink_offset or (lambda block, step: keyed_integer(low, high, *key, "sink", block, step))
        self.sink = RollingSink(options, self.grid, block_latents, drawn)
        self.sink.set(model, sink_latent, text, motion)
        self.caches = [self._new_cache() for _ in range(options.steps if options.cache == "timestep" else 1)]
        self.next_block = 0
        self._fixed_levels: dict[float, Levels] = {}
        self._embedded: dict[float, Tensor] = {}
        self._newest_table: tuple[int, Tensor] | None = None
        self._first_latent: Tensor | None = None  # of block 0, until it becomes the sink

    def denoise(self, noise: Tensor, voice: Voice, pose: Tensor | None = None, text: list[Seen] | None = None) -> Tensor:
        """The next block's clean latents from its noise [1, C, F, H, W] and its voice; moves the stream on.

        pose: pose latents of this block; text: another prompt from this block on (the sink keeps what it was set with).
        """
        self.text = text or self.text
        x, voice = noise, self.model.audio_injector.prepare(voice)
        for step, (level, next_level) in enumerate(pairwise(self.levels)):
            x = euler_step(x, self.velocity(x, step, voice, pose), level, next_level)
        if self.options.cache == "clean":
            # The extra evaluation of clean-KV caching: what later blocks see is this block without noise.
            self.velocity(x, len(self.levels) - 1, voice, pose)
        self._finish(x)
        return x

    def velocity(self, x: Tensor, step: int, voice: Voice, pose: Tensor | None = None) -> Tensor:
        """One evaluation of the block in hand, x [1, C, F, H, W] at the level of step `step`; its keys enter the cache."""
        block, cache = self.next_block, self.caches[step % len(self.caches)]
        cache.rebase(self._origin(block))
        self.sink.place(cache, block, step)
        context = _StreamContext(cache, block, self._table(block, x.device), self.model.rotate)
        cond = self.sink.latent if self.model.config.cond_source == "sink" else pose
        time = model_time(self.levels[step])
        return self.model.step(x, time, voice, self.text, context, cond, self._levels_at(time, x, voice))

    def set_sink(self, latent: Tensor, motion: Tensor | None = None) -> None:
        """Let later blocks attend to another picture [1, C, 1, H, W]; motion None: the motion latents stay."""
        self.sink.set(self.model, latent, self.text, self.sink.motion if motion is None else motion)

    def _finish(self, x: Tensor) -> None:
        """Block done: switch the sink when its moment has come."""
        if self.options.aas and self.next_block == 0:
            self._first_latent = x[:, :, :1].clone()
        self.next_block += 1
        if self._first_latent is not None and self.next_block == self.options.aas_after_blocks:
            self.set_sink(self._first_latent)
            self._first_latent = None

    def _origin(self, block: int) -> int:
        """The latent frame that is time 0 for block `block`. Only differences of positions matter."""
        return block // REBASE_BLOCKS * REBASE_BLOCKS * self.block_latents if self.options.positions == "bounded" else 0

    def _table(self, block: int, device: torch.device) -> Tensor:
        """Rotations of a block's tokens, made once for all its evaluations."""
        if self._newest_table is None or self._newest_table[0] != block:
            start = block * self.block_latents - self._origin(block)
            table = self.grid.frames(torch.arange(start, start + self.block_latents))
            table = half_precision(table) if self.options.rope_factors == "half" else table
            self._newest_table = (block, table.to(device))
        return self._newest_table[1]

    def _levels_at(self, time: float, x: Tensor, voice: Voice) -> Levels | None:
        """What the model makes of a time: kept for the whole stream, but for the voice where that is heard there too."""
        if torch.is_grad_enabled():
            return None
        if time not in self._embedded:
            times = torch.full((x.shape[0], 1), time, dtype=torch.float64, device=x.device)
            self._embedded[time] = self.model.embed_times(times)
        embedded = self._embedded[time]
        if self.model.config.voice_in_time:
            return self.model.levels(embedded, voice.pooled)
        if time not in self._fixed_levels:
            self._fixed_levels[time] = self.model.levels(embedded)
        return self._fixed_levels[time]

    def _new_cache(self) -> RollingCache:
        tokens = self.block_latents * self.grid.frame_tokens
        return self.cache_type(
            self.model.config, self.options.window_past + 1, tokens, beside=self.sink.tokens, like=self.sink.keys
        )


@torch.inference_mode()
def stream_blocks(rollout: Rollout, voices: Iterable[Voice], noise: Noise) -> Iterator[LatentBlock]:
    """Yield one clean latent block per voice, oldest first; ends only when `voices` does."""
    for voice in voices:
        block, begin_s = rollout.next_block, time.perf_counter()
        latents = rollout.denoise(noise(block), voice)
        yield LatentBlock(latents, block, begin_s, time.perf_counter())
