"""A linear layer with a low-rank addition that is kept apart from it: one set of weights serves teacher and student."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class LoraLinear(nn.Module):
    """y = W x + bias + scale * B (A x); with scale 0 exactly the layer that it wraps.

    base: the wrapped layer [out, in]; down (A) [rank, in]; up (B) [out, rank].
    """

    def __init__(self, base: nn.Linear, down: Tensor, up: Tensor, scale: float) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Parameter(down, requires_grad=False), nn.Parameter(up, requires_grad=False)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        out = self.base(x)
        if self.scale == 0:
            return out
        added = F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))
        return out + (self.scale * added).to(out.dtype)


def set_lora_scale(model: nn.Module, factor: float) -> int:
    """Set the scale of every `LoraLinear` in `model` (0 = the base model) and tell how many there are."""
    layers = [module for module in model.modules() if isinstance(module, LoraLinear)]
    for layer in layers:
        layer.scale = factor
    return len(layers)
