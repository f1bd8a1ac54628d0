"""LoRA adapters for training: several by name on one frozen base, one of them active, or none.

Causality is a property of the call and not of weights, so one base serves student, critic and teacher (none active). This
holds only where all of them began as that base: a checkpoint names the base's digest. `model/lora.py` is the other side: a
published adapter at inference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.training.clips import Generator
from liveavatar.training.networks import CRITIC, STUDENT

ATTENTION = ("q", "k", "v", "o")
FEED_FORWARD = ("ffn.0", "ffn.2")


@dataclass
class _Switch:
    """Which adapter all layers of a base add; shared by them."""

    active: str | None = None


class LowRank(nn.Module):
    """B A of one layer: down (A) [rank, in], up (B) [out, rank]; up begins at zero, so a fresh adapter adds nothing."""

    def __init__(self, inner: int, outer: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inner)  # Kaiming's uniform one for a linear layer
        self.down = nn.Parameter((torch.rand(rank, inner, generator=generator) * 2 - 1) * bound)
        self.up = nn.Parameter(torch.zeros(outer, rank))

    def forward(self, x: Tensor) -> Tensor:
        """B (A x), in float32 masters' own type or autocast's."""
        return F.linear(F.linear(x.to(self.down.dtype), self.down), self.up)


class AdaptedLinear(nn.Module):
    """y = W x + bias + scale * B (A x) of the active adapter; exactly the wrapped layer while none is active."""

    def __init__(self, base: nn.Linear, switch: _Switch, scale: float) -> None:
        super().__init__()
        self.base, self.switch, self.scale = base, switch, scale
        self.adapters = nn.ModuleDict()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        out = self.base(x)
        if self.switch.active is None:
            return out
        return out + (self.scale * self.adapters[self.switch.active](x)).to(out.dtype)


class Adapters:
    """Roles on one base: "student" and "critic" are adapters, the teacher is the base itself."""

    def __init__(
        self, base: Generator, rank: int, alpha: float, seed: int = 0, names: Iterable[str] = (STUDENT, CRITIC)
    ) -> None:
        """Freezes the base and wraps its attention and feed-forward layers. Raises ValueError for a rank below 1."""
        if rank < 1:
            raise ValueError(f"rank={rank}: a LoRA adapter needs at least 1")
        self.base, self.switch = base.requires_grad_(False), _Switch()
        layers: dict[str, AdaptedLinear] = {}
        for name, layer in list(adapted_layers(base.transformer)):
            owner, _, leaf = name.rpartition(".")
            layers[name] = AdaptedLinear(layer, self.switch, alpha / rank)
            setattr(base.transformer.get_submodule(owner), leaf, layers[name])
        self.trained: dict[str, nn.Module] = {}
        for role in names:
            generator = torch.Generator().manual_seed(seed)
            view = nn.ModuleDict()
            for name, wrapped in layers.items():
                pair = LowRank(wrapped.base.in_features, wrapped.base.out_features, rank, generator)
                wrapped.adapters[role] = pair
                view[name.replace(".", "/")] = pair  # the same module: sharding one shards both
            self.trained[role] = view

    @contextmanager
    def use(self, role: str) -> Iterator[Generator]:
        """The base with the role's adapter added; with none for any other role."""
        before, self.switch.active = self.switch.active, role if role in self.trained else None
        try:
            yield self.base
        finally:
            self.switch.active = before


def adapted_layers(transformer: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Names and layers that get an adapter: projections of self, text and audio attention, and feed-forward."""
    for name, module in transformer.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        owner, _, leaf = name.rpartition(".")
        in_attention = (leaf in ATTENTION and owner.endswith(("self_attn", "cross_attn"))) or ".injector." in f".{owner}."
        if in_attention or name.endswith(FEED_FORWARD):
            yield name, module


def peft_names(adapter: dict[str, Tensor]) -> dict[str, Tensor]:
    """A trained adapter's tensors under the names of published files, which `checkpoints/lora.py` reads."""
    sides = {"down": "lora_A.weight", "up": "lora_B.weight"}
    named = {}
    for key, value in adapter.items():
        layer, _, side = key.rpartition(".")
        named[f"{layer.replace('/', '.')}.{sides[side]}"] = value.contiguous()
    return named
