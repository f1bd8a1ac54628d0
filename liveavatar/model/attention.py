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

from liveavatar.model.pointwise import RMSNorm, inverse_rms, is_plain_inference
from liveavatar.model.rope import rotate

VECTOR = 16  # numbers that a CPU takes at once: a softmax over fewer in a row is slow, over the axis before it is not


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


class Context(Protocol):
    """What one layer's queries may attend to. q, k, v: [B, heads, S, d], not yet rotated; returns [B, heads, S, d]."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class FusedProjection:
    """Weights [3D, D] and biases [3D] of the query, key and value projections in one piece; both norms' weights [2, D]."""

    weight: Tensor
    bias: Tensor
    norms: Tensor


@dataclass(frozen=True)
class FewSeen:
    """The cheaper form of few tokens: what queries need not be taken through is folded into them once.

    scorers: [B, D, heads * n], keys with the queries' norm weights and 1/sqrt(d), each head's in its own rows.
    outputs: [B, heads * n, D], values after the output projection, its bias shared out among heads.
    is_by_head: whether the n scores of a head stand side by side, or the `heads` scores of a token do.
    """

    scorers: Tensor
    outputs: Tensor
    is_by_head: bool

    def weights(self, scores: Tensor, heads: int) -> Tensor:
        """Softmax over the tokens of each head, [B, S, heads * n] as the scores are."""
        if self.is_by_head:
            return torch.softmax(scores.unflatten(-1, (heads, -1)), dim=-1).flatten(-2)
        return torch.softmax(scores.unflatten(-1, (-1, heads)), dim=-2).flatten(-2)


@dataclass(frozen=True)
class Seen:
    """Tokens that cross attention looks at: keys and values [B, heads, n, d], and their cheaper form where there is one."""

    keys: Tensor
    values: Tensor
    few: FewSeen | None = None


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
        joined = F.linear(x, self.fused.weight, self.fused.bias)
        if not is_plain_inference(joined):
            q, k, v = joined.chunk(3, dim=-1)
            return self.split(self.norm_q(q)), self.split(self.norm_k(k)), self.split(v)
        rows = joined.unflatten(-1, (3, -1))
        both = rows[:, :, :2]
        both.mul_(inverse_rms(both, self.norm_q.eps)).mul_(self.fused.norms)
        q, k, v = rows.unflatten(-1, (self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def output(self, attended: Tensor) -> Tensor:
        """[B, heads, S, d] -> [B, S, D]."""
        return self.o(attended.transpose(1, 2).flatten(-2))

    def seen(self, source: Tensor) -> Seen:
        """What cross attention needs of the tokens [B, n, D] it looks at."""
        keys, values = self.keys_values(source)
        is_few = self.heads * source.shape[1] <= source.shape[2] // 2
        if torch.is_grad_enabled() or not is_few or type(self.o) is not nn.Linear:
            return Seen(keys, values)
        batch, heads, tokens, width = keys.shape
        is_by_head = tokens >= VECTOR
        scales = self.norm_q.weight.view(heads, 1, width) * width**-0.5
        columns = (heads, tokens) if is_by_head else (tokens, heads)
        scorers = keys.new_zeros(batch, heads, width, *columns)
        scorers.diagonal(dim1=1, dim2=3 if is_by_head else 4).copy_((keys * scales).permute(0, 3, 2, 1))
        by_output = self.o.weight.t().unflatten(0, (heads, width))
        outputs = torch.bmm(values.transpose(0, 1).reshape(heads, -1, width), by_output) + self.o.bias / heads
        outputs = outputs.view(heads, batch, tokens, -1).permute(*((1, 0, 2, 3) if is_by_head else (1, 2, 0, 3)))
        return Seen(keys, values, FewSeen(scorers.flatten(3).flatten(1, 2), outputs.flatten(1, 2), is_by_head))

    def cross(self, x: Tensor, seen: Seen, residual: Tensor) -> Tensor:
        """residual, which may be overwritten, + attention from tokens [B, S, D] to what is seen; no positions, no mask."""
        if seen.few is None:
            return residual + self.output(scaled_attention(self.queries(x), seen.keys, seen.values))
        q = self.q(x)
        is_plain = is_plain_inference(q)
        inverse = inverse_rms(q, self.norm_q.eps) if is_plain else _inverse_rms_in_full(q, self.norm_q.eps)
        weights = seen.few.weights(torch.bmm(q, seen.few.scorers).mul_(inverse), self.heads)
        if residual.dtype != weights.dtype:
            return residual + torch.bmm(weights, seen.few.outputs)
        return (residual.baddbmm_ if is_plain else residual.baddbmm)(weights, seen.few.outputs)


def _inverse_rms_in_full(x: Tensor, eps: float) -> Tensor:
    """1 / rms [..., 1] in x's dtype, computed in float32."""
    return torch.rsqrt(x.to(torch.promote_types(x.dtype, torch.float32)).square().mean(-1, keepdim=True) + eps).to(x.dtype)


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
