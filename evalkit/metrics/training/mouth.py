"""Recipe of the mouth readout: regress opening, width and rounding of rendered clips from one picture each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evalkit.metrics.mouth import pearson
from evalkit.metrics.mouth_net import MouthNet
from evalkit.metrics.training.augment import happens
from evalkit.metrics.training.coded import pictures_through_codec
from evalkit.metrics.training.data import ShardSet
from evalkit.metrics.training.faces import crop_clip, training_crops, typical_box
from evalkit.metrics.training.loop import Task

TRACKS = ("mouth_open", "mouth_wide", "mouth_round")
TRACK_WEIGHTS = (1.0, 0.2, 0.2)
CLIPS_PER_STEP = 16
FRAMES_PER_CLIP = 24
CODED_SHARE = 0.12
SHAPE_WEIGHT = 0.05


class MouthTask(Task):
    """Squared error of the tracks, plus 1 - correlation of the opening inside each clip."""

    name = "mouth"
    network: MouthNet

    def __init__(self, train: ShardSet, held_out: ShardSet):
        self.network = MouthNet().to(memory_format=torch.channels_last)
        self.extra = nn.Module()
        self._train, self._held_out = train, held_out

    def loss(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        clips = torch.randint(len(self._train), (CLIPS_PER_STEP,), generator=generator).tolist()
        crops, targets = zip(*(self._clip(clip, generator) for clip in clips), strict=True)
        with torch.autocast("cpu", torch.bfloat16):
            read = self.network(torch.cat(crops).to(memory_format=torch.channels_last)).float()
        read, target = read.view(len(clips), -1, len(TRACKS)), torch.stack(targets)
        error = (
            (F.smooth_l1_loss(read, target, beta=0.1, reduction="none") * torch.tensor(TRACK_WEIGHTS)).sum(-1).mean()
        )
        similarity = _clipwise_correlation(read[..., 0], target[..., 0])
        loss = error + SHAPE_WEIGHT * (1 - similarity)
        return loss, {"error": error.item(), "correlation": similarity.item()}

    def validate(self) -> dict[str, Any]:
        correlations, ratios = [], []
        cells: dict[str, list[float]] = {}
        for clip in range(len(self._held_out)):
            true = self._held_out.track(clip, "mouth_open").numpy()
            if true.std() < 0.05:
                continue
            frames = self._held_out.frames(clip)
            crops = crop_clip(frames, typical_box(self._held_out.face_boxes(clip)), self.network.config.face_size)
            read = self.network(crops * 2 - 1)[:, 0].clamp(0, 1).numpy()
            info = self._held_out.infos[clip]
            correlations.append(pearson(read, true))
            ratios.append(float(read.std() / true.std()))
            cells.setdefault(f"{info.style}/{info.composition}", []).append(correlations[-1])
        return {
            "clips": len(correlations),
            "r_mean": float(np.mean(correlations)),
            "r_min": float(np.min(correlations)),
            "amplitude_ratio": float(np.mean(ratios)),
            "r_by_cell": {cell: round(float(np.mean(values)), 4) for cell, values in sorted(cells.items())},
        }

    def _clip(self, clip: int, generator: Generator) -> tuple[Tensor, Tensor]:
        frames = self._train.frames(clip)
        if happens(generator, CODED_SHARE):
            crf = int(torch.randint(18, 31, (1,), generator=generator))
            frames = torch.from_numpy(pictures_through_codec(frames.numpy(), crf))
        chosen = torch.randperm(len(frames), generator=generator)[:FRAMES_PER_CLIP]
        target = torch.stack([self._train.track(clip, name)[chosen] for name in TRACKS], dim=-1)
        return training_crops(self._train, clip, frames[chosen], self.network.config.face_size, generator), target


def _clipwise_correlation(read: Tensor, target: Tensor) -> Tensor:
    """Mean Pearson r over the rows [B, n] whose target moves."""
    read, target = read - read.mean(1, keepdim=True), target - target.mean(1, keepdim=True)
    moves = target.square().mean(1) > 0.01
    product = (read * target).sum(1) / (read.square().sum(1) * target.square().sum(1) + 1e-6).sqrt()
    return product[moves].mean() if moves.any() else product.sum() * 0
