"""The published pickled files as safetensors: the same names, shapes and values, in a form that needs no unpickling."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from liveavatar.checkpoints.files import PickledFile, read_header
from liveavatar.checkpoints.official import OfficialFolder
from liveavatar.checkpoints.store import WeightsError


@dataclass(frozen=True)
class Conversion:
    """One file: what it was made from, and whether it was made now or found already there."""

    source: Path
    target: Path
    is_new: bool


def convert_folder(root: Path) -> list[Conversion]:
    """Convert every pickled file of a checkpoint folder that has no safetensors file beside it yet.

    Raises WeightsError when there is nothing to convert, or a file holds more than tensors or is damaged.
    """
    folder = OfficialFolder(root)
    pairs = [
        (folder.base / "Wan2.1_VAE.pth", folder.base / "Wan2.1_VAE.safetensors"),
        (folder.base / "models_t5_umt5-xxl-enc-bf16.pth", folder.base / "models_t5_umt5-xxl-enc-bf16.safetensors"),
        (folder.voice / "pytorch_model.bin", folder.voice / "model.safetensors"),
    ]
    there = [(source, target) for source, target in pairs if source.is_file()]
    if not there:
        names = ", ".join(source.name for source, _ in pairs)
        raise WeightsError(f"{root} holds none of {names}; nothing to convert")
    return [Conversion(source, target, convert(source, target)) for source, target in there]


def convert(source: Path, target: Path) -> bool:
    """Write `target` unless it already holds the same names, shapes and dtypes; True when it was written.

    The file appears whole or not at all.
    """
    pickled = PickledFile(source)
    if target.is_file() and read_header(target) == pickled.tensors:
        return False
    partial = target.with_name(f".{target.name}.partial")
    try:
        # Tensors of one file may share memory, which safetensors does not express: each gets its own.
        save_file({name: value.contiguous() for name, value in pickled.read(torch.device("cpu"))}, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return True
