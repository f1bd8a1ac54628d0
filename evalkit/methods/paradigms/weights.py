"""The weights of the teacher and of what was trained for the paradigms: small files beside the package's own.

The teacher is kept as what it has beyond the generator that the package ships, a tuned network as what it has beyond the
teacher; networks of the motion space are whole. Codec, decoder and words are the package's own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from evalkit.methods.paradigms import files
from evalkit.methods.paradigms.files import TEACHER, read_manifest
from liveavatar.checkpoints.store import MANIFEST, VARIED, WeightsFolder, file_digest, open_weights
from liveavatar.checkpoints.variants import difference, varied

NEW = ".new"
RANK = 24


@dataclass(frozen=True)
class WithTeacher(WeightsFolder):
    """The package's weights with the teacher in the generator's place. own: the folder that the teacher is in."""

    own: WeightsFolder

    def tensors(self, name: str) -> dict[str, Tensor]:
        """See `WeightsFolder`."""
        found = super().tensors(name)
        return varied(found, self.own.tensors(TEACHER)) if name == VARIED else found


def base_weights() -> WeightsFolder:
    """What the package ships."""
    return open_weights(files.base_folder())


def with_teacher(folder: Path) -> WithTeacher:
    """All networks of a teacher; raises WeightsError for a folder without one."""
    base = base_weights()
    return WithTeacher(base.path, base.manifest, open_weights(folder))


def tuned_tensors(folder: WithTeacher, name: str) -> dict[str, Tensor]:
    """All tensors of a network that was tuned from the teacher."""
    parts = folder.own.tensors(name)
    new = {key.removesuffix(NEW): value for key, value in parts.items() if key.endswith(NEW)}
    rest = {key: value for key, value in parts.items() if not key.endswith(NEW)}
    return varied(folder.tensors(VARIED), rest) | new


def teacher_parts(teacher: dict[str, Tensor], rank: int = RANK) -> dict[str, Tensor]:
    """What to keep of a teacher: what it has beyond the package's generator."""
    return difference(base_weights().tensors(VARIED), teacher, rank)


def tuned_parts(teacher: dict[str, Tensor], tuned: dict[str, Tensor], rank: int = RANK) -> dict[str, Tensor]:
    """What to keep of a tuned network: leading directions of what changed, and whole what the teacher does not have."""
    shared = {name: tuned[name] for name in teacher}
    new = {f"{name}{NEW}": value for name, value in tuned.items() if name not in teacher}
    return difference(teacher, shared, rank) | new


def add_weights(folder: Path, name: str, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Put one network's file into a weights folder, new or there already, and into its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    file, partial = folder / f"{name}.safetensors", folder / f".{name}.partial"
    small = {key: value.to(torch.bfloat16).contiguous() for key, value in tensors.items()}
    save_file(small, partial)
    os.replace(partial, file)
    content = {"profile": "nano", **read_manifest(folder), "base": files.base_digest()}
    content["files"][name] = {
        "sha256": file_digest(file),
        "bytes": file.stat().st_size,
        "parameters": sum(value.numel() for value in tensors.values()),
        **record,
    }
    partial = folder / ".manifest.partial"
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, folder / MANIFEST)
