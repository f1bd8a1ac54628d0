"""Inception-v3 as FID uses it: the graph of TensorFlow's 2015-12-05 release under torchvision's parameter names.

It differs from torchvision's network: average pools do not count their padding, the last block pools by maximum, and
there are 1008 classes. `features` are the 2048 averages after the last block (Heusel et al. 2017).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 2048
CLASSES = 1008
SIZE_PX = 299
NORM_EPS = 0.001

Kernel = int | tuple[int, int]


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU; padding keeps the size unless `stride` or `pad` say otherwise."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel = 1, stride: int = 1, pad: bool | None = None):
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        is_padded = stride == 1 if pad is None else pad
        padding = (sides[0] // 2, sides[1] // 2) if is_padded else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches by name; each is a chain of ConvNorms, and their results are joined on channels in `forward`."""

    def _chain(self, prefix: str, x: Tensor, count: int) -> Tensor:
        for index in range(1, count + 1):
            x = self.get_submodule(f"{prefix}_{index}")(x)
        return x

    @staticmethod
    def average(x: Tensor) -> Tensor:
        """3 x 3 mean that leaves padding out of the count."""
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class BlockA(Block):
    """Mixed_5b to 5d."""

    def __init__(self, inputs: int, pooled: int):
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 64)
        self.branch5x5_1 = ConvNorm(inputs, 48)
        self.branch5x5_2 = ConvNorm(48, 64, 5)
        self.branch3x3dbl_1 = ConvNorm(inputs, 64)
        self.branch3x3dbl_2 = ConvNorm(64, 96, 3)
        self.branch3x3dbl_3 = ConvNorm(96, 96, 3)
        self.branch_pool = ConvNorm(inputs, pooled)

    def forward(self, x: Tensor) -> Tensor:
        five, double = self._chain("branch5x5", x, 2), self._chain("branch3x3dbl", x, 3)
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(self.average(x))], 1)


class BlockB(Block):
    """Mixed_6a: halves the size."""

    def __init__(self, inputs: int):
        super().__init__()
        self.branch3x3 = ConvNorm(inputs, 384, 3, 2)
        self.branch3x3dbl_1 = ConvNorm(inputs, 64)
        self.branch3x3dbl_2 = ConvNorm(64, 96, 3)
        self.branch3x3dbl_3 = ConvNorm(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch3x3(x), self._chain("branch3x3dbl", x, 3), F.max_pool2d(x, 3, 2)], 1)


class BlockC(Block):
    """Mixed_6b to 6e: long thin kernels."""

    def __init__(self, inputs: int, inner: int):
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 192)
        self.branch7x7_1 = ConvNorm(inputs, inner)
        self.branch7x7_2 = ConvNorm(inner, inner, (1, 7))
        self.branch7x7_3 = ConvNorm(inner, 192, (7, 1))
        self.branch7x7dbl_1 = ConvNorm(inputs, inner)
        self.branch7x7dbl_2 = ConvNorm(inner, inner, (7, 1))
        self.branch7x7dbl_3 = ConvNorm(inner, inner, (1, 7))
        self.branch7x7dbl_4 = ConvNorm(inner, inner, (7, 1))
        self.branch7x7dbl_5 = ConvNorm(inner, 192, (1, 7))
        self.branch_pool = ConvNorm(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        seven, double = self._chain("branch7x7", x, 3), self._chain("branch7x7dbl", x, 5)
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(self.average(x))], 1)


class BlockD(Block):
    """Mixed_7a: halves the size."""

    def __init__(self, inputs: int):
        super().__init__()
        self.branch3x3_1 = ConvNorm(inputs, 192)
        self.branch3x3_2 = ConvNorm(192, 320, 3, 2)
        self.branch7x7x3_1 = ConvNorm(inputs, 192)
        self.branch7x7x3_2 = ConvNorm(192, 192, (1, 7))
        self.branch7x7x3_3 = ConvNorm(192, 192, (7, 1))
        self.branch7x7x3_4 = ConvNorm(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._chain("branch3x3", x, 2), self._chain("branch7x7x3", x, 4), F.max_pool2d(x, 3, 2)], 1)


class BlockE(Block):
    """Mixed_7b, and 7c which pools by maximum."""

    def __init__(self, inputs: int, is_last: bool):
        super().__init__()
        self.is_last = is_last
        self.branch1x1 = ConvNorm(inputs, 320)
        self.branch3x3_1 = ConvNorm(inputs, 384)
        self.branch3x3_2a = ConvNorm(384, 384, (1, 3))
        self.branch3x3_2b = ConvNorm(384, 384, (3, 1))
        self.branch3x3dbl_1 = ConvNorm(inputs, 448)
        self.branch3x3dbl_2 = ConvNorm(448, 384, 3)
        self.branch3x3dbl_3a = ConvNorm(384, 384, (1, 3))
        self.branch3x3dbl_3b = ConvNorm(384, 384, (3, 1))
        self.branch_pool = ConvNorm(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        three, double = self.branch3x3_1(x), self._chain("branch3x3dbl", x, 2)
        pooled = F.max_pool2d(x, 3, 1, 1) if self.is_last else self.average(x)
        split = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        split += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *split, self.branch_pool(pooled)], 1)


class Inception(nn.Module):
    """Pictures float32 [n, 3, 299, 299], about -1..1, RGB -> features [n, 2048], never negative."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, pad=False)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, is_last=False)
        self.Mixed_7c = BlockE(2048, is_last=True)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.taps(pictures)["2048"]

    def taps(self, pictures: Tensor) -> dict[str, Tensor]:
        """Averages over space of the usual places, by their width: "64", "192", "768" and "2048"."""
        taps: dict[str, Tensor] = {}
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(pictures)))
        x = F.max_pool2d(x, 3, 2)
        taps["64"] = x.mean((2, 3))
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        taps["192"] = x.mean((2, 3))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        taps["768"] = x.mean((2, 3))
        taps["2048"] = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))
        return taps

    def logits(self, features: Tensor, with_bias: bool = True) -> Tensor:
        """Class scores [n, 1008] of features; the Inception score of the TensorFlow code leaves the bias out."""
        return F.linear(features, self.fc.weight, self.fc.bias if with_bias else None)
