"""Before stage 1: the speech encoder learns to say how the mouth moves, which the procedural world knows.

It stands in for what wav2vec2's pretraining gives the official model: states from which a small transformer can read
speech at once instead of finding it through pictures. The transformer's own audio encoder learns on top of it. Both are
kept, the readouts are thrown away; the speech encoder is never trained again.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.config import FRAMES_PER_LATENT, AudioConfig, ProfileConfig
from liveavatar.model.audio import HISTORY_ROWS, CausalAudioEncoder
from liveavatar.model.speech_encoder import SpeechEncoder
from liveavatar.training.data import LatentShards, clip_mels, random_gain, shard_files, split, step_generator

TRACKS = ("truth.mouth_open", "truth.mouth_wide", "truth.mouth_round")
NOISE = 0.1  # added to log-mel columns, so that no single bin is relied on


def speech_encoder(profile: ProfileConfig) -> SpeechEncoder:
    """The speech encoder of a profile whose voice front end is mel columns."""
    assert isinstance(profile.audio, AudioConfig)
    return SpeechEncoder(profile.audio.mel_bins, profile.audio.encoder_width)


class VoiceReader(nn.Module):
    """Both encoders and linear readouts of mouth shapes: a frame's from its state, four frames' from the other's outputs."""

    def __init__(self, profile: ProfileConfig) -> None:
        super().__init__()
        c = profile.transformer
        self.speech = speech_encoder(profile)
        self.from_state = nn.Linear(c.audio_dim, len(TRACKS))
        self.encoder = CausalAudioEncoder(c.audio_layers, c.audio_dim, c.dim, c.num_audio_token)
        values = FRAMES_PER_LATENT * len(TRACKS)
        self.from_local = nn.Linear(c.num_audio_token * c.dim, values)
        self.from_pooled = nn.Linear(c.dim, values)

    def forward(self, mels: Tensor) -> list[Tensor]:
        """Mel rows [B, CONTEXT_ROWS + HISTORY_ROWS + 4F, C] -> three readings of the tracks, each [B, 4F, tracks]."""
        states = self.speech(mels)
        rows = states.transpose(1, 2)[:, None]
        local, pooled = self.encoder(rows[..., HISTORY_ROWS:], rows[..., :HISTORY_ROWS])
        readings = self.from_local(local[:, :, :-1].flatten(2)), self.from_pooled(pooled)
        of_frames = [reading.unflatten(-1, (FRAMES_PER_LATENT, -1)).flatten(1, 2) for reading in readings]
        return [self.from_state(states[:, HISTORY_ROWS:]), *of_frames]


class VoiceStage:
    """Mean square error of all readouts on standardised tracks."""

    def __init__(self, profile: ProfileConfig, shards: Path, seed: int, batch: int) -> None:
        train_files, held_files = split(shard_files(shards))
        self.profile, self.seed, self.batch = profile, seed, batch
        self.model = VoiceReader(profile)
        self.data, self.held = LatentShards(train_files), LatentShards(held_files)
        tracks = self._tracks(self.data, slice(None))
        self.mean, self.spread = tracks.mean((0, 1)), tracks.std((0, 1))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """One batch of clips at random loudness, with a little noise."""
        generator = step_generator(self.seed, "voice", step)
        index = torch.randint(len(self.data), (self.batch,), generator=generator)
        mels, truth = self._clips(self.data, index, random_gain(self.batch, generator))
        readings = self.model(mels + NOISE * torch.randn(mels.shape, generator=generator))
        return sum(((reading - truth).square().mean() for reading in readings), torch.zeros(())), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Correlation with the true mouth opening over all held-out frames."""
        index = torch.arange(len(self.held))
        mels, truth = self._clips(self.held, index, torch.ones(len(index), 1))
        readings, names = model(mels), ("state", "local", "pooled")
        pairs = [torch.stack([reading[..., 0].flatten(), truth[..., 0].flatten()]) for reading in readings]
        return {f"open_r_{name}": torch.corrcoef(pair)[0, 1].item() for name, pair in zip(names, pairs, strict=True)}

    def _clips(self, data: LatentShards, index: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Mel rows and standardised tracks."""
        truth = (self._tracks(data, index) - self.mean) / self.spread
        samples = data.tensors["audio"][index].float() / 32768
        return clip_mels(self.profile, samples * gain, truth.shape[1]), truth

    def _tracks(self, data: LatentShards, index: Tensor | slice) -> Tensor:
        """[B, frames, tracks] of the clips, without the frame before each."""
        return torch.stack([data.tensors[name][index][:, 1:] for name in TRACKS], dim=-1)
