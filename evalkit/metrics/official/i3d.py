"""I3D (RGB, Kinetics-400) as FVD uses it, under the parameter names of its common PyTorch ports.

The feature is the 400 class scores before softmax, averaged over time (Unterthiner et al. 2018). Batch norms have
epsilon 0.001 as in the original graph; some ports use 1e-5, which moves the scores by one per cent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 400
SIZE_PX = 224
MIN_FRAMES = 9
NORM_EPS = 0.001
PORT_NORM_EPS = 1e-5
"""The epsilon of the ports of VideoGPT and content-debiased FVD."""

Triple = tuple[int, int, int]

MIXED: dict[str, tuple[int, tuple[int, int, int, int, int, int]]] = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}
"""Input channels and the outputs of b0, b1a, b1b, b2a, b2b, b3b."""


class Unit(nn.Module):
    """Convolution, batch norm and ReLU; the last unit of the network has a bias and neither of the two."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, eps: float = NORM_EPS, is_last: bool = False
    ):
        super().__init__()
        self.kernel: Triple = (kernel,) * 3
        self.stride: Triple = (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=is_last)
        if not is_last:
            self.bn = nn.BatchNorm3d(outputs, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(pad_same(x, self.kernel, self.stride))
        return F.relu(self.bn(x)) if hasattr(self, "bn") else x


class Mixed(nn.Module):
    """Four branches joined on channels."""

    def __init__(self, inputs: int, outputs: tuple[int, int, int, int, int, int], eps: float):
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = outputs
        self.b0 = Unit(inputs, b0, eps=eps)
        self.b1a, self.b1b = Unit(inputs, b1a, eps=eps), Unit(b1a, b1b, 3, eps=eps)
        self.b2a, self.b2b = Unit(inputs, b2a, eps=eps), Unit(b2a, b2b, 3, eps=eps)
        self.b3b = Unit(inputs, b3b, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool_same(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class I3D(nn.Module):
    """Clips float32 [n, 3, T, 224, 224] in -1..1, RGB, T >= 9 -> class scores [n, 400]."""

    def __init__(self, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.logits = Unit(1024, CLASSES, is_last=True)
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2, eps)
        self.Conv3d_2b_1x1 = Unit(64, 64, eps=eps)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3, eps=eps)
        for name, (inputs, outputs) in MIXED.items():
            self.add_module(name, Mixed(inputs, outputs, eps))

    def forward(self, clips: Tensor) -> Tensor:
        return self.steps(clips).mean(2)

    def steps(self, clips: Tensor) -> Tensor:
        """Class scores [n, 400, T'] before the mean over time; T' = ceil(T / 8) - 1."""
        return self.logits(self.pooled(clips)).flatten(2)

    def pooled(self, clips: Tensor) -> Tensor:
        """[n, 1024, T', 1, 1]: the average pool before the class scores. Raises ValueError for another picture size."""
        if clips.ndim != 5 or clips.shape[1] != 3 or clips.shape[3:] != (SIZE_PX, SIZE_PX) or clips.shape[2] < MIN_FRAMES:
            raise ValueError(
                f"clips of shape {tuple(clips.shape)}; I3D takes [n, 3, T >= {MIN_FRAMES}, {SIZE_PX}, {SIZE_PX}] in -1..1"
            )
        x = max_pool_same(self.Conv3d_1a_7x7(clips), (1, 3, 3), (1, 2, 2))
        x = max_pool_same(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name == "Mixed_4b":
                x = max_pool_same(x, (3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                x = max_pool_same(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        return F.avg_pool3d(x, (2, 7, 7), (1, 1, 1))


def pad_same(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Zeros around [n, C, T, H, W] as TensorFlow's SAME puts them for this very size: the odd one behind."""
    padding: list[int] = []
    for size, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max(k - s, 0) if size % s == 0 else max(k - size % s, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding) if any(padding) else x


def max_pool_same(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Maximum with SAME padding; inputs come from a ReLU, so that zeros never win."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)
