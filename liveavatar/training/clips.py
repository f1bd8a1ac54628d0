"""What every stage on latent clips shares: the trainable network, clips with their conditions, and the draws of these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.config import FRAMES_PER_LATENT, ProfileConfig
from liveavatar.model.attention import BlockCausalContext, Context, FullContext
from liveavatar.model.audio import HISTORY_ROWS
from liveavatar.model.positions import TokenGrid
from liveavatar.model.speech_encoder import SpeechEncoder
from liveavatar.model.text import HashedWords
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.flow import level_grid
from liveavatar.training.clip_network import ClipConditions, ClipNetwork
from liveavatar.training.data import (
    LatentBatch,
    LatentShards,
    clip_mels,
    padded,
    random_gain,
    read_dropped_text,
    shard_files,
    split,
    step_generator,
)
from liveavatar.training.recipes import ForcingOptions, SelfForcingOptions
from liveavatar.training.self_forcing import RolloutPlan, roll_out
from liveavatar.training.voice_stage import speech_encoder


class Generator(nn.Module):
    """All that a network needs: the transformer, its text rows, the learned "no voice" row, and the speech encoder.

    The speech encoder is not trained with them. Official networks read texts and voices that were encoded beforehand, and
    have the transformer only.
    """

    words: HashedWords | None
    speech: SpeechEncoder | None
    no_voice: nn.Parameter | None

    def __init__(self, profile: ProfileConfig, is_official: bool = False) -> None:
        super().__init__()
        c = profile.transformer
        self.transformer = S2VTransformer(c)
        self.words = None if is_official else HashedWords(c.text_dim, c.text_len)
        self.no_voice = None if is_official else nn.Parameter(torch.zeros(c.audio_dim))
        self.speech = None if is_official else speech_encoder(profile).requires_grad_(False)


@dataclass(frozen=True)
class ClipDraws:
    """The random choices about a batch's conditions."""

    sink: Tensor  # [B, z, 1, h, w]
    distance: int  # latent frames from the clip's last to the sink
    gain: Tensor  # [B, 1]
    drop_voice: Tensor  # [B] bool
    drop_text: Tensor  # [B] bool

    def rows(self, index: slice) -> ClipDraws:
        """Those of some clips."""
        parts = {name: part[index] for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **parts)  # type: ignore[arg-type]

    def to(self, device: torch.device) -> ClipDraws:
        """All of it on a device."""
        parts = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **parts)  # type: ignore[arg-type]

    def dropped(self) -> ClipDraws:
        """Without voice and text, for guidance. The sink is never dropped."""
        everywhere = torch.ones_like(self.drop_voice)
        return replace(self, drop_voice=everywhere, drop_text=everywhere)


class ClipStage:
    """Clips of a shard folder, training and held out, and how a network is called on them.

    device: where networks are; draws and batches are made on the CPU, so that they are the same everywhere, and moved.
    """

    device = torch.device("cpu")

    def __init__(self, profile: ProfileConfig, shards: Path, seed: int, batch: int, clips: ForcingOptions) -> None:
        train_files, held_files = split(shard_files(shards))
        self.profile, self.seed, self.batch, self.clips = profile, seed, batch, clips
        self.data, self.held = LatentShards(train_files), LatentShards(held_files)
        self.dropped_text = read_dropped_text(shards, profile.transformer.text_dim)

    def encode(self, model: Generator, batch: LatentBatch, draws: ClipDraws) -> ClipConditions:
        """A batch's conditions through a network's own encoders."""
        history, rows = self._voice_rows(model, batch, draws)
        text = model.transformer.encode_text(self._text_rows(model, batch, draws))
        return ClipConditions(draws.sink, model.transformer.encode_audio(rows, history), text)

    def _voice_rows(self, model: Generator, batch: LatentBatch, draws: ClipDraws) -> tuple[Tensor, Tensor]:
        """Features before the clip and of it, each [B, layers, C, rows]; a dropped voice is the learned row, or zeros."""
        if batch.audio_rows is not None:
            kept = torch.where(draws.drop_voice[:, None, None, None], 0, batch.audio_rows)
            return kept[..., :HISTORY_ROWS], kept[..., HISTORY_ROWS:]
        assert batch.samples is not None, "shards need `audio` or `audio_rows`; prepare them again"
        assert model.speech is not None, "a network without a speech encoder needs `audio_rows` shards"
        assert model.no_voice is not None
        mels = clip_mels(self.profile, batch.samples * draws.gain, FRAMES_PER_LATENT * batch.latents.shape[2])
        with torch.no_grad(), torch.autocast(mels.device.type, enabled=False):
            states = model.speech(mels)
        rows = torch.where(draws.drop_voice[:, None, None], model.no_voice, states).transpose(1, 2)[:, None]
        return rows[..., :HISTORY_ROWS], rows[..., HISTORY_ROWS:]

    def _text_rows(self, model: Generator, batch: LatentBatch, draws: ClipDraws) -> Tensor:
        """Text rows [B, n, text_dim]; a dropped text is the folder's negative prompt, or none."""
        if batch.text_rows is not None:
            given, instead = padded([batch.text_rows, self.dropped_text.to(batch.text_rows)])
            return torch.where(draws.drop_text[:, None, None], instead, given)
        assert batch.words is not None, "shards need `words` or `text_rows`; prepare them again"
        assert model.words is not None, "a network without word rows needs `text_rows` shards"
        return model.words(torch.where(draws.drop_text[:, None], -1, batch.words))

    def velocity(
        self, model: Generator, x: Tensor, levels: Tensor, conditions: ClipConditions, distance: int, attention: str
    ) -> Tensor:
        """Velocities of a clip x [B, z, F, h, w] at levels [B, F]; attention: "blocks" (causal) or "full" (teacher)."""
        cond = conditions.sink if self.profile.transformer.cond_source == "sink" else None
        context = self._context(x, distance, attention)
        return model.transformer(x, 1000 * levels, conditions.sink, conditions.voice, conditions.text, context, cond)

    def _context(self, x: Tensor, distance: int, attention: str) -> Context:
        frames, size = x.shape[2], (x.shape[3], x.shape[4])
        grid = TokenGrid(self.profile.transformer, *size)
        table = grid.frames(torch.cat([torch.arange(frames), torch.tensor([frames - 1 + distance])]))
        if attention == "full":
            return FullContext(table.to(x.device))
        block = self.profile.block_latents
        return BlockCausalContext(table.to(x.device), frames // block, block * grid.frame_tokens, self.clips.window_past)

    def draw_conditions(self, batch: LatentBatch, generator: torch.Generator) -> ClipDraws:
        """Sinks and their distance, loudness, and which conditions are dropped, as `self.clips` says."""
        o, count = self.clips, batch.latents.shape[0]
        low, high = o.sink_distance
        return ClipDraws(
            self._draw_sinks(batch, generator),
            int(torch.randint(low, high + 1, (1,), generator=generator)),
            random_gain(count, generator),
            torch.rand(count, generator=generator) < o.audio_drop,
            torch.rand(count, generator=generator) < o.text_drop,
        )

    def plain_conditions(self, batch: LatentBatch) -> ClipDraws:
        """As a stream starts: the first reference at the rollout's distance, recorded loudness, nothing dropped."""
        count = batch.latents.shape[0]
        kept = torch.zeros(count, dtype=torch.bool)
        distance = self.profile.rollout.sink_distance
        return ClipDraws(batch.references[:, 0].unsqueeze(2), distance, torch.ones(count, 1), kept, kept)

    def sampled(self, network: Generator, count: int) -> tuple[LatentBatch, Tensor]:
        """Held-out clips and what the causal network makes of their voices in the rollout's few steps, on the CPU."""
        batch = self.held.take(torch.arange(min(count, len(self.held))))
        draws = self.plain_conditions(batch)
        rollout, shape = self.profile.rollout, batch.latents.shape
        levels = level_grid(rollout.steps, rollout.shift, rollout.grid)[:-1]
        noise = torch.randn(shape, generator=step_generator(self.seed, "samples", 0)).to(self.device)
        plan = RolloutPlan(levels, len(levels) - 1, [noise] * len(levels), SelfForcingOptions(transition="euler"))
        clips = ClipNetwork(
            network.transformer, (shape[3], shape[4]), shape[2], self.profile.block_latents, self.clips.window_past,
            draws.distance,
        )  # fmt: skip
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False), torch.no_grad():
            conditions = self.encode(network, batch.to(self.device), draws.to(self.device))
            return batch, roll_out(clips, conditions, plan).float().cpu()

    def loss_weights(self, batch: LatentBatch, levels: Tensor) -> Tensor:
        """What each squared velocity error counts [B, z, F, h, w]: by channel, by place, by level [B, F]."""
        weights = mouth_weights(batch, self.clips.mouth_weight) * batch.channels[:, :, None, None, None]
        soft = (levels / self.clips.soft_level).clamp(max=1).square()
        return weights * soft[:, None, :, None, None]

    def _draw_sinks(self, batch: LatentBatch, generator: torch.Generator) -> Tensor:
        """Per clip: a 4-frame code of its own (as AAS makes), or a picture coded alone: calm, any, or just before."""
        count, _, frames = batch.latents.shape[:3]
        kind = torch.rand(count, generator=generator)
        own = torch.randint(frames, (count,), generator=generator)
        sinks = []
        for i in range(count):
            if kind[i] < self.clips.own_latent_sink:
                sinks.append(batch.latents[i, :, own[i]])
            elif kind[i] < self.clips.own_latent_sink + 0.1:
                sinks.append(batch.before[i, :, 0])
            else:
                sinks.append(batch.references[i, 0 if kind[i] < 0.75 else 1])
        return torch.stack(sinks).unsqueeze(2)


def mouth_weights(batch: LatentBatch, peak: float) -> Tensor:
    """1 + peak * nearness to the mouth [B, 1, F, h, w]; small mouths weigh more per cell, so that all sum alike.

    1 everywhere where no mouth is known.
    """
    if batch.mouth is None:
        return torch.ones_like(batch.latents[:, :1])
    height, width = batch.latents.shape[-2:]
    x0, y0, x1, y1 = batch.mouth.unbind(-1)
    rows = (torch.arange(height, device=batch.mouth.device) + 0.5) / height
    columns = (torch.arange(width, device=batch.mouth.device) + 0.5) / width
    spread_x, spread_y = (x1 - x0) / 2 + 0.5 / width, (y1 - y0) / 2 + 0.5 / height
    dy = (rows[None, None, :, None] - ((y0 + y1) / 2)[:, :, None, None]) / spread_y[:, :, None, None]
    dx = (columns[None, None, None] - ((x0 + x1) / 2)[:, :, None, None]) / spread_x[:, :, None, None]
    near = torch.exp(-0.5 * (dx.square() + dy.square()))
    share = near.mean((2, 3), keepdim=True)
    return (1 + peak * near * (0.06 / share).clamp(0.7, 5.0)).unsqueeze(1)
