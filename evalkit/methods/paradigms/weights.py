"""The weights of the teacher and of what was tuned from it: a weights folder like the generator's, with small additions.

`codec`, `light_decoder` and `generator` (the teacher) are as `python -m liveavatar.training export` writes them. A tuned
network is kept as what it has beyond the teacher; networks of the motion space are whole.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from liveavatar.checkpoints.store import MANIFEST, WeightsFolder, file_digest, open_weights
from liveavatar.checkpoints.variants import difference, varied

SHIPPED = Path(__file__).parent / "weights" / "nano"
TEACHER = "generator"
BASE_FILES = ("codec", "light_decoder", TEACHER)
NEW = ".new"
RANK = 24


def folder_of(given: str) -> Path:
    """The folder asked for, or the one that ships."""
    return Path(given) if given else SHIPPED


def lacking(folder: Path, names: tuple[str, ...]) -> list[str]:
    """Which of the files are not in a folder."""
    if not (folder / MANIFEST).is_file():
        return list(names)
    held = open_weights(folder).manifest["files"]
    return [name for name in names if name not in held]


def digests(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """sha256 of the files, as the manifest records them."""
    opened = open_weights(folder)
    return {name: opened.digest(name) for name in names}


def tuned_tensors(folder: WeightsFolder, name: str) -> dict[str, Tensor]:
    """All tensors of a network that was tuned from the teacher."""
    parts = folder.tensors(name)
    new = {key.removesuffix(NEW): value for key, value in parts.items() if key.endswith(NEW)}
    rest = {key: value for key, value in parts.items() if not key.endswith(NEW)}
    return varied(folder.tensors(TEACHER), rest) | new


def tuned_parts(teacher: dict[str, Tensor], tuned: dict[str, Tensor], rank: int = RANK) -> dict[str, Tensor]:
    """What to keep of a tuned network: leading directions of what changed, and whole what the teacher does not have."""
    shared = {name: tuned[name] for name in teacher}
    new = {f"{name}{NEW}": value for name, value in tuned.items() if name not in teacher}
    return difference(teacher, shared, rank) | new


def add_weights(folder: Path, name: str, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Put one network's file into a weights folder that is there already, and into its manifest."""
    file, partial = folder / f"{name}.safetensors", folder / f".{name}.partial"
    small = {key: value.to(torch.bfloat16).contiguous() for key, value in tensors.items()}
    save_file(small, partial)
    os.replace(partial, file)
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    content["files"][name] = {
        "sha256": file_digest(file),
        "bytes": file.stat().st_size,
        "parameters": sum(value.numel() for value in tensors.values()),
        **record,
    }
    partial = folder / ".manifest.partial"
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, folder / MANIFEST)
