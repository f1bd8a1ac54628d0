"""Multi-head attention with query/key norms over the full width, and the contexts in which it may look around.

A transformer block projects its tokens to queries, keys and values and hands them to a *context*, which decides what is
visible: the whole sequence (teacher), a window of past blocks plus the sink (training of the causal model), or caches
(streaming). The block itself is the same in all cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.model.rope import rotate


def compute_dtype(x: Tensor) -> Tensor:
    """x in the dtype that matrix products will run in: cast once here instead of once per product under autocast."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def scaled_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for [B, heads, S, d]; mask is boolean, True = visible."""
    if mask is not None or q.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # With narrow heads on a CPU the fused kernel's backward costs 1.7 times the three plain operations.
    q, k, v = (compute_dtype(part) for part in (q * q.shape[-1] ** -0.5, k, v))
    with torch.autocast("cpu", enabled=False):
        return torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v


class RMSNorm(nn.Module):
    """x / rms(x) * weight over all channels, before the split into heads."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        full = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = full * torch.rsqrt(full.square().mean(-1, keepdim=True) + self.eps)
        return normed.to(x.dtype) * self.weight.to(x.dtype)


class Context(Protocol):
    """What one layer's queries may attend to. q, k, v: [B, heads, S, d], not yet rotated; returns [B, heads, S, d]."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FusedProjection:
    """Weights [3D, D] and biases [3D] of the query, key and value projections in one piece."""

    weight: Tensor
    bias: Tensor


class Attention(nn.Module):
    """Projections and output of one attention; serves self, text and audio attention alike."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim, eps), RMSNorm(dim, eps)
        self.fused: FusedProjection | None = None  # set by model/prepared.py for inference

    def split(self, x: Tensor) -> Tensor:
        """[B, S, D] -> [B, heads, S, d]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def queries(self, x: Tensor) -> Tensor:
        """Normed queries [B, heads, S, d]."""
        return self.split(self.norm_q(self.q(x)))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normed keys and values, each [B, heads, S, d]."""
        return self.split(self.norm_k(self.k(x))), self.split(self.v(x))

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normed queries and keys, and values, of the same tokens: each [B, heads, S, d]."""
        if self.fused is None:
            return self.queries(x), *self.keys_values(x)
        q, k, v = F.linear(x, self.fused.weight, self.fused.bias).chunk(3, dim=-1)
        return self.split(self.norm_q(q)), self.split(self.norm_k(k)), self.split(v)

    def output(self, attended: Tensor) -> Tensor:
        """[B, heads, S, d] -> [B, S, D]."""
        return self.o(attended.transpose(1, 2).flatten(-2))

    def cross(self, x: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        """Attention from tokens [B, S, D] to given keys and values; no positions, no mask."""
        keys, values = keys_values
        return self.output(scaled_attention(self.queries(x), keys, values))


class FullContext:
    """Every token sees every token, or what a boolean mask [S, S] allows (True = visible)."""

    def __init__(self, table: Tensor, mask: Tensor | None = None) -> None:
        self.table, self.mask = table, mask

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del layer
        q, k = rotate(q, self.table), rotate(k, self.table)
        return scaled_attention(q, k, v, self.mask)


class BlockCausalContext:
    """All blocks at once; each sees itself, `window_past` blocks before it and the conditioning tokens (section 9).

    Tokens: `blocks` runs of `block_tokens` noisy tokens, then conditioning tokens, which see only each other. Equal to
    `FullContext` with `block_causal_mask`, without the work on hidden pairs.

    detach_history: no gradient reaches a block's past or its sink: what a cache would give (Algorithm 1 detaches it).
    """

    def __init__(
        self, table: Tensor, blocks: int, block_tokens: int, window_past: int, detach_history: bool = False
    ) -> None:
        self.table, self.blocks, self.block_tokens, self.window_past = table, blocks, block_tokens, window_past
        self.detach_history = detach_history

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del layer
        q, k = rotate(q, self.table), rotate(k, self.table)
        # Splitting once and joining windows keeps gradients small: a slice's gradient would be the whole sequence.
        sizes = [self.block_tokens] * self.blocks + [q.shape[2] - self.blocks * self.block_tokens]
        *queries, sink_q = q.split(sizes, dim=2)
        *keys, sink_k = k.split(sizes, dim=2)
        *values, sink_v = v.split(sizes, dim=2)
        out = []
        for block, query in enumerate(queries):
            seen_k, seen_v = self._seen(keys, sink_k, block), self._seen(values, sink_v, block)
            out.append(scaled_attention(query, seen_k, seen_v))
        return torch.cat([*out, scaled_attention(sink_q, sink_k, sink_v)], dim=2)

    def _seen(self, blocks: Sequence[Tensor], sink: Tensor, block: int) -> Tensor:
        """What block number `block` sees, of keys or of values."""
        past = blocks[max(0, block - self.window_past) : block]
        if self.detach_history:
            past, sink = [part.detach() for part in past], sink.detach()
        return torch.cat([*past, blocks[block], sink], dim=2)


def block_causal_mask(blocks: int, block_tokens: int, window_past: int, sink_tokens: int) -> Tensor:
    """Boolean [S, S], True = visible: the reference form of `BlockCausalContext`."""
    index = torch.arange(blocks).repeat_interleave(block_tokens)
    index = torch.cat([index, torch.full((sink_tokens,), -1)])
    query, key = index[:, None], index[None, :]
    window = (query >= 0) & (key >= 0) & (key <= query) & (key >= query - window_past)
    return window | (key == -1)
