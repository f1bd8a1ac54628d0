"""A weights folder: one safetensors file per network and a manifest with digests and how each was made."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from liveavatar.checkpoints.variants import varied

MANIFEST = "manifest.json"
VARIED = "generator"  # the network that variants are of


class WeightsError(RuntimeError):
    """Weights are missing, damaged or of another shape; the message says which file and what to do."""


@dataclass(frozen=True)
class WeightsFolder:
    """A verified view of a folder written by `write_weights`."""

    path: Path
    manifest: dict[str, dict[str, object]]

    def digest(self, name: str) -> str:
        """The sha256 of one network's file, as recorded."""
        return str(self.manifest["files"][name]["sha256"])  # type: ignore[index]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """One network's tensors in float32, after its digest was checked."""
        file = self.path / f"{name}.safetensors"
        if name not in self.manifest["files"] or not file.exists():
            raise WeightsError(f"{file} is missing; reinstall the package or give --weights a complete folder")
        if file_digest(file) != self.digest(name):
            raise WeightsError(f"{file} does not match its recorded sha256; it is damaged or was replaced: reinstall it")
        return {key: value.float() if value.is_floating_point() else value for key, value in load_file(file).items()}

    def variants(self, name: str) -> list[str]:
        """The variants of one network that lie beside it."""
        return sorted(file.removeprefix(f"{name}-") for file in self.manifest["files"] if file.startswith(f"{name}-"))

    def varied_tensors(self, name: str, variant: str) -> dict[str, Tensor]:
        """One network's tensors as a variant has them; raises WeightsError naming those that there are."""
        if variant not in self.variants(name):
            known = ", ".join(self.variants(name)) or "none"
            raise WeightsError(f"{self.path} has no variant {variant!r} of {name}; it has: {known}")
        try:
            return varied(self.tensors(name), self.tensors(f"{name}-{variant}"))
        except ValueError as error:
            raise WeightsError(f"{self.path}: variant {variant!r} of {name}: {error}; export it again") from error

    def load_into(self, name: str, module: nn.Module, prefix: str = "", variant: str | None = None) -> None:
        """Fill a module from the tensors whose names begin with `prefix`, which the module's own names leave out.

        variant: of those networks that have variants; others are the same in all. Raises WeightsError naming missing,
        unknown or misshapen tensors, or the variants that there are.
        """
        is_varied = variant is not None and name == VARIED
        tensors = self.varied_tensors(name, str(variant)) if is_varied else self.tensors(name)
        try:
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        except RuntimeError as error:
            raise WeightsError(f"{self.path / name}.safetensors does not fit this model: {error}") from error


def open_weights(path: Path) -> WeightsFolder:
    """The weights folder at `path`; raises WeightsError when there is no manifest."""
    file = path / MANIFEST
    if not file.exists():
        raise WeightsError(f"{file} is missing; reinstall the package or train weights (python -m liveavatar.training)")
    return WeightsFolder(path, json.loads(file.read_text()))


def write_weights(
    path: Path, profile: str, parts: dict[str, dict[str, Tensor]], records: dict[str, dict[str, object]]
) -> None:
    """Write bf16 files and the manifest, each by rename; the manifest is last."""
    path.mkdir(parents=True, exist_ok=True)
    files: dict[str, dict[str, object]] = {}
    for name, tensors in parts.items():
        file, partial = path / f"{name}.safetensors", path / f".{name}.partial"
        save_file({key: _shrink(key, value) for key, value in tensors.items()}, partial)
        os.replace(partial, file)
        count = sum(value.numel() for value in tensors.values())
        files[name] = {"sha256": file_digest(file), "bytes": file.stat().st_size, "parameters": count, **records[name]}
    partial = path / ".manifest.partial"
    partial.write_text(json.dumps({"profile": profile, "files": files}, indent=1) + "\n")
    os.replace(partial, path / MANIFEST)


def file_digest(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shrink(name: str, value: Tensor) -> Tensor:
    """bf16, except latent statistics, where rounding would shift every picture."""
    keep = name.startswith("latents_") or not value.is_floating_point()
    return value.contiguous() if keep else value.to(torch.bfloat16).contiguous()
