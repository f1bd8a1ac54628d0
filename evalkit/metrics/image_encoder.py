"""The nano image encoder: one vector per picture in which a character stays itself. Pure tensor code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Input size, channels after each halving, and embedding length."""

    height: int = 128
    width: int = 96
    widths: tuple[int, int, int, int] = (24, 48, 96, 128)
    embedding: int = 128


class ImageEncoder(nn.Module):
    """Pictures [n, 3, height, width] in -1..1 -> embeddings [n, D] of length 1."""

    def __init__(self, config: ImageEncoderConfig | None = None):
        super().__init__()
        self.config = config = config or ImageEncoderConfig()
        first, second, third, fourth = config.widths
        self.body = nn.Sequential(
            conv_unit(3, first, 5, 2),
            conv_unit(first, second, 3, 2),
            conv_unit(second, third, 3, 2),
            Residual(third),
            conv_unit(third, fourth, 3, 2),
            Residual(fourth),
        )
        self.head = nn.Linear(2 * fourth, config.embedding)

    def features(self, pictures: Tensor) -> Tensor:
        """Pooled features [n, 2 * widths[-1]] before the head: mean and strongest response per channel."""
        maps = self.body(pictures)
        return F.layer_norm(_pool(maps), (2 * maps.shape[1],))

    def forward(self, pictures: Tensor) -> Tensor:
        return F.normalize(self.head(self.features(pictures)).float(), dim=-1)


class Residual(nn.Module):
    """x + two 3x3 convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            conv_unit(channels, channels, 3, 1),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.inner(maps))


def _pool(maps: Tensor) -> Tensor:
    maps = maps.float()
    return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)


def conv_unit(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution that keeps the size over `stride`, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
