"""Weights of the shipped nano networks: safetensors files whose sha256 must match their manifest.

`manifest.json` beside the files holds, per network: file, sha256, bytes, parameters, recipe, seed, steps, digest of
the training data and held-out numbers. Reading the manifest needs no torch.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from evalkit.metrics.base import Backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    Network = TypeVar("Network", bound=nn.Module)

NANO_WEIGHTS = Path(__file__).parent / "weights" / "nano"
MANIFEST = "manifest.json"
MAX_BYTES = 2_000_000


class WeightsError(RuntimeError):
    """Weights that are absent, altered or of another shape; the message says which and what to do."""


def nano_backbone(name: str) -> Backbone:
    """Name and digest of a shipped network, without loading it."""
    return Backbone(f"nano-{name}", manifest_entry(name)["sha256"], "nano")


def load_nano(name: str, network: Network, folder: Path = NANO_WEIGHTS) -> Network:
    """`network` with its shipped weights, float32, in evaluation mode; refuses altered or misfitting files."""
    try:
        network.load_state_dict(read_weights(name, folder))
    except RuntimeError as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{name} weights in {folder} do not fit this version's network: {error}") from error
    return network.eval().requires_grad_(False)


def read_weights(name: str, folder: Path = NANO_WEIGHTS) -> dict[str, Tensor]:
    """State dict of one nano network in float32, if its file is the one that the manifest describes."""
    from safetensors.torch import load

    entry = manifest_entry(name, folder)
    path = folder / entry["file"]
    content = path.read_bytes() if path.is_file() else b""
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        found = f"has sha256 {digest[:12]}..." if content else "is missing or empty"
        raise WeightsError(f"{path} {found}, but its manifest says {entry['sha256'][:12]}...: refused. {_advice(name)}")
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in load(content).items()}


def manifest_entry(name: str, folder: Path = NANO_WEIGHTS) -> dict[str, Any]:
    """The manifest's record of one network."""
    path = folder / MANIFEST
    entries = _read_manifest(path, path.stat().st_mtime_ns) if path.is_file() else {}
    if name not in entries:
        raise WeightsError(f"{path} has no weights named {name!r}. {_advice(name)}")
    return entries[name]


def ship_weights(name: str, state: dict[str, Tensor], record: dict[str, Any], folder: Path = NANO_WEIGHTS) -> Path:
    """Write a network and its manifest record (file, digest and size are added here).

    Matrices and kernels are stored in bfloat16; vectors (biases, norms and their statistics) stay float32.
    """
    from safetensors.torch import save

    content = save({key: _as_stored(tensor) for key, tensor in state.items()})
    if len(content) > MAX_BYTES:
        raise WeightsError(f"{name} takes {len(content):,} bytes; shipped weights stay under {MAX_BYTES:,}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    _replace(path, content)
    manifest = folder / MANIFEST
    entries = json.loads(manifest.read_text()) if manifest.is_file() else {}
    parameters = sum(t.numel() for t in state.values() if t.is_floating_point())
    entries[name] = {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": parameters,
        "dtype": "bfloat16",
        **record,
    }
    _replace(manifest, (json.dumps(entries, indent=2, sort_keys=True) + "\n").encode())
    return path


def _as_stored(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().contiguous()
    return tensor.bfloat16() if tensor.is_floating_point() and tensor.ndim > 1 else tensor


@cache
def _read_manifest(path: Path, changed_ns: int) -> dict[str, Any]:
    return json.loads(path.read_text())


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def _advice(name: str) -> str:
    return f"Install the package again, or train it: python -m evalkit.metrics.training {name} --help"
