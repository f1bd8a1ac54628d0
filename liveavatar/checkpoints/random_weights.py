"""Random weights that keep signals at about their size: to measure speed and memory, and to test, without real ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from liveavatar.checkpoints.load import replace_tensor

_GAINS = (
    ".gamma",
    "weight_g",
    "parametrizations.weight.original0",
    "casual_audio_encoder.weights",
    "latents_std",
    "residual.gain",
    "residual.scale",
)
_WEIGHTS = ("weight", "weight_v", "parametrizations.weight.original1")


def random_tensor(
    name: str, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A tensor on the generator's device: weights by fan-in, norms near one, biases and modulations small."""
    value = torch.randn(shape, generator=generator, device=generator.device)
    if name.endswith(_GAINS) or (name.endswith("weight") and len(shape) == 1):
        value = 1 + 0.1 * value
    elif name.endswith(_WEIGHTS) and len(shape) > 1:
        value = value / math.sqrt(math.prod(shape[1:]))
    else:
        value = 0.1 * value
    return value.to(dtype)


def fill_randomly(
    module: nn.Module, device: torch.device | str, dtype: torch.dtype = torch.float32, seed: int = 0
) -> nn.Module:
    """Replace every tensor of a module that stands on the meta device; the same seed and device give the same values.

    In evaluation mode and without gradients. One tensor at a time: no more memory than the module itself and its largest
    tensor in float32.
    """
    generator = torch.Generator(device=device).manual_seed(seed)
    for name, old in [*module.named_parameters(), *module.named_buffers()]:
        if old.is_meta:
            replace_tensor(module, name, random_tensor(name, tuple(old.shape), generator, dtype))
    return module.eval().requires_grad_(False)
