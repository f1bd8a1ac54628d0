"""Official weights as files: the layouts with random or filled tensors, in a folder that the loaders accept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evalkit.metric_setup import MetricSetup
from evalkit.metrics import official_weights


def forget_published_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every entry be pinned on first use, as those are whose digest nobody published."""
    for name, entry in official_weights.OFFICIAL_WEIGHTS.items():
        files = tuple(replace(file, sha256=None, bytes=None) for file in entry.files)
        monkeypatch.setitem(official_weights.OFFICIAL_WEIGHTS, name, replace(entry, files=files))


def random_like(network: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors with the names and shapes of a network's, variances positive."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            made[name] = torch.zeros((), dtype=torch.int64)
        elif name.endswith("running_var"):
            made[name] = 0.5 + torch.rand(tensor.shape, generator=generator)
        else:
            fan = tensor[0].numel() if tensor.ndim > 1 else 1
            made[name] = torch.randn(tensor.shape, generator=generator) * (2 / fan) ** 0.5
    return made


def put(root: Path, weights: str, name: str, state: dict[str, torch.Tensor]) -> Path:
    """Save a state dict where a weights folder has it."""
    path = root / weights / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def official_setup(root: Path) -> MetricSetup:
    """Official networks from this folder."""
    return MetricSetup("official", str(root))
