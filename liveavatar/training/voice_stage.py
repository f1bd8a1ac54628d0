"""Before stage 1: the audio encoder learns to say how the mouth moves, which the procedural world knows.

It stands in for what wav2vec2's pretraining gives the official model: rows from which a small transformer can read
speech at once instead of finding it through pictures. Only the encoder is kept; the two readouts are thrown away.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.config import FRAMES_PER_LATENT, ProfileConfig
from liveavatar.model.audio import CausalAudioEncoder
from liveavatar.training.data import LatentShards, clip_voice, random_gain, shard_files, split, step_generator

TRACKS = ("truth.mouth_open", "truth.mouth_wide", "truth.mouth_round")


class VoiceReader(nn.Module):
    """The encoder and a linear readout of four frames' mouth shapes from each of its outputs."""

    def __init__(self, profile: ProfileConfig) -> None:
        super().__init__()
        c = profile.transformer
        self.encoder = CausalAudioEncoder(c.audio_layers, c.audio_dim, c.dim, c.num_audio_token)
        values = FRAMES_PER_LATENT * len(TRACKS)
        self.from_local = nn.Linear(c.num_audio_token * c.dim, values)
        self.from_pooled = nn.Linear(c.dim, values)

    def forward(self, rows: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [B, 1, C, 4F] -> two readings of the tracks, each [B, 4F, tracks]."""
        local, pooled = self.encoder(rows, history)
        readings = self.from_local(local[:, :, :-1].flatten(2)), self.from_pooled(pooled)
        return tuple(r.unflatten(-1, (FRAMES_PER_LATENT, -1)).flatten(1, 2) for r in readings)  # type: ignore[return-value]


class VoiceStage:
    """Mean square error of both readouts on standardised tracks."""

    def __init__(self, profile: ProfileConfig, shards: Path, seed: int, batch: int) -> None:
        train_files, held_files = split(shard_files(shards))
        self.profile, self.seed, self.batch = profile, seed, batch
        self.model = VoiceReader(profile)
        self.data, self.held = LatentShards(train_files), LatentShards(held_files)
        tracks = self._tracks(self.data, slice(None))
        self.mean, self.spread = tracks.mean((0, 1)), tracks.std((0, 1))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """One batch of clips at random loudness."""
        generator = step_generator(self.seed, "voice", step)
        index = torch.randint(len(self.data), (self.batch,), generator=generator)
        readings, truth = self._read(self.model, self.data, index, random_gain(self.batch, generator))
        return sum(((reading - truth).square().mean() for reading in readings), torch.zeros(())), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Correlation with the true mouth opening over all held-out frames."""
        index = torch.arange(len(self.held))
        readings, truth = self._read(model, self.held, index, torch.ones(len(index), 1))
        names = ("local", "pooled")
        pairs = [torch.stack([reading[..., 0].flatten(), truth[..., 0].flatten()]) for reading in readings]
        return {f"open_r_{name}": torch.corrcoef(pair)[0, 1].item() for name, pair in zip(names, pairs, strict=True)}

    def _read(
        self, model: nn.Module, data: LatentShards, index: Tensor, gain: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        truth = (self._tracks(data, index) - self.mean) / self.spread
        samples = data.tensors["audio"][index].float() / 32768
        rows, history = clip_voice(self.profile, samples * gain, truth.shape[1])
        return model(rows.transpose(1, 2)[:, None], history.transpose(1, 2)[:, None]), truth

    def _tracks(self, data: LatentShards, index: Tensor | slice) -> Tensor:
        """[B, frames, tracks] of the clips, without the frame before each."""
        return torch.stack([data.tensors[name][index][:, 1:] for name in TRACKS], dim=-1)
