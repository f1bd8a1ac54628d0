"""Numbers by which a student's clips are compared with true ones on the way, taken from latents: no picture is decoded.

A latent channel weighs what it shows (its component's length in pixels), so differences of weighted latents are
differences of pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liveavatar.config import FRAMES_PER_LATENT
from liveavatar.training.clips import mouth_weights
from liveavatar.training.data import LatentBatch, LatentShards

READOUT_CLIPS = 256
RIDGE = 1e-2
OPENING = "truth.mouth_open"


class ClipMeasures:
    """Ratios of a student's clips to the truth of the same voices, and a linear readout of mouths fitted to true clips."""

    def __init__(self, data: LatentShards, block_latents: int = 3) -> None:
        """Shards without the true mouth opening give no readout."""
        self.block_latents = block_latents
        self.readout: Tensor | None = None
        count = min(READOUT_CLIPS, len(data))
        batch = data.take(torch.arange(count))
        if batch.opening is not None and batch.mouth is not None:
            seen, truth = self._around_mouth(batch, batch.latents), _per_latent(batch.opening)
            seen, truth = seen.flatten(0, 1).double(), truth.flatten(0, 1).double()
            square = seen.T @ seen + RIDGE * len(seen) * torch.eye(seen.shape[1], dtype=torch.float64)
            self.readout = torch.linalg.solve(square, seen.T @ truth).float()

    def compare(self, batch: LatentBatch, clip: Tensor) -> dict[str, float]:
        """Clip [B, z, F, h, w] made for a batch's voices, against the batch's own latents.

        motion, spread: change between latent frames, and spread over a clip's time, of the truth's. border: change
        across block borders over that inside blocks, and the same of the truth. mouth_r: correlation of the opening read
        from the clip with the true one; mouth_r_truth: of that read from the truth.
        """
        mine, true = self._shown(batch, clip), self._shown(batch, batch.latents)
        figures = {
            "motion": _change(mine).mean().div(_change(true).mean()).item(),
            "spread": mine.std(2).mean().div(true.std(2).mean()).item(),
            "border": self._border(mine),
            "border_truth": self._border(true),
            "contrast": mine.std((3, 4)).mean().div(true.std((3, 4)).mean()).item(),
        }
        if self.readout is not None and batch.opening is not None:
            truth = batch.opening.flatten()
            for name, latents in (("mouth_r", clip), ("mouth_r_truth", batch.latents)):
                read = (self._around_mouth(batch, latents) @ self.readout).flatten()
                figures[name] = torch.corrcoef(torch.stack([read, truth]))[0, 1].item()
        return figures

    def _shown(self, batch: LatentBatch, latents: Tensor) -> Tensor:
        return latents.float() * batch.channels[:, :, None, None, None]

    def _border(self, shown: Tensor) -> float:
        change = _change(shown).mean(0)
        is_border = torch.arange(1, shown.shape[2]) % self.block_latents == 0
        return (change[is_border].mean() / change[~is_border].mean()).item()

    def _around_mouth(self, batch: LatentBatch, latents: Tensor) -> Tensor:
        """Latents averaged around the mouth, and 1: [B, F, z + 1]."""
        near = mouth_weights(batch, 1.0) - 1
        mean = (latents.float() * near).sum((3, 4)) / near.sum((3, 4))
        return torch.cat([mean.transpose(1, 2), torch.ones_like(mean[:, :1]).transpose(1, 2)], dim=2)


def _change(shown: Tensor) -> Tensor:
    """Root mean square change from each latent frame to the next [B, F - 1]."""
    return shown.diff(dim=2).square().mean((1, 3, 4)).sqrt()


def _per_latent(frames: Tensor) -> Tensor:
    """A track [B, 4F] -> [B, F, 4]."""
    return frames.unflatten(1, (-1, FRAMES_PER_LATENT))
