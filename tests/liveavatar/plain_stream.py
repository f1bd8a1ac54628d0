"""One streamed evaluation written for reading: what the fast form must equal, and what its speed is compared with.

The formulation of the reference code, no slower than it stands there: separate projections; positions in complex128, their
factors made once per evaluation and multiplied in every layer; keys kept un-rotated, joined with the past and the sink and
rotated anew in every layer; modulation in float32 spread over tokens; torch's own activation and attention; text keys and a
voice's parts computed in every evaluation, as the reference does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.model.attention import Attention
from liveavatar.model.audio import Voice
from liveavatar.model.transformer import NOISY
from liveavatar.streaming.flow import euler_step, model_time
from liveavatar.streaming.rollout import Rollout


def _angles(positions: Tensor, slots: int) -> Tensor:
    return positions.double()[:, None] * 10_000 ** (-torch.arange(slots, dtype=torch.float64) / slots)


def _factors(times: Tensor, rows: int, columns: int, head_dim: int) -> Tensor:
    """Complex128 factors [T*rows*columns, head_dim/2]."""
    third = head_dim // 2 // 3
    t = _angles(times, head_dim // 2 - 2 * third)[:, None, None].expand(-1, rows, columns, -1)
    h = _angles(torch.arange(rows), third)[None, :, None].expand(len(times), -1, columns, -1)
    w = _angles(torch.arange(columns), third)[None, None].expand(len(times), rows, -1, -1)
    angles = torch.cat([t, h, w], dim=-1).reshape(-1, head_dim // 2)
    return torch.polar(torch.ones_like(angles), angles)


def _rotated(x: Tensor, factors: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * factors).flatten(-2).float()


def _rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _projected(a: Attention, x: Tensor, source: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of x, keys and values of `source`, each [B, heads, S, d]."""
    q, k, v = _rms(a.q(x), a.norm_q.weight, eps), _rms(a.k(source), a.norm_k.weight, eps), a.v(source)
    return _heads(q, a.heads), _heads(k, a.heads), _heads(v, a.heads)


def _cross(a: Attention, x: Tensor, source: Tensor, eps: float) -> Tensor:
    return a.o(F.scaled_dot_product_attention(*_projected(a, x, source, eps)).transpose(1, 2).flatten(-2))


class PlainStream:
    """The stream of a fresh `Rollout`, with lists for caches; the rollout keeps count, and sets the sink when AAS is due."""

    def __init__(self, rollout: Rollout, text_rows: Tensor) -> None:
        self.rollout, self.model = rollout, rollout.model
        missing = self.model.config.text_len - text_rows.shape[1]
        self.text_rows = F.pad(text_rows, (0, 0, 0, missing))
        layers = range(self.model.config.num_layers)
        self.past: list[list[list[tuple[Tensor, Tensor]]]] = [[[] for _ in layers] for _ in rollout.caches]
        self.first_block = rollout.next_block

    def denoise(self, noise: Tensor, voice: Voice) -> Tensor:
        """The next block's clean latents; one cache per step, as in timestep-forcing."""
        x, levels = noise, self.rollout.levels
        for step in range(len(levels) - 1):
            x = euler_step(x, self.velocity(x, step, voice), levels[step], levels[step + 1])
        self.rollout._finish(x)
        return x

    def velocity(self, x: Tensor, step: int, voice: Voice) -> Tensor:
        """One evaluation at one step of the block in hand."""
        self.rollout._adapt_sink()
        model, sink = self.model, self.rollout.sink.held(self.rollout.next_block, step)
        cond = sink.latent if model.config.cond_source == "sink" else torch.zeros_like(x)
        times = torch.full((1, 1), model_time(self.rollout.levels[step]), dtype=torch.float64)
        tokens = model.patch_embedding(model._entering(x, times, cond)) + model.cond_encoder(cond)
        tokens = tokens.flatten(3).permute(0, 2, 3, 1) + model.trainable_cond_mask.weight[NOISY]
        _, frames, per_frame, _ = tokens.shape
        embedded, levels = model._projected(model.embed_times(times), voice.pooled)
        levels = levels.expand(-1, frames, -1, -1).repeat_interleave(per_frame, dim=1)  # a row for every token
        text = model.text_embedding(self.text_rows)
        factors = self._positions(step, self.rollout.next_block)
        flat = tokens.flatten(1, 2)
        for layer in range(model.config.num_layers):
            flat = self._block(flat, levels, text, layer, step, factors)
            if model.audio_injector.injects_after(layer):
                flat = self._voice(flat, voice, layer, frames)
        shift, scale = (model.head.modulation + embedded.unsqueeze(2)).unsqueeze(-2).unbind(2)
        normed = F.layer_norm(flat.view_as(tokens), flat.shape[-1:], eps=model.config.eps) * (1 + scale) + shift
        return model._velocity(model.head.head(normed), x, times, cond)

    def _positions(self, step: int, block: int) -> Tensor:
        """Factors [tokens, head_dim/2] of all keys: the blocks of the window, oldest first, then the conditioning tokens."""
        options, sink, grid = self.rollout.options, self.rollout.sink, self.rollout.grid
        first = max(self.first_block, block - options.window_past)
        per_block, head_dim = self.rollout.block_latents, self.model.config.head_dim
        times = torch.arange(first * per_block, (block + 1) * per_block)
        sink_factors = _factors(torch.tensor([sink.position(block, step)]), *grid.patches, head_dim)
        if sink.newest.motion is not None:
            sink_factors = torch.cat([sink_factors, grid.motion().to(torch.complex128)])
        return torch.cat([_factors(times, *grid.patches, head_dim), sink_factors])

    def _block(self, x: Tensor, levels: Tensor, text: Tensor, layer: int, step: int, factors: Tensor) -> Tensor:
        b, eps = self.model.blocks[layer], self.model.config.eps
        shift1, scale1, gate1, shift2, scale2, gate2 = (b.modulation + levels).unbind(2)
        normed = F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + scale1) + shift1
        q, k, v = _projected(b.self_attn, normed, normed, eps)
        attended = self._look_back(q, k, v, layer, step, factors)
        x = x + gate1 * b.self_attn.o(attended.transpose(1, 2).flatten(-2))
        x = x + _cross(b.cross_attn, b.norm3(x), text, eps)
        normed = F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + scale2) + shift2
        return x + gate2 * b.ffn[2](F.gelu(b.ffn[0](normed), approximate="tanh"))

    def _look_back(self, q: Tensor, k: Tensor, v: Tensor, layer: int, step: int, factors: Tensor) -> Tensor:
        past, sink = self.past[step % len(self.past)][layer], self.rollout.sink
        past[:] = [*past, (k, v)][-(self.rollout.options.window_past + 1) :]
        keys = torch.cat([*(key for key, _ in past), sink.keys[layer]], dim=2)
        values = torch.cat([*(value for _, value in past), sink.values[layer]], dim=2)
        own = factors[len(factors) - sink.tokens - q.shape[2] :][: q.shape[2]]
        return F.scaled_dot_product_attention(_rotated(q, own), _rotated(keys, factors), values)

    def _voice(self, x: Tensor, voice: Voice, layer: int, frames: int) -> Tensor:
        injector = self.model.audio_injector
        slot = injector.slot_of_layer[layer]
        adain, attention = injector.injector_adain_layers[slot], injector.injector[slot]
        shift, scale = adain.linear(F.silu(voice.pooled))[:, :, None].chunk(2, dim=-1)
        split = x.unflatten(1, (frames, -1))
        normed = F.layer_norm(split, split.shape[-1:], eps=1e-5) * (1 + scale) + shift
        heard = _cross(attention, normed.flatten(0, 1), voice.local.flatten(0, 1), self.model.config.eps)
        return x + heard.flatten(0, 1)[None]
