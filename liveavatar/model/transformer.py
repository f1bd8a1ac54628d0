"""The S2V transformer: one class for teacher, block-causal student and stream, by how it is called.

Parameter names are the official checkpoint's (the misspelling `casual_audio_encoder` is theirs). Shapes in names:
B batch, F latent frames, L tokens per latent frame, S tokens, D width, C latent channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.config import TransformerConfig
from liveavatar.model.attention import Attention, Context, Seen, compute_dtype
from liveavatar.model.audio import AudioInjector, CausalAudioEncoder, Voice
from liveavatar.model.motion import FramePacker, last_motion_latents
from liveavatar.model.patches import cut, join
from liveavatar.model.pointwise import TanhGELU, layer_norm
from liveavatar.model.residual import ResidualAt, SinkResidual
from liveavatar.model.rope import rotate

__all__ = ["S2VTransformer", "Voice", "initialise"]

NOISY, REFERENCE, MOTION = 0, 1, 2  # rows of trainable_cond_mask

def timestep_features(times: Tensor, width: int) -> Tensor:
    """[...] times in 0..1000 -> [..., width]: cosines then sines, computed in float64, returned in float32."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float64, device=times.device) / half)
    angles = times.double().unsqueeze(-1) * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1).float()


Modulation = tuple[Tensor, ...]  # per latent frame, each [B, F, 1, D]: shifts, scales (1 already added) and gates


@dataclass(frozen=True)
class Levels:
    """What a noise level does to each latent frame: the modulation of every block, and the head's."""

    blocks: tuple[Modulation, ...]
    head: Modulation


@dataclass(frozen=True)
class StepConstants:
    """What a noise level and the latents beside x alone decide: the same in all evaluations that share both.

    beside: added to the embedded patches of x, broadcasts against [B, F, L, D]. residual: where the model predicts it.
    """

    beside: Tensor
    residual: ResidualAt | None


def _modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """LayerNorm without affine, then scale and shift; x [B, F, L, D], shift and scale [B, F, 1, D]."""
    return torch.addcmul(shift, layer_norm(x, eps), scale)


def _joined(segments: Sequence[Tensor]) -> Tensor:
    """Segments [B, F, L, D] in one row of tokens [B, S, D]."""
    flat = [segment.flatten(1, 2) for segment in segments]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)


class TransformerBlock(nn.Module):
    """Self attention, text attention and feed-forward; noise-level modulation per latent frame.

    Tokens come in segments [B, F, L, D]: F equal runs of L tokens, one modulation per run. Noisy frames are one segment;
    conditioning tokens, whose groups have other sizes, are another with F = 1.
    """

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.eps = c.eps
        self.self_attn = Attention(c.dim, c.num_heads, c.eps)
        self.cross_attn = Attention(c.dim, c.num_heads, c.eps)
        self.norm3 = nn.LayerNorm(c.dim, eps=c.eps)
        self.ffn = nn.Sequential(nn.Linear(c.dim, c.ffn_dim), TanhGELU(), nn.Linear(c.ffn_dim, c.dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, c.dim) / c.dim**0.5)

    def seen_text(self, embedded: Tensor) -> Seen:
        """What the block's text attention needs of embedded text [B, text_len, D]; it depends on the text only."""
        return self.cross_attn.seen(embedded)

    def modulated_by(self, level: Tensor) -> Modulation:
        """Projected time embedding [B, F, 6, D] -> shift, scale, gate around attention, then around the feed-forward."""
        return self._modulation_of(level)

    def _modulation_of(self, level: Tensor) -> Modulation:
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + level).unsqueeze(-2).unbind(2)
        return shift1, 1 + scale1, gate1, shift2, 1 + scale2, gate2

    def forward(
        self, segments: Sequence[Tensor], levels: Sequence[Modulation | Tensor], text: Seen, layer: int, context: Context
    ) -> list[Tensor]:
        """Segments [B, F, L, D] and for each (F or 1 frames) its modulation, or the level that `modulated_by` takes."""
        # Here and not in the caller: a sharded block has its parameters only while one of its own entries runs.
        modulations = [self._modulation_of(level) if isinstance(level, Tensor) else level for level in levels]
        attended = context.attend(layer, *self.before_attention(segments, modulations))
        return self.after_attention(segments, attended, modulations, text)

    def before_attention(
        self, segments: Sequence[Tensor], modulations: Sequence[Modulation]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, heads, S, d] of all tokens."""
        kind = segments[0].dtype
        normed = _joined([_modulate(x, m[0], m[1], self.eps).to(kind) for x, m in zip(segments, modulations, strict=True)])
        return self.self_attn.queries_keys_values(normed)

    def after_attention(
        self, segments: Sequence[Tensor], attended: Tensor, modulations: Sequence[Modulation], text: Seen
    ) -> list[Tensor]:
        """Segments as the block leaves them, from what attention gave [B, heads, S, d]."""
        out = self.self_attn.output(attended)
        if len(segments) == 1:
            return [self._after_attention(segments[0], out.view_as(segments[0]), modulations[0], text)]
        parts = out.split([x.shape[1] * x.shape[2] for x in segments], dim=1)
        return [
            self._after_attention(x, part.view_as(x), modulation, text)
            for x, part, modulation in zip(segments, parts, modulations, strict=True)
        ]

    def _after_attention(self, x: Tensor, attended: Tensor, modulation: Modulation, text: Seen) -> Tensor:
        _, _, gate1, shift2, scale2, gate2 = modulation
        kind = x.dtype
        # Weights in 16 bits: sums inside a block stay in float32, rounded once at its end. Autocast decides for itself.
        wide = kind if torch.is_autocast_enabled(x.device.type) else torch.promote_types(kind, torch.float32)
        x = torch.addcmul(x.to(wide), gate1.to(wide), attended.to(wide))
        x = self.cross_attn.cross(self.norm3(x.to(kind)).to(kind).flatten(1, 2), text, x.flatten(1, 2)).view_as(x)
        out = self.ffn(_modulate(x, shift2, scale2, self.eps).to(kind))
        return torch.addcmul(x, gate2.to(wide), out.to(wide)).to(kind)


class Head(nn.Module):
    """Tokens to velocity patches, modulated by the time embedding."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.eps = c.eps
        self.head = nn.Linear(c.dim, c.out_dim * math.prod(c.patch_size))
        self.modulation = nn.Parameter(torch.randn(1, 2, c.dim) / c.dim**0.5)

    def modulated_by(self, embedded: Tensor) -> Modulation:
        """Time embedding [..., D] -> shift and scale [..., 1, D]."""
        shift, scale = (self.modulation + embedded.unsqueeze(-2)).unsqueeze(-2).unbind(-3)
        return shift, 1 + scale

    def forward(self, x: Tensor, modulation: Modulation) -> Tensor:
        """x [B, F, L, D] -> [B, F, L, patch values]."""
        shift, scale = modulation
        return self.head(_modulate(x.to(self.head.weight.dtype), shift, scale, self.eps))


class S2VTransformer(nn.Module):
    """Velocity of noisy latents given a sink picture, a voice and a text (paper section 4; model sections 3 to 10)."""

    rotate = staticmethod(rotate)  # by a table of positions; streams take it from here (model/compiled.py replaces it)

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
        if c.motion == "packed":
            self.frame_packer = FramePacker(c)
        self.blocks = nn.ModuleList(TransformerBlock(c) for _ in range(c.num_layers))
        self.head = Head(c)
        self.residual = SinkResidual(c.out_dim) if c.predicts == "residual" else None
        self.casual_audio_encoder = CausalAudioEncoder(c.audio_layers, c.audio_dim, c.dim, c.num_audio_token)
        self.audio_injector = AudioInjector(c.dim, c.num_heads, c.audio_inject_layers, c.eps)

    # --- conditions ---------------------------------------------------------------------------------------------

    def encode_text(self, rows: Tensor) -> Sequence[Seen]:
        """Text rows [B, up to text_len, text_dim] -> what each layer sees of it; computed once per stream."""
        embedded = self.embed_text(rows)
        return [block.seen_text(embedded) for block in self.blocks]  # type: ignore[operator,union-attr]

    def embed_text(self, rows: Tensor) -> Tensor:
        """Text rows [B, up to text_len, text_dim] -> [B, text_len, D], the same for all layers.

        Missing rows are zero rows, which are attended to like words: the official model has no text mask.
        """
        missing = self.config.text_len - rows.shape[1]
        if missing < 0:
            raise ValueError(f"{rows.shape[1]} text rows exceed text_len {self.config.text_len}; cut the prompt")
        padded = F.pad(rows, (0, 0, 0, missing)).to(self.trainable_cond_mask.weight.dtype)
        return self.text_embedding(padded)

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
        text: Sequence[Seen],
        context: Context,
        cond: Tensor | None = None,
        motion: Tensor | None = None,
    ) -> Tensor:
        """Parallel call: velocity [B, C, F, H, W] of noisy x at times [B, F] (0..1000), beside the sink [B, C, 1, H, W].

        Tokens are ordered noisy, sink, motion; sink and motion tokens are modulated as at time 0. The context says who
        sees whom: everyone (teacher) or blocks their past. cond: [B, cond_dim, F or 1, H, W], None where there is no pose.
        motion: [B, C, T, H, W], the latents before the clip, oldest first; None: no motion tokens.
        """
        frames = x.shape[2]
        noisy, beside = self._tokens(self._entering(x, times, cond), NOISY, cond), self._conditioning(sink, motion)
        beside_sink = torch.cat([times, torch.zeros_like(times[:, :1])], dim=1)
        padded = F.pad(voice.pooled, (0, 0, 0, 1))  # the sink has no voice
        embedded, level = self._projected(self.embed_times(beside_sink), padded)
        # A lone sink has as many tokens as a noisy frame and is one frame more: one segment, no joining in every block.
        as_frame = motion is None
        segments = [torch.cat([noisy, beside], dim=1)] if as_frame else [noisy, beside]
        levels = [level] if as_frame else [level[:, :frames], level[:, frames:]]
        for layer, block in enumerate(self.blocks):
            segments = block(segments, levels, text[layer], layer, context)
            if self.audio_injector.injects_after(layer):
                moved, rest = self.audio_injector(layer, segments[0][:, :frames], voice), segments[0][:, frames:]
                segments[0] = torch.cat([moved, rest], dim=1) if as_frame else moved
        out = self.head(segments[0][:, :frames], self.head.modulated_by(embedded[:, :frames]))
        return self._velocity(out, x, times, cond)

    def prefill(self, sink: Tensor, text: Sequence[Seen], context: Context, motion: Tensor | None = None) -> None:
        """Run the sink [B, C, 1, H, W] and motion latents alone; `context` keeps each layer's keys and values."""
        segments = [self._conditioning(sink, motion)]
        levels = self.levels(self.embed_times(torch.zeros(sink.shape[0], 1, device=sink.device)))
        for layer, block in enumerate(self.blocks):
            segments = block(segments, [levels.blocks[layer]], text[layer], layer, context)

    def levels(self, embedded: Tensor, pooled: Tensor | None = None) -> Levels:
        """What embedded times [B, F, D], with the pooled voice if it counts, do to every layer."""
        embedded, projected = self._projected(embedded, pooled)
        rows = torch.cat([block.modulation for block in self.blocks])[:, None, None] + projected  # type: ignore[misc]
        rows[..., 1::3, :] += 1  # both scales
        return Levels(tuple(layer.unbind(2) for layer in rows.unsqueeze(-2).unbind(0)), self.head.modulated_by(embedded))

    def constants(self, time: float, cond: Tensor | None) -> StepConstants:
        """What `step` needs at one time (0..1000) beside `cond`, whatever the noisy latents and the voice are."""
        beside = self.trainable_cond_mask.weight[NOISY] + self.patch_embedding.bias  # type: ignore[operator]
        if cond is not None:
            beside = self._patches(self.cond_encoder, cond, self.cond_encoder.bias) + beside
        elif self.config.cond_dim:
            beside = beside + self.cond_encoder.bias  # type: ignore[operator]  # no pose is a pose of zeros
        if self.residual is None:
            return StepConstants(beside, None)
        level = _levels(torch.full((1, 1), time, dtype=torch.float64, device=beside.device))
        return StepConstants(beside, self.residual.at(_sink_in(cond), level))

    def step(
        self,
        x: Tensor,
        time: float,
        voice: Voice,
        text: Sequence[Seen],
        context: Context,
        cond: Tensor | None = None,
        levels: Levels | None = None,
        constants: StepConstants | None = None,
    ) -> Tensor:
        """Streaming call: velocity of one block x [B, C, F, H, W] at one time (0..1000); `context` holds the past.

        levels, constants: what `self.levels` and `self.constants` made of that time, where the caller keeps them.
        """
        if levels is None:
            times = torch.full((x.shape[0], 1), time, dtype=torch.float64, device=x.device)
            levels = self.levels(self.embed_times(times), voice.pooled)
        constants = constants or self.constants(time, cond)
        residual = constants.residual
        entering = x if residual is None else residual.enter(x)
        tokens = compute_dtype(self._patches(self.patch_embedding, entering, None) + constants.beside)
        for layer, block in enumerate(self.blocks):
            (tokens,) = block([tokens], [levels.blocks[layer]], text[layer], layer, context)
            tokens = self.audio_injector(layer, tokens, voice)
        out = self._latents(self.head(tokens, levels.head), x)
        return out if residual is None else residual.velocity(out, x)

    # --- parts --------------------------------------------------------------------------------------------------

    def _tokens(self, latents: Tensor, kind: int, cond: Tensor | None = None) -> Tensor:
        """[B, C, F, H, W] -> [B, F, L, D]."""
        bias = self.patch_embedding.bias + self.trainable_cond_mask.weight[kind]  # type: ignore[operator]
        tokens = self._patches(self.patch_embedding, latents, bias)
        if cond is not None:
            tokens = tokens + self._patches(self.cond_encoder, cond, self.cond_encoder.bias)
        elif kind == NOISY and self.config.cond_dim:
            tokens = tokens + self.cond_encoder.bias  # type: ignore[operator]  # no pose is a pose of zeros
        return compute_dtype(tokens)

    def _patches(self, embedding: nn.Conv3d, latents: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution `embedding`, whose patches do not overlap, as one product, and another bias: [B, F, L, D]."""
        weight = embedding.weight
        return F.linear(cut(latents.to(weight.dtype), self.config.patch_size), weight.flatten(1), bias)

    def _conditioning(self, sink: Tensor, motion: Tensor | None) -> Tensor:
        """Sink and motion tokens in one run [B, 1, c, D]."""
        reference = self._tokens(sink, REFERENCE)
        if motion is None:
            return reference
        if self.config.motion == "none":
            raise ValueError("this model has motion='none'; give no motion latents")
        recent = last_motion_latents(motion, self.config.motion_latents)
        if self.config.motion == "plain":
            tokens = self._tokens(recent, MOTION).flatten(1, 2)
        else:
            packed = self.frame_packer(recent.to(self.patch_embedding.weight.dtype))
            tokens = compute_dtype(packed + self.trainable_cond_mask.weight[MOTION])
        return torch.cat([reference, tokens.unsqueeze(1)], dim=2)

    def embed_times(self, times: Tensor) -> Tensor:
        """Times [B, F] in 0..1000 -> [B, F, D]."""
        features = timestep_features(times, self.config.freq_dim)
        if self.trainable_cond_mask.weight.dtype == torch.float64:  # gradients are compared in double precision
            features = features.double()
        return self.time_embedding(features)

    def _projected(self, embedded: Tensor, pooled: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embedded times and the pooled voice -> [..., B, F, D] for the head and [..., B, F, 6, D] for the blocks."""
        if self.config.voice_in_time and pooled is not None:
            if pooled.shape[0] != embedded.shape[-3]:
                given = f"{pooled.shape[0]} for {embedded.shape[-3]}"
                raise ValueError(f"voice_in_time hears one voice per sample, not {given}")
            embedded = embedded + self.voice_embedding(pooled)
        return embedded, self.time_projection(embedded).unflatten(-1, (6, -1))

    def _entering(self, x: Tensor, times: Tensor, cond: Tensor | None) -> Tensor:
        """What the patch embedding sees of noisy x."""
        return x if self.residual is None else self.residual.enter(x, _sink_in(cond), _levels(times))

    def _velocity(self, patches: Tensor, x: Tensor, times: Tensor, cond: Tensor | None) -> Tensor:
        """The head's patches -> velocity [B, C, F, H, W]."""
        out = self._latents(patches, x)
        return out if self.residual is None else self.residual.velocity(out, x, _sink_in(cond), _levels(times))

    def _latents(self, patches: Tensor, like: Tensor) -> Tensor:
        """[B, F, L, pt*ph*pw*C] (channel fastest) -> [B, C, F, H, W], of the size of `like`."""
        return join(patches, self.config.patch_size, self.config.out_dim, *like.shape[-2:])


def _sink_in(cond: Tensor | None) -> Tensor:
    assert cond is not None, "predicts='residual' needs the sink's latent as cond"
    return cond


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
