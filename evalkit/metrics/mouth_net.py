"""A small network that reads how open a mouth is from one face crop. Pure tensor code, one picture at a time."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class MouthNetConfig:
    """Crop size (height, width) and channels of the four convolutions; `outputs`: opening, width, rounding."""

    face_size: tuple[int, int] = (36, 56)
    widths: tuple[int, int, int, int] = (24, 40, 64, 64)
    hidden: int = 96
    outputs: int = 3


class MouthNet(nn.Module):
    """Face crops [n, 3, *face_size] in -1..1 -> mouth tracks [n, outputs], about 0..1, opening first."""

    def __init__(self, config: MouthNetConfig | None = None):
        super().__init__()
        self.config = config = config or MouthNetConfig()
        first, second, third, fourth = config.widths
        self.body = nn.Sequential(
            *_conv(3, first, 5, 2),
            *_conv(first, second, 3, 2),
            *_conv(second, third, 3, 1),
            nn.MaxPool2d(2),
            *_conv(third, fourth, 3, 1),
        )
        # Positions are kept: where the lips are is what is read.
        rows, columns = (_halved(_halved(side)) // 2 for side in config.face_size)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(fourth * rows * columns, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.outputs),
        )

    def forward(self, faces: Tensor) -> Tensor:
        return self.head(self.body(faces))


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def _halved(side: int) -> int:
    return (side + 1) // 2
