"""Norms and the activation of a block, each in the form that is fastest where it runs; all forms equal to rounding."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TWICE = 2 * math.sqrt(2 / math.pi)


def is_plain_inference(x: Tensor) -> bool:
    """float32 on a CPU, nothing to differentiate, no compiler: where several kernels have a slower and a faster form."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
        return False
    return not torch.compiler.is_compiling()


@lru_cache(maxsize=8)
def _ones_zeros(width: int) -> tuple[Tensor, Tensor]:
    return torch.ones(width), torch.zeros(width)


@lru_cache(maxsize=8)
def _number(value: float) -> Tensor:
    """A number as a tensor, which saves converting it at every use."""
    return torch.tensor(value)


def layer_norm(x: Tensor, eps: float) -> Tensor:
    """LayerNorm over the last axis, without weights."""
    # Half the time with weights of one: torch has a vectorised loop for that case only.
    weight, bias = _ones_zeros(x.shape[-1]) if is_plain_inference(x) else (None, None)
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1 / rms of the last axis of float32 x on a CPU, [..., 1]; one pass over x, where torch's own norm makes three."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.addcmul(_number(eps), length, length, value=1 / x.shape[-1]).rsqrt_()


class RMSNorm(nn.Module):
    """x / rms(x) * weight over all channels, before the split into heads."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        if is_plain_inference(x) and self.weight.dtype == x.dtype:
            return (x * inverse_rms(x, self.eps)).mul_(self.weight)
        full = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = full * torch.rsqrt(full.square().mean(-1, keepdim=True) + self.eps)
        return normed.to(x.dtype) * self.weight.to(x.dtype)


class TanhGELU(nn.Module):
    """GELU in its tanh approximation, 0.5 x (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3), which is x sigmoid(2u)."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        if not is_plain_inference(x):
            return F.gelu(x, approximate="tanh")
        # Less than half the time of torch's own loop, which is not vectorised well.
        return torch.addcmul(_number(_TWICE), x, x, value=0.044715 * _TWICE).mul_(x).sigmoid_().mul_(x)
