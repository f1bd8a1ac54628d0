"""The nano face finder: where the faces of drawn characters are, on a coarse grid. Pure tensor code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evalkit.metrics.image_encoder import Residual, conv_unit


@dataclass(frozen=True)
class FaceFinderConfig:
    """Side of the square picture, channels, and pixels per cell."""

    side: int = 128
    widths: tuple[int, int, int, int] = (16, 32, 56, 80)
    cell_px: int = 8

    @property
    def cells(self) -> int:
        """Cells along a side."""
        return self.side // self.cell_px


class FaceFinderNet(nn.Module):
    """Pictures [n, 3, side, side] in -1..1 -> [n, 5, cells, cells]: face logit, then offsets of its box.

    `boxes` turns the offsets into pixels of that square.
    """

    def __init__(self, config: FaceFinderConfig | None = None):
        super().__init__()
        self.config = config = config or FaceFinderConfig()
        first, second, third, fourth = config.widths
        self.body = nn.Sequential(
            conv_unit(3, first, 5, 2),
            conv_unit(first, second, 3, 2),
            conv_unit(second, third, 3, 2),
            Residual(third),
            # Wider sight without a coarser grid.
            _wide_unit(third, fourth, 2),
            _wide_unit(fourth, fourth, 4),
        )
        self.head = nn.Conv2d(fourth, 5, 1)
        with torch.no_grad():
            self.head.bias[0] = -3.0  # type: ignore[index]  # most cells hold no face

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.body(pictures)).float()

    def boxes(self, out: Tensor) -> Tensor:
        """x0, y0, x1, y1 [n, 4, cells, cells] in pixels of the square."""
        return boxes_of(out[:, 1:], self.config)


def _wide_unit(inputs: int, outputs: int, dilation: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def cell_centres(config: FaceFinderConfig) -> Tensor:
    """x and y [2, cells, cells] of the cells' middles in pixels."""
    middle = (torch.arange(config.cells) + 0.5) * config.cell_px
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    return torch.stack([x, y])


def boxes_of(offsets: Tensor, config: FaceFinderConfig) -> Tensor:
    """Boxes in pixels of offsets [n, 4, cells, cells]: centre in cells, sides as powers of e times 32 px."""
    centres = cell_centres(config) + offsets[:, :2] * config.cell_px
    sides = offsets[:, 2:].clamp(-4, 2).exp() * 32
    return torch.cat([centres - sides / 2, centres + sides / 2], 1)


def offsets_of(boxes: Tensor, config: FaceFinderConfig) -> Tensor:
    """Inverse of `boxes_of` at every cell, for boxes [n, 4] in pixels."""
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    move = (centres[:, :, None, None] - cell_centres(config)) / config.cell_px
    return torch.cat([move, (sides / 32).log()[:, :, None, None].expand(-1, -1, config.cells, config.cells)], 1)
