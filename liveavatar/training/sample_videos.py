"""Sample videos on the way: held-out voices, the truth on the left and the averaged student's few-step clip on the right."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import ProfileConfig
from liveavatar.model.light_decoder import LightDecoder, LightStreamDecoder
from liveavatar.output import VideoWriter
from liveavatar.training import parallel
from liveavatar.training.data import LEAD_FRAMES, LatentBatch


class Samples(Protocol):
    """A stage that can show what its student makes."""

    profile: ProfileConfig

    def sample(self, count: int) -> tuple[LatentBatch, Tensor]:
        """Held-out clips and the student's own for their voices, [count, z, F, h, w], on the CPU."""


class SampleVideos:
    """Writes `folder/step-N-I.mp4`, called by the loop while the averaged weights are in place."""

    def __init__(self, stage: Samples, decoder: LightDecoder, folder: Path, count: int = 2) -> None:
        self.stage, self.decoder, self.folder, self.count = stage, decoder.eval(), folder, count

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        batch, clips = self.stage.sample(self.count)  # every process takes part where a model is sharded
        if not parallel.is_first():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        profile = self.stage.profile
        for index, clip in enumerate(clips):
            pair = [self._pictures(batch.before[index], latents) for latents in (batch.latents[index], clip)]
            sound = None
            if batch.samples is not None:
                sound = batch.samples[index, (LEAD_FRAMES + 1) * profile.samples_per_frame :].numpy()
            target = self.folder / f"step-{step:07d}-{index}.mp4"
            with VideoWriter(target, 2 * profile.width, profile.height, profile.fps, sound, profile.sample_rate) as video:
                video.write(np.concatenate(pair, axis=2))

    def _pictures(self, before: Tensor, latents: Tensor) -> np.ndarray:
        """uint8 [n, H, W, 3] of latents [z, F, h, w], the decoder primed with the frame before."""
        stream = LightStreamDecoder(self.decoder)
        stream.prime(before[None])
        pixels = stream.decode(latents[None].float())[0]
        return ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().numpy()
