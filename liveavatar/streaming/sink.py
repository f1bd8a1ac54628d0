"""The Rolling Sink Frame (paper section 4.4): the one picture, with its motion latents, that every block attends to.

Adaptive Attention Sink (AAS) replaces the given picture by the model's own first latent frame; Rolling RoPE keeps the
picture ahead of the newest block. Keys are kept un-rotated here; caches hold them rotated to where the sink is now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
PREFILL_TICKS = 1  # a prefill takes less than an evaluation of a block; handing it on is part of that time


def first_switch(options: RolloutOptions, steps: range | None = None) -> int:
    """The first block of which any of `steps` (None: all) attends to the adapted sink."""
    return min(switch_block(options, step) for step in steps or range(options.steps))


def switch_block(options: RolloutOptions, step: int) -> int:
    """The first block whose step `step` attends to the adapted sink.

    In a pipeline with one step per device, device s works on block t - s in tick t, and block 0 is finished when tick
    `steps` begins. "in_flight": each step takes the sink one tick after that, so nothing ever waits for it. "block": all
    steps take it at `aas_after_blocks`; a pipeline need not wait for it either from block steps + 1 on.
    """
    if options.aas_switch == "block":
        return options.aas_after_blocks
    return max(options.aas_after_blocks, options.steps - min(step, options.steps - 1) + PREFILL_TICKS)


@dataclass(frozen=True, eq=False)
class Prefilled:
    """A sink latent [B, C, 1, H, W] after its prefill: un-rotated keys and values [layers, B, heads, tokens, d].

    They depend on picture, motion latents and prompt alone: one serves all steps, and all streams with the same three.
    """

    latent: Tensor
    motion: Tensor | None
    keys: Tensor
    values: Tensor


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


@dataclass(frozen=True, eq=False)
class _Version:
    """A sink, the same or one per step, and from which block on it holds, per step."""

    number: int
    per_step: tuple[Prefilled, ...]
    from_block: Callable[[int], int]


class RollingSink:
    """Which sink a given block and step attends to, and where it stands. Replaced while blocks are in flight, if need be."""

    def __init__(
        self,
        options: RolloutOptions,
        grid: TokenGrid,
        block_latents: int,
        offset: Offset,
        steps: range | None = None,
    ) -> None:
        """steps: those that look at this sink; None: all."""
        self.options, self.grid, self.block_latents, self.offset = options, grid, block_latents, offset
        self.steps = steps or range(options.steps)
        self._versions: list[_Version] = []  # oldest first; more than one only while steps disagree
        self._set_count = 0
        self._reference: tuple[float, Tensor] | None = None  # where it was put last, and the rotation to there

    def prefill(
        self, model: S2VTransformer, latent: Tensor, text: Sequence[Seen], motion: Tensor | None = None
    ) -> Prefilled:
        """One evaluation of `latent` [B, C, 1, H, W] and motion [B, C, T, H, W] at time 0, seeing only each other."""
        table = self.grid.frames(torch.tensor([REFERENCE_TIME]))
        if motion is not None:
            table = torch.cat([table, self.grid.motion()])
        context = _SinkContext(self._factors(table, latent.device))
        model.prefill(latent, text, context, motion)
        return Prefilled(latent.clone(), motion, torch.stack(context.keys), torch.stack(context.values))

    def set(
        self,
        model: S2VTransformer,
        latent: Tensor,
        text: Sequence[Seen],
        motion: Tensor | None = None,
        from_block: Callable[[int], int] = lambda step: 0,
    ) -> None:
        """Make `latent` the sink of step s from block `from_block(s)` on; by default of every evaluation from now on."""
        times = len(self.steps) if self.options.prefill == "each_step" else 1
        self.use(*(self.prefill(model, latent, text, motion) for _ in range(times)), from_block=from_block)

    def use(self, *prefilled: Prefilled, from_block: Callable[[int], int] = lambda step: 0) -> None:
        """As `set`, with a sink that is prefilled: made elsewhere, or shared with another stream. Several: one per step."""
        self._set_count += 1
        self._versions.append(_Version(self._set_count, prefilled, from_block))

    def held(self, block: int, step: int = 0) -> Prefilled:
        """The sink that step `step` of block `block` attends to."""
        return self._of_step(self._version(block, step), step)

    @property
    def newest(self) -> Prefilled:
        """The sink set last, whether it holds already or not."""
        return self._versions[-1].per_step[0]

    @property
    def keys(self) -> Tensor:
        """Un-rotated keys of the sink set last."""
        return self.newest.keys

    @property
    def values(self) -> Tensor:
        """Values of the sink set last."""
        return self.newest.values

    @property
    def tokens(self) -> int:
        """Conditioning tokens."""
        return self.keys.shape[-2]

    @property
    def nbytes(self) -> int:
        """Memory held: one sink; while steps disagree, one more."""
        distinct = {id(made): made for version in self._versions for made in version.per_step}
        return sum(made.keys.nbytes + made.values.nbytes for made in distinct.values())

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
        self._forget(block)
        version = self._version(block, step)
        made, start = self._of_step(version, step), block * self.block_latents
        motion_shift = (start if self.options.motion_position == "rolling" else 0) - cache.origin
        wanted = (version.number, motion_shift, self.position(block, step) - cache.origin)
        if cache.placed == wanted:
            return
        reference = self.grid.frame_tokens
        if cache.placed is None or cache.placed[0] != wanted[0]:
            cache.values[..., : cache.beside, :] = made.values
        if made.motion is not None and (cache.placed is None or cache.placed[:2] != wanted[:2]):
            motion = self._factors(self.grid.motion(motion_shift), made.keys.device)
            self._write(cache, made.keys, slice(reference, cache.beside), motion)
        self._write(cache, made.keys, slice(reference), self._reference_factors(wanted[2], made.keys.device))
        cache.placed = wanted

    def _version(self, block: int, step: int) -> _Version:
        """The newest that holds; before any does, the oldest."""
        holding = (version for version in reversed(self._versions) if block >= version.from_block(step))
        return next(holding, self._versions[0])

    def _forget(self, block: int) -> None:
        """Let go of what no step can need from block `block` on."""
        needed = min(self._versions.index(self._version(block, step)) for step in self.steps)
        del self._versions[:needed]

    def _of_step(self, version: _Version, step: int) -> Prefilled:
        return version.per_step[min(step - self.steps.start, len(version.per_step) - 1)]

    def _write(self, cache: RollingCache, keys: Tensor, tokens: slice, factors: Tensor) -> None:
        cache.keys[..., tokens, :] = rotate(keys[..., tokens, :], factors)

    def _reference_factors(self, position: float, device: torch.device) -> Tensor:
        """The reference's rotation; kept, as the caches of all steps often want it at one place."""
        if self._reference is None or self._reference[0] != position:
            self._reference = (position, self._factors(self.grid.frames(torch.tensor([position])), device))
        return self._reference[1]

    def _factors(self, table: Tensor, device: torch.device) -> Tensor:
        return (half_precision(table) if self.options.rope_factors == "half" else table).to(device)
