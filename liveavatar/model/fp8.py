"""Linear layers in 8-bit floating point (e4m3): one scale per weight, one per activation and call.

Applied to a finished model from outside (`quantise_linears`), as the release does to every linear layer but the
embeddings of text and time, the head and the audio encoder's last layer. Where a device has no scaled 8-bit product the
same rounding is computed and multiplied in the activation's own precision: slower, but the same function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.model.attention import compute_dtype

FORMAT = torch.float8_e4m3fn
LARGEST = 448.0  # of the format
MULTIPLE = 16  # scaled products need both sides of the weight to be multiples of this
RELEASED_EXCLUSIONS = (
    "text_embedding",
    "time_embedding",
    "time_projection",
    "head",
    "casual_audio_encoder.encoder.final_linear",
)


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """x -> (x * scale in e4m3, 1 / scale as float32 [1]); nothing waits for the device.

    scale = 448 / max|x|, but at most 448: as in the release, tensors with max|x| < 1 do not use the whole range.
    """
    largest = x.abs().amax().float().clamp_min(1e-12)
    scale = (LARGEST / largest).clamp_max(LARGEST)
    scaled = (x.float() * scale).clamp(-LARGEST, LARGEST)
    return scaled.to(FORMAT), scale.reciprocal().view(1)


def dequantise(q: Tensor, inverse_scale: Tensor) -> Tensor:
    """The float32 values that `quantise` stands for."""
    return q.float() * inverse_scale


@lru_cache(maxsize=16)
def has_scaled_product(device: torch.device) -> bool:
    """Whether `device` multiplies e4m3 matrices; found out by one small product. The CPU's is slower than the reference."""
    if device.type in ("cpu", "meta"):
        return False
    ones = torch.ones(MULTIPLE, MULTIPLE, device=device).to(FORMAT)
    scale = torch.ones(1, device=device)
    try:
        _scaled_product(ones, scale, ones, scale, None, torch.bfloat16)
    except (RuntimeError, NotImplementedError):
        return False
    return True


def _scaled_product(
    x: Tensor, x_inverse: Tensor, weight: Tensor, weight_inverse: Tensor, bias: Tensor | None, out_dtype: torch.dtype
) -> Tensor:
    """x [S, in], weight [out, in], both e4m3 -> [S, out]."""
    return torch._scaled_mm(
        x, weight.t(), scale_a=x_inverse, scale_b=weight_inverse, bias=bias, out_dtype=out_dtype, use_fast_accum=True
    )


class Fp8Linear(nn.Module):
    """A linear layer [out, in] whose weight is stored in e4m3 and whose input is rounded to e4m3 at every call.

    The weight's bits are kept as integers, and its scale in float32, so that `.to(dtype)` of the model leaves them alone.
    """

    bits: Tensor
    inverse_scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight, inverse_scale = quantise(layer.weight.detach())
        self.register_buffer("bits", weight.view(torch.uint8))
        self.register_buffer("inverse_scale", inverse_scale)
        self.bias = layer.bias
        self.multiplies_bits = has_scaled_product(weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out] in x's dtype (autocast's where it is on)."""
        x = compute_dtype(x)
        q, inverse_scale = quantise(x)
        weight = self.bits.view(FORMAT)
        if not self.multiplies_bits:
            return self._reference(dequantise(q, inverse_scale), dequantise(weight, self.inverse_scale)).to(x.dtype)
        # The product adds a bias only in 16-bit outputs.
        inside = self.bias if self.bias is not None and self.bias.dtype == x.dtype == torch.bfloat16 else None
        rows = q.reshape(-1, self.in_features)
        out = _scaled_product(rows, inverse_scale, weight, self.inverse_scale, inside, x.dtype)
        if self.bias is not None and inside is None:
            out = out + self.bias.to(out.dtype)
        return out.view(*x.shape[:-1], self.out_features)

    def _reference(self, x: Tensor, weight: Tensor) -> Tensor:
        """The product of the rounded values in float32."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, weight, None if self.bias is None else self.bias.float())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Fp8Linear:
        inverse_scale = self.inverse_scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.inverse_scale = inverse_scale.to(self.bits.device)
        self.multiplies_bits = has_scaled_product(self.bits.device)
        return self

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


@dataclass(frozen=True)
class QuantisationReport:
    """Names of the layers that were replaced, and of those left because their sides are no multiples of 16."""

    quantised: tuple[str, ...]
    unfit: tuple[str, ...]


def quantise_linears(model: nn.Module, exclude: tuple[str, ...] = RELEASED_EXCLUSIONS) -> QuantisationReport:
    """Replace every `nn.Linear` of `model` by an `Fp8Linear`, in place, one at a time.

    exclude: module names; a layer stays as it is if it is one of them or lies inside one of them. Raises ValueError for
    names that the model does not have, since they would protect nothing.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    known = {name for name, _ in model.named_modules()}
    if foreign := [name for name in exclude if name not in known]:
        raise ValueError(f"exclude names {', '.join(foreign)}, which {type(model).__name__} does not have")
    inside = tuple(f"{name}." for name in exclude)
    quantised, unfit = [], []
    for name, layer in layers.items():
        if name in exclude or name.startswith(inside):
            continue
        if layer.in_features % MULTIPLE or layer.out_features % MULTIPLE:
            unfit.append(name)
            continue
        owner_name, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner_name), leaf, Fp8Linear(layer))
        quantised.append(name)
    return QuantisationReport(tuple(quantised), tuple(unfit))
