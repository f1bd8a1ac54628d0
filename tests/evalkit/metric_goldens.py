"""Golden data of the metrics: where they are, and the formula that fills networks whose weights cannot be had."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[3] / "shared" / "golden")) / "metrics"
needs_goldens = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no golden data in {FOLDER}; set GOLDEN_DIR")

Shapes = Mapping[str, tuple[int, ...]]
_CHUNK = 1 << 20


def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of NAME.npz."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def facts(name: str) -> Any:
    """NAME.json."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def shapes_of(keys: list[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    """Shapes by name of a layout's list of keys, in its order."""
    return {entry["name"]: tuple(entry["shape"]) for entry in keys}


def uniform(count: int, stream: int) -> np.ndarray:
    """u(0..count - 1; stream) float64 in [0, 1): a 64-bit integer hash, no random generator."""
    out = np.empty(count)
    constant = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        offset = np.uint64((stream << 32) & (2**64 - 1))
        for start in range(0, count, _CHUNK):
            k = np.arange(start, min(count, start + _CHUNK), dtype=np.uint64)
            z = (k + offset) * constant + constant
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
            out[start : start + len(k)] = (z >> np.uint64(11)).astype(np.float64) / 2**53
    return out


def filled(name: str, shape: tuple[int, ...], stream: int) -> torch.Tensor:
    """One tensor by the rule of its name and shape."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    u = uniform(int(np.prod(shape)), stream)
    if len(shape) > 1:
        values = (2 * u - 1) * np.sqrt(6 / np.prod(shape[1:]))
    elif name.endswith("running_var") or (name.endswith("weight") and not name.endswith("running_mean")):
        values = 0.5 + u
    else:
        values = 0.2 * u - 0.1
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def filled_by_order(shapes: Shapes, first_stream: int) -> dict[str, torch.Tensor]:
    """A state dict whose i-th tensor uses stream `first_stream` + i."""
    return {name: filled(name, shape, first_stream + index) for index, (name, shape) in enumerate(shapes.items())}


def filled_by_name(shapes: Shapes, seed: int) -> dict[str, torch.Tensor]:
    """A state dict whose tensors use streams named after their keys."""
    return {name: filled(name, shape, stream_of(seed, name)) for name, shape in shapes.items()}


def stream_of(seed: int, name: str) -> int:
    """First four bytes of sha256 of "SEED:NAME"."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big")


def digest_of(state: Mapping[str, torch.Tensor]) -> str:
    """sha256 over the float32 bytes of all tensors but the counters, in order."""
    found = hashlib.sha256()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            found.update(tensor.numpy().astype("<f4").tobytes())
    return found.hexdigest()


def relative_error(value: torch.Tensor | np.ndarray, reference: np.ndarray) -> float:
    """Largest difference over the reference's largest value."""
    value = np.asarray(value, np.float64)
    assert value.shape == reference.shape, (value.shape, reference.shape)
    return float(np.abs(value - reference).max() / np.abs(reference).max())


def block_means(network: torch.nn.Module, names: Iterator[str] | list[str]) -> dict[str, torch.Tensor]:
    """Filled by running the network: the mean over time and space of the output of each named part."""
    means: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _given, out: means.__setitem__(name, out[0].flatten(1).mean(1))

    for name in names:
        network.get_submodule(name).register_forward_hook(keep(name))
    return means
