"""Variants of a network in small files: what another training left differently, matrices by their leading directions.

Networks that were tuned from one another differ by little and in few directions, so the difference of a matrix is kept as
a product of two thin ones (`NAME.down` [rank, in], `NAME.up` [out, rank]); everything else whole (`NAME.diff`).
"""

from __future__ import annotations

import torch
from torch import Tensor

DOWN, UP, DIFF = ".down", ".up", ".diff"


def difference(base: dict[str, Tensor], other: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """What `other` has beyond `base`, same names and shapes; matrices by the best approximation of this rank.

    Tensors that are equal are left out. Raises ValueError when the two are not the same network.
    """
    shapes, others = ({name: value.shape for name, value in tensors.items()} for tensors in (base, other))
    if shapes != others:
        odd = sorted(name for name in shapes | others if shapes.get(name) != others.get(name))
        raise ValueError(f"not variants of one network: they differ in the shapes of {', '.join(odd[:5])}")
    parts: dict[str, Tensor] = {}
    for name, value in base.items():
        moved = other[name].float() - value.float()
        if not moved.any():
            continue
        matrix = moved.flatten(1) if moved.dim() > 1 else moved[:, None]
        if rank * sum(matrix.shape) >= matrix.numel():
            parts[name + DIFF] = moved
            continue
        u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
        root = s[:rank].sqrt()
        parts[name + UP], parts[name + DOWN] = (u[:, :rank] * root).float(), (root[:, None] * v[:rank]).float()
    return parts


def varied(base: dict[str, Tensor], parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The variant's tensors, from the base's and a `difference`; raises ValueError naming what does not fit."""
    found = dict(base)
    for name in {key.rpartition(".")[0] for key in parts}:
        if name not in base:
            raise ValueError(f"a variant of other weights: these have no {name}")
        value = base[name]
        moved = parts[name + DIFF] if name + DIFF in parts else (parts[name + UP].float() @ parts[name + DOWN].float())
        if moved.numel() != value.numel():
            raise ValueError(f"a variant of other weights: {name} has {value.numel()} values here, {moved.numel()} there")
        found[name] = value + moved.float().view_as(value)
    return found
