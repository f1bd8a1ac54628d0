"""The voice inside the transformer: causal audio encoder and audio injection (official S2V layout).

Input features are rows at playback rate, four per latent frame; each latent frame sees its own four rows and the five
before them. Not here: how features are made from samples (streaming/conditions.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.model.attention import Attention, Seen
from liveavatar.model.pointwise import layer_norm

HISTORY_ROWS = 5  # receptive field of the three convolutions before a latent frame's own rows
_HISTORY_LATENTS = 2  # outputs that those rows produce: (5 + 3) / 4


@dataclass(frozen=True)
class Spoken:
    """What one injection needs of a voice: shift and 1 + scale [A, F, 1, D], and its tokens of A*F frames as attention sees
    them."""

    shift: Tensor
    scale: Tensor
    seen: Seen


@dataclass(frozen=True)
class Voice:
    """Encoded audio of the frames at hand: local [A, F, tokens+1, D] and pooled [A, F, D].

    A is the batch, or, with regions, the speakers of one sample.
    regions: [A, F, L], how much each speaker moves each token (0..1).
    spoken: what each injection makes of it, once prepared (`AudioInjector.prepare`).
    """

    local: Tensor
    pooled: Tensor
    regions: Tensor | None = None
    spoken: tuple[Spoken, ...] | None = None


def speakers(local: Tensor, pooled: Tensor, regions: Tensor) -> Voice:
    """Voices [A, F, ...] of one sample's speakers with their regions [A, F, Hp, Wp] or [A, F, Hp, Wp, 1] on the patch grid.

    Raises ValueError when speakers and regions do not match.
    """
    if regions.shape[:2] != local.shape[:2] or regions.dim() not in (4, 5):
        raise ValueError(
            f"regions {tuple(regions.shape)} do not fit voices of {local.shape[0]} speakers and {local.shape[1]} latent "
            "frames; give [speakers, latent frames, rows, columns]"
        )
    return Voice(local, pooled, regions.flatten(2))


class _CausalConv1d(nn.Module):
    """Kernel 3, replicate-padded on the left. The wrapper keeps the official parameter names (`conv1_local.conv`)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels_out, 3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', ceil(T/stride)]."""
        return self.conv(F.pad(x, (2, 0), mode="replicate"))


def _norm_silu(x: Tensor) -> Tensor:
    """LayerNorm over channels of [B, C, T], then SiLU."""
    return F.silu(F.layer_norm(x.transpose(1, 2), x.shape[1:2], eps=1e-6)).transpose(1, 2)


class _MotionEncoder(nn.Module):
    """Three causal convolutions with strides 1, 2, 2 in a local (several tokens) and a global branch."""

    def __init__(self, feature_dim: int, dim: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.conv1_local = _CausalConv1d(feature_dim, dim // 4 * tokens)
        self.conv1_global = _CausalConv1d(feature_dim, dim // 4)
        self.conv2 = _CausalConv1d(dim // 4, dim // 2, stride=2)
        self.conv3 = _CausalConv1d(dim // 2, dim, stride=2)
        self.final_linear = nn.Linear(dim, dim)
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def _down(self, x: Tensor) -> Tensor:
        """[B, D/4, T] -> [B, T/4, D]."""
        x = _norm_silu(self.conv2(_norm_silu(x)))
        return _norm_silu(self.conv3(x)).transpose(1, 2)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T] -> local tokens [B, T/4, tokens+1, D] and global vectors [B, T/4, D]."""
        batch = features.shape[0]
        grouped = self.conv1_local(features).unflatten(1, (self.tokens, -1)).flatten(0, 1)
        # Both branches go down together, as samples of one batch.
        down = self._down(torch.cat([grouped, self.conv1_global(features)]))
        local = down[:-batch].unflatten(0, (batch, self.tokens)).transpose(1, 2)
        padding = self.padding_tokens.expand(batch, local.shape[1], -1, -1).to(local.dtype)
        return torch.cat([local, padding], dim=2), self.final_linear(down[-batch:])


class CausalAudioEncoder(nn.Module):
    """Learned mix of feature layers, then the motion encoder (model section 6)."""

    def __init__(self, layers: int, feature_dim: int, dim: int, tokens: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((1, layers, 1, 1), 0.01))
        self.encoder = _MotionEncoder(feature_dim, dim, tokens)

    def forward(self, features: Tensor, history: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features [B, layers, C, 4F] -> (local [B, F, tokens+1, D], global [B, F, D]).

        history: [B, layers, C, 5] rows before the first; None repeats the first row, as the official code does.
        Raises ValueError when the rows do not fill latent frames.
        """
        if features.shape[-1] % 4:
            raise ValueError(f"{features.shape[-1]} audio rows do not fill latent frames of 4 rows; pad with silence")
        if history is None:
            history = features[..., :1].expand(*features.shape[:-1], HISTORY_ROWS)
        rows = torch.cat([history, features], dim=-1)
        weights = F.silu(self.weights)
        mixed = (rows * weights).sum(1) / weights.sum(1)
        local, pooled = self.encoder(mixed)
        return local[:, _HISTORY_LATENTS:], pooled[:, _HISTORY_LATENTS:]


class _AdaLayerNorm(nn.Module):
    """LayerNorm of tokens, shifted and scaled by the latent frame's global audio vector."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 2 * dim)

    def shift_scale(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled [A, F, D] -> shift and 1 + scale, each [A, F, 1, D]."""
        shift, scale = self.linear(F.silu(pooled))[:, :, None].chunk(2, dim=-1)
        return shift, 1 + scale

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """x [B, F, L, D] -> [A, F, L, D]."""
        return torch.addcmul(shift, layer_norm(x, 1e-5), scale)


class AudioInjector(nn.Module):
    """After chosen blocks, noisy tokens attend to the audio tokens of their own latent frame."""

    def __init__(self, dim: int, heads: int, layers: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.slot_of_layer = {layer: slot for slot, layer in enumerate(layers)}
        attentions, norms = [Attention(dim, heads, eps) for _ in layers], [_AdaLayerNorm(dim) for _ in layers]
        self.injector, self.injector_adain_layers = nn.ModuleList(attentions), nn.ModuleList(norms)
        self._slots = tuple(zip(norms, attentions, strict=True))

    def start_at_zero(self) -> None:
        """Fresh weights that add nothing, as the official `zero_init` does."""
        for norm, attention in self._slots:
            nn.init.zeros_(attention.o.weight)
            nn.init.zeros_(norm.linear.weight)

    def injects_after(self, layer: int) -> bool:
        """Whether there is an injection after block `layer`."""
        return layer in self.slot_of_layer

    def prepare(self, voice: Voice) -> Voice:
        """The voice with what every injection makes of it, so that all evaluations of a block share it."""
        return replace(voice, spoken=tuple(self._spoken(slot, voice) for slot in range(len(self._slots))))

    def forward(self, layer: int, x: Tensor, voice: Voice) -> Tensor:
        """Noisy tokens x [B, F, L, D] after block `layer`, moved by the voice; x itself where the layer has no injection.

        Without gradients x may be overwritten.
        """
        if layer not in self.slot_of_layer:
            return x
        slot = self.slot_of_layer[layer]
        spoken = voice.spoken[slot] if voice.spoken is not None else self._spoken(slot, voice)
        return self.heard(*self._slots[slot], x, spoken, voice.regions)

    @staticmethod
    def heard(norm: _AdaLayerNorm, attention: Attention, x: Tensor, spoken: Spoken, regions: Tensor | None) -> Tensor:
        """x [B, F, L, D], which may be overwritten, moved by what one injection makes of the voice."""
        queries = norm(x, spoken.shift, spoken.scale).to(x.dtype)
        frames = queries.flatten(0, 1)
        if regions is None:
            return attention.cross(frames, spoken.seen, x.flatten(0, 1)).view_as(x)
        added = attention.cross(frames, spoken.seen, torch.zeros_like(frames)).view_as(queries)
        return x + (added * regions.unsqueeze(-1).to(added.dtype)).sum(0, keepdim=True)

    def _spoken(self, slot: int, voice: Voice) -> Spoken:
        norm, attention = self._slots[slot]
        kind = attention.norm_k.weight.dtype  # linear layers may hold their weights in 8 bits
        return Spoken(*norm.shift_scale(voice.pooled.to(kind)), attention.seen(voice.local.to(kind).flatten(0, 1)))
