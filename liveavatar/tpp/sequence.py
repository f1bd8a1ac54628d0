"""Sequence parallelism: several devices share the tokens of every evaluation, applied to a finished model from outside.

Each device has every frame's share of a block's tokens; for attention they exchange tokens for heads, so that each sees all
tokens, and keeps the past, of its own heads. Prefill is done by each device whole: it happens once or twice in a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from liveavatar.config import TransformerConfig
from liveavatar.model.attention import Seen
from liveavatar.model.positions import TokenGrid
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.rollout import Rollout, StreamContext
from liveavatar.streaming.sink import Prefilled, RollingSink


class TokenShare:
    """One device's part: `part` of `parts`, who speak through `group`."""

    def __init__(self, part: int, parts: int, group: dist.ProcessGroup) -> None:
        self.part, self.parts, self.group = part, parts, group

    def check(self, config: TransformerConfig, height: int, width: int) -> None:
        """Raise ValueError where heads, or the tokens of a latent frame of this height and width, cannot be shared."""
        tokens = TokenGrid(config, height, width).frame_tokens
        for what, count in (("attention heads", config.num_heads), ("tokens per latent frame", tokens)):
            if count % self.parts:
                allowed = [n for n in range(2, 17) if config.num_heads % n == 0 and tokens % n == 0]
                raise ValueError(f"{count} {what} cannot be shared by {self.parts} devices; possible are {allowed}")

    def own_heads(self, x: Tensor) -> Tensor:
        """[layers, B, heads, ...] -> this device's heads."""
        return x.chunk(self.parts, dim=2)[self.part].contiguous()

    def own_tokens(self, x: Tensor) -> Tensor:
        """Tokens [B, F, L, D] -> this device's of every frame [B, F, L / parts, D]."""
        return x.chunk(self.parts, dim=2)[self.part].contiguous()

    def all_tokens(self, x: Tensor) -> Tensor:
        """[B, F, L / parts, P] of every device -> [B, F, L, P]."""
        pieces = [torch.empty_like(x) for _ in range(self.parts)]
        dist.all_gather(pieces, x.contiguous(), group=self.group)
        return torch.cat(pieces, dim=2)

    def to_heads(self, parts: Sequence[Tensor], frames: int) -> list[Tensor]:
        """Tensors [B, heads, own tokens, d] of F frames -> [B, own heads, all tokens, d], tokens in frame order."""
        together = torch.stack(list(parts))  # [n, B, H, F * l, d]
        by_head = together.unflatten(2, (self.parts, -1)).movedim(2, 0)  # [parts, n, B, h, F * l, d]
        got = self._exchange(by_head).unflatten(4, (frames, -1))  # [parts, n, B, h, F, l, d]
        return list(got.movedim(0, 4).flatten(4, 5).flatten(3, 4).unbind(0))

    def to_tokens(self, x: Tensor, frames: int) -> Tensor:
        """The way back: [B, own heads, all tokens, d] -> [B, heads, own tokens, d]."""
        by_part = x.unflatten(2, (frames, self.parts, -1)).movedim(3, 0).flatten(3, 4)  # [parts, B, h, F * l, d]
        return self._exchange(by_part).movedim(0, 1).flatten(1, 2)

    def _exchange(self, x: Tensor) -> Tensor:
        """Piece i of dimension 0 goes to device i; what comes from device i is piece i."""
        x = x.contiguous()
        got = torch.empty_like(x)
        dist.all_to_all_single(got, x, group=self.group)
        return got


class _SharedContext(StreamContext):
    """A block's attention where queries, keys and values arrive token by token and are attended to head by head."""

    share: TokenShare
    frames: int

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        attended = super().attend(layer, *self.share.to_heads((q, k, v), self.frames))
        return self.share.to_tokens(attended, self.frames)


def shared_rollout(share: TokenShare) -> type[Rollout]:
    """A kind of `Rollout` whose caches and sink hold one device's heads, for a model that `share_tokens` has altered."""

    class SharedSink(RollingSink):
        def prefill(
            self, model: S2VTransformer, latent: Tensor, text: Sequence[Seen], motion: Tensor | None = None
        ) -> Prefilled:
            made = super().prefill(model, latent, text, motion)
            return replace(made, keys=share.own_heads(made.keys), values=share.own_heads(made.values))

    class SharedRollout(Rollout):
        sink_type = SharedSink

        def _context(self, cache: Any, block: int, table: Tensor) -> StreamContext:
            context = _SharedContext(cache, block, table, self.model.rotate)
            context.share, context.frames = share, len(table) // self.grid.frame_tokens
            return context

    return SharedRollout


def share_tokens(model: S2VTransformer, share: TokenShare) -> S2VTransformer:
    """Let the model's streaming call work on one device's tokens between its first block and its head; alters the model."""

    def enter(block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        segments, *others, context = given
        if isinstance(context, _SharedContext):  # a prefill is not shared
            segments = [share.own_tokens(segment) for segment in segments]
        return (segments, *others, context)

    def leave(head: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
        return share.all_tokens(out)

    model.blocks[0].register_forward_pre_hook(enter)
    model.head.register_forward_hook(leave)
    return model
