"""The S2V transformer: one class for teacher, block-causal student and stream, by how it is called.

Parameter names are the official checkpoint's (the misspelling `casual_audio_encoder` is theirs). Shapes in names:
B batch, F latent frames, L tokens per latent frame, S tokens, D width, C latent channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.config import TransformerConfig
from liveavatar.model.attention import Attention, Context, compute_dtype
from liveavatar.model.audio import AudioInjector, CausalAudioEncoder

NOISY, REFERENCE = 0, 1  # rows of trainable_cond_mask; row 2 (motion) is used by the framepack variant

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Voice:
    """Encoded audio of the frames at hand: local [B, F, tokens+1, D] and pooled [B, F, D]."""

    local: Tensor
    pooled: Tensor


def timestep_features(times: Tensor, width: int) -> Tensor:
    """[...] times in 0..1000 -> [..., width]: cosines then sines, computed in float64, returned in float32."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float64, device=times.device) / half)
    angles = times.double().unsqueeze(-1) * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1).float()


def _modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """LayerNorm without affine, then scale and shift; x [B, F, L, D], shift and scale [B, F, 1, D]."""
    return compute_dtype(torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale))


class TransformerBlock(nn.Module):
    """Self attention, text attention and feed-forward; noise-level modulation per latent frame."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.eps = c.eps
        self.self_attn = Attention(c.dim, c.num_heads, c.eps)
        self.cross_attn = Attention(c.dim, c.num_heads, c.eps)
        self.norm3 = nn.LayerNorm(c.dim, eps=c.eps)
        self.ffn = nn.Sequential(nn.Linear(c.dim, c.ffn_dim), nn.GELU("tanh"), nn.Linear(c.ffn_dim, c.dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, c.dim) / c.dim**0.5)

    def text_keys_values(self, embedded: Tensor) -> KeysValues:
        """Keys and values of embedded text [B, text_len, D]; they depend on the text only."""
        return self.cross_attn.keys_values(embedded)

    def forward(self, x: Tensor, levels: Tensor, text: KeysValues, layer: int, context: Context) -> Tensor:
        """x [B, F, L, D]; levels [B, F, 6, D] or [B, 1, 6, D]: the projected time embedding of each frame."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + levels).unsqueeze(-2).unbind(2)
        normed = _modulate(x, shift1, scale1, self.eps).flatten(1, 2)
        keys, values = self.self_attn.keys_values(normed)
        attended = context.attend(layer, self.self_attn.queries(normed), keys, values)
        x = torch.addcmul(x, gate1.to(x.dtype), self.self_attn.output(attended).view_as(x))
        x = x + self.cross_attn.cross(compute_dtype(self.norm3(x)).flatten(1, 2), text).view_as(x)
        return torch.addcmul(x, gate2.to(x.dtype), self.ffn(_modulate(x, shift2, scale2, self.eps)))


class Head(nn.Module):
    """Tokens to velocity patches, modulated by the time embedding."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.eps = c.eps
        self.head = nn.Linear(c.dim, c.out_dim * math.prod(c.patch_size))
        self.modulation = nn.Parameter(torch.randn(1, 2, c.dim) / c.dim**0.5)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """x [B, F, L, D], embedded time [B, F, D] -> [B, F, L, patch values]."""
        shift, scale = (self.modulation + embedded.unsqueeze(2)).unsqueeze(-2).unbind(2)
        return self.head(_modulate(x, shift, scale, self.eps))


class SinkResidual(nn.Module):
    """Velocity from a prediction of what the clean latents have beyond the sink (EDM-style preconditioning).

    A token of nano has as many noise values as the model is wide, so a velocity, which contains the noise, does not fit
    through it; the residual is small and smooth. `gain` [C] is each channel's regression on the sink's latent, `scale`
    [C] the spread of what remains; both are fitted to data before training and fixed.
    """

    gain: Tensor
    scale: Tensor
    LOWEST_LEVEL = 0.05  # velocity divides by the level; below this the clean estimate hardly moves x any more

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(channels))
        self.register_buffer("scale", torch.ones(channels))

    def fit(self, latents: Tensor, sinks: Tensor) -> None:
        """From clean latents [B, C, F, H, W] and the sinks they were drawn with [B, C, 1, H, W]."""
        over = (0, 2, 3, 4)
        gain = (latents * sinks).mean(over) / sinks.square().mean(over)
        self.gain.copy_(gain)
        self.scale.copy_((latents - gain.view(-1, 1, 1, 1) * sinks).square().mean(over).sqrt())

    def enter(self, x: Tensor, sink: Tensor, level: Tensor) -> Tensor:
        """The residual in noisy x, at unit spread for every level; level broadcasts against x [B, C, F, H, W]."""
        gain, scale = self.gain.view(-1, 1, 1, 1), self.scale.view(-1, 1, 1, 1)
        spread = torch.sqrt(((1 - level) * scale).square() + level.square())
        return (x - (1 - level) * gain * sink) / spread

    def velocity(self, out: Tensor, x: Tensor, sink: Tensor, level: Tensor) -> Tensor:
        """(x - clean estimate) / level."""
        clean = self.gain.view(-1, 1, 1, 1) * sink + self.scale.view(-1, 1, 1, 1) * out.float()
        return (x - clean) / level.clamp(min=self.LOWEST_LEVEL)


class S2VTransformer(nn.Module):
    """Velocity of noisy latents given a sink picture, a voice and a text (paper section 4; model sections 3 to 10)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c = self.config = config
        self.patch_embedding = nn.Conv3d(c.in_dim, c.dim, c.patch_size, stride=c.patch_size)
        if c.cond_dim:
            self.cond_encoder = nn.Conv3d(c.cond_dim, c.dim, c.patch_size, stride=c.patch_size)
        self.text_embedding = nn.Sequential(nn.Linear(c.text_dim, c.dim), nn.GELU("tanh"), nn.Linear(c.dim, c.dim))
        self.time_embedding = nn.Sequential(nn.Linear(c.freq_dim, c.dim), nn.SiLU(), nn.Linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, 6 * c.dim))
        if c.voice_in_time:
            self.voice_embedding = nn.Linear(c.dim, c.dim, bias=False)
        self.trainable_cond_mask = nn.Embedding(3, c.dim)
        self.blocks = nn.ModuleList(TransformerBlock(c) for _ in range(c.num_layers))
        self.head = Head(c)
        self.residual = SinkResidual(c.out_dim) if c.predicts == "residual" else None
        self.casual_audio_encoder = CausalAudioEncoder(c.audio_layers, c.audio_dim, c.dim, c.num_audio_token)
        self.audio_injector = AudioInjector(c.dim, c.num_heads, c.audio_inject_layers, c.eps)

    # --- conditions ---------------------------------------------------------------------------------------------

    def encode_text(self, rows: Tensor) -> list[KeysValues]:
        """Text rows [B, text_len, text_dim] -> keys and values per layer; computed once per stream."""
        embedded = self.text_embedding(rows)
        return [block.text_keys_values(embedded) for block in self.blocks]  # type: ignore[operator,union-attr]

    def encode_audio(self, features: Tensor, history: Tensor | None = None) -> Voice:
        """Features [B, layers, C, 4F], rows before them as `history` -> the voice of F latent frames."""
        return Voice(*self.casual_audio_encoder(features, history))

    # --- calls --------------------------------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        times: Tensor,
        sink: Tensor,
        voice: Voice,
        text: list[KeysValues],
        context: Context,
        cond: Tensor | None = None,
    ) -> Tensor:
        """Parallel call: velocity [B, C, F, H, W] of noisy x at times [B, F] (0..1000), beside the sink [B, C, 1, H, W].

        Tokens are ordered noisy, then sink; sink tokens are modulated as at time 0. cond: [B, cond_dim, F or 1, H, W].
        """
        frames = x.shape[2]
        noisy = self._tokens(self._entering(x, times, cond), NOISY, cond)
        tokens = torch.cat([noisy, self._tokens(sink, REFERENCE)], dim=1)
        beside_sink = torch.cat([times, torch.zeros_like(times[:, :1])], dim=1)
        embedded, levels = self._embed_times(beside_sink, F.pad(voice.pooled, (0, 0, 0, 1)))  # the sink has no voice
        for layer, block in enumerate(self.blocks):
            tokens = block(tokens, levels, text[layer], layer, context)
            noisy = self._inject_voice(layer, tokens[:, :frames], voice)
            tokens = torch.cat([noisy, tokens[:, frames:]], dim=1)
        return self._velocity(self.head(tokens[:, :frames], embedded[:, :frames]), x, times, cond)

    def prefill(self, sink: Tensor, text: list[KeysValues], context: Context) -> None:
        """Run the sink picture [B, C, 1, H, W] alone; `context` keeps each layer's keys and values."""
        tokens = self._tokens(sink, REFERENCE)
        _, levels = self._embed_times(torch.zeros(sink.shape[0], 1, device=sink.device))
        for layer, block in enumerate(self.blocks):
            tokens = block(tokens, levels, text[layer], layer, context)

    def step(
        self,
        x: Tensor,
        time: float,
        voice: Voice,
        text: list[KeysValues],
        context: Context,
        cond: Tensor | None = None,
    ) -> Tensor:
        """Streaming call: velocity of one block x [B, C, F, H, W] at one time (0..1000); `context` holds the past."""
        times = torch.full((x.shape[0], 1), time, dtype=torch.float64, device=x.device)
        tokens = self._tokens(self._entering(x, times, cond), NOISY, cond)
        embedded, levels = self._embed_times(times, voice.pooled)
        for layer, block in enumerate(self.blocks):
            tokens = self._inject_voice(layer, block(tokens, levels, text[layer], layer, context), voice)
        return self._velocity(self.head(tokens, embedded), x, times, cond)

    # --- parts --------------------------------------------------------------------------------------------------

    def _tokens(self, latents: Tensor, kind: int, cond: Tensor | None = None) -> Tensor:
        """[B, C, F, H, W] -> [B, F, L, D]."""
        embedded = self.patch_embedding(latents)
        if cond is not None:
            embedded = embedded + self.cond_encoder(cond)
        return compute_dtype(embedded.flatten(3).permute(0, 2, 3, 1) + self.trainable_cond_mask.weight[kind])

    def _embed_times(self, times: Tensor, pooled: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[B, F] and the pooled voice -> embedded [B, F, D] for the head and [B, F, 6, D] for the blocks."""
        embedded = self.time_embedding(timestep_features(times, self.config.freq_dim))
        if self.config.voice_in_time and pooled is not None:
            embedded = embedded + self.voice_embedding(pooled)
        return embedded, self.time_projection(embedded).unflatten(-1, (6, -1))

    def _inject_voice(self, layer: int, x: Tensor, voice: Voice) -> Tensor:
        return self.audio_injector(layer, x.flatten(1, 2), voice.local, voice.pooled).view_as(x)

    def _entering(self, x: Tensor, times: Tensor, cond: Tensor | None) -> Tensor:
        """What the patch embedding sees of noisy x."""
        if self.residual is None:
            return x
        assert cond is not None, "predicts='residual' needs the sink's latent as cond"
        return self.residual.enter(x, cond, _levels(times))

    def _velocity(self, patches: Tensor, x: Tensor, times: Tensor, cond: Tensor | None) -> Tensor:
        """[B, F, L, pt*ph*pw*C] (channel fastest) -> velocity [B, C, F, H, W]."""
        _, _, frames, height, width = x.shape
        pt, ph, pw = self.config.patch_size
        grid = patches.view(-1, frames // pt, height // ph, width // pw, pt, ph, pw, self.config.out_dim)
        out = grid.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(-1, self.config.out_dim, frames, height, width)
        if self.residual is None:
            return out
        assert cond is not None  # `_entering` refused that
        return self.residual.velocity(out, x, cond, _levels(times))


def _levels(times: Tensor) -> Tensor:
    """Times [B, F] in 0..1000 to noise levels that broadcast against latents."""
    return (times.float() / 1000)[:, None, :, None, None]


def initialise(model: S2VTransformer, generator: torch.Generator) -> None:
    """Weights for training from scratch: audio injection and head start at zero, as the official `zero_init` does."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.trainable_cond_mask.weight, std=0.02, generator=generator)
    nn.init.normal_(model.casual_audio_encoder.encoder.padding_tokens, std=0.02, generator=generator)
    model.audio_injector.start_at_zero()
    if model.config.voice_in_time:
        nn.init.zeros_(model.voice_embedding.weight)
    if model.config.cond_dim:
        nn.init.zeros_(model.cond_encoder.weight)
        nn.init.zeros_(model.cond_encoder.bias)  # type: ignore[arg-type]
    nn.init.zeros_(model.head.head.weight)
