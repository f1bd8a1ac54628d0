"""The nano rating network: five level logits for image quality and five for aesthetics, from one picture.

Pure tensor code. It answers as Q-Align does, in levels, so that the arithmetic after it is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evalkit.metrics.image_encoder import Residual, conv_unit
from evalkit.metrics.levels import LEVELS

TASKS = ("iqa", "ase")


@dataclass(frozen=True)
class QualityNetConfig:
    """Picture size and channels; the first convolution keeps full resolution, where blur and noise live."""

    height: int = 128
    width: int = 96
    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    hidden: int = 64


class QualityNet(nn.Module):
    """Pictures [n, 3, height, width] in -1..1 -> logits [n, 2, 5]: tasks in the order of TASKS, levels of LEVELS."""

    def __init__(self, config: QualityNetConfig | None = None):
        super().__init__()
        self.config = config = config or QualityNetConfig()
        first, second, third, fourth = config.widths
        self.body = nn.Sequential(
            conv_unit(3, first, 3, 1),
            conv_unit(first, second, 3, 2),
            conv_unit(second, third, 3, 2),
            Residual(third),
            conv_unit(third, fourth, 3, 2),
            Residual(fourth),
        )
        # Detail is judged by early maps, framing by where things are in the late ones.
        self.place = nn.Conv2d(fourth, third // 2, 1)
        pooled = 2 * (first + second + third) + 3 * fourth + third // 2 * 12
        self.heads = nn.ModuleDict(
            {
                task: nn.Sequential(nn.Linear(pooled, config.hidden), nn.ReLU(), nn.Linear(config.hidden, len(LEVELS)))
                for task in TASKS
            }
        )
        self.norm = nn.LayerNorm(pooled)

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.norm(self._pooled(pictures))
        return torch.stack([self.heads[task](features) for task in TASKS], 1)

    def _pooled(self, x: Tensor) -> Tensor:
        pooled: list[Tensor] = []
        for index, layer in enumerate(self.body):
            x = layer(x)
            if index in (0, 1, 3):
                pooled += [x.float().mean((2, 3)), x.float().std((2, 3))]
        late = x.float()
        pooled += [late.mean((2, 3)), late.std((2, 3)), late.amax((2, 3))]
        pooled.append(nn.functional.adaptive_avg_pool2d(self.place(x).float(), (4, 3)).flatten(1))
        return torch.cat(pooled, 1)
