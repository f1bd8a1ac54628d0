"""The nano clip encoder: one vector per 16 pictures in which both looks and motion show. Pure tensor code.

Space and time are convolved in turns, so that a small network sees all 16 pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLIP_FRAMES = 16


@dataclass(frozen=True)
class ClipEncoderConfig:
    """Picture size and channels after each halving of space."""

    height: int = 64
    width: int = 48
    widths: tuple[int, int, int, int] = (24, 48, 80, 112)


class ClipEncoder(nn.Module):
    """Clips [n, 3, 16, height, width] in -1..1 -> features [n, 2 * widths[-1]] of mean 0 and deviation 1."""

    def __init__(self, config: ClipEncoderConfig | None = None):
        super().__init__()
        self.config = config = config or ClipEncoderConfig()
        first, second, third, fourth = config.widths
        self.body = nn.Sequential(
            _unit(3, first, (3, 5, 5), (1, 2, 2)),
            _unit(first, second, (1, 3, 3), (1, 2, 2)),
            _unit(second, second, (3, 1, 1), (1, 1, 1)),
            _unit(second, third, (1, 3, 3), (1, 2, 2)),
            _unit(third, third, (3, 1, 1), (2, 1, 1)),
            SpaceTime(third),
            _unit(third, fourth, (1, 3, 3), (1, 2, 2)),
            _unit(fourth, fourth, (3, 1, 1), (2, 1, 1)),
        )

    @property
    def features(self) -> int:
        """Length of the feature vector."""
        return 2 * self.config.widths[-1]

    def forward(self, clips: Tensor) -> Tensor:
        maps = self.body(clips).float()
        pooled = torch.cat([maps.mean((2, 3, 4)), maps.amax((2, 3, 4))], 1)
        return F.layer_norm(pooled, pooled.shape[1:])


class SpaceTime(nn.Module):
    """x + a convolution in space and one in time."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            _unit(channels, channels, (1, 3, 3), (1, 1, 1)),
            nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.inner(maps))


def _unit(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
    )
