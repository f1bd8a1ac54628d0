"""Shards of the nano world as random-access clips: pictures are read from the file when asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

AUDIO_LEAD_FRAMES = 16
SAMPLES_PER_FRAME = 640
METADATA_KEY = "genbench"


@dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip without reading its pictures."""

    style: str
    composition: str
    kind: str


class ShardSet:
    """All clips of some shard files, numbered in file order."""

    def __init__(self, paths: list[Path]):
        if not paths:
            raise ValueError("no shards given; write some with: python -m genbench shards --clips 2500 --out DIR")
        self.paths = list(paths)
        self._files = [safe_open(str(path), framework="pt") for path in self.paths]
        self._records = [json.loads(file.metadata()[METADATA_KEY]) for file in self._files]
        self._places = [
            (shard, row) for shard, record in enumerate(self._records) for row in range(len(record["styles"]))
        ]
        self._cache: dict[tuple[int, str], Tensor] = {}

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def infos(self) -> list[ClipInfo]:
        return [
            ClipInfo(r["styles"][row], r["compositions"][row], r["kinds"][row])
            for shard, row in self._places
            for r in [self._records[shard]]
        ]

    @cached_property
    def digest(self) -> str:
        """sha256 over names, sizes and records of the files (shards are a pure function of their record)."""
        content = [
            [path.name, path.stat().st_size, record] for path, record in zip(self.paths, self._records, strict=True)
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def frames(self, clip: int) -> Tensor:
        """Pictures uint8 [F, H, W, 3]."""
        return self._large(clip, "frames")

    def references(self, clip: int) -> Tensor:
        """Two pictures of the same character at other moments, uint8 [2, H, W, 3]."""
        return self._large(clip, "references")

    def audio(self, clip: int) -> np.ndarray:
        """Sound int16 [n] that starts AUDIO_LEAD_FRAMES before the first picture."""
        audio = self._small(clip, "audio")
        return (audio if audio.dtype == torch.int16 else (audio.float() * 32767).round().short()).numpy()

    def track(self, clip: int, name: str) -> Tensor:
        """A truth track float32 [F]."""
        return self._small(clip, f"truth.{name}").float()

    def face_boxes(self, clip: int) -> Tensor:
        """Relative face boxes float32 [F, 4]."""
        return self._small(clip, "face_box").float()

    def _large(self, clip: int, name: str) -> Tensor:
        shard, row = self._places[clip]
        return self._files[shard].get_slice(name)[row]

    def _small(self, clip: int, name: str) -> Tensor:
        shard, row = self._places[clip]
        if (shard, name) not in self._cache:
            self._cache[shard, name] = self._files[shard].get_tensor(name)
        return self._cache[shard, name][row]


def split_shards(shards: list[Path], held_out: list[Path]) -> tuple[ShardSet, ShardSet]:
    """(training set, held-out set) from files or folders of files; held-out files are never trained on."""
    kept_back = shard_files(held_out)
    names = {path.name for path in kept_back}
    train = [path for path in shard_files(shards) if path.name not in names]
    if not train or not kept_back:
        raise ValueError(f"{len(train)} shards to train on and {len(kept_back)} to check with; both need at least one")
    return ShardSet(train), ShardSet(kept_back)


def shard_files(places: list[Path]) -> list[Path]:
    """Shard files among files and folders, by name."""
    files = [path for place in places for path in (place.glob("*.safetensors") if place.is_dir() else [place])]
    return sorted(files, key=lambda path: path.name)


def describe(sets: tuple[ShardSet, ShardSet]) -> dict[str, Any]:
    """What a manifest says about the data."""
    train, held_out = sets
    return {
        "train_clips": len(train),
        "held_out_clips": len(held_out),
        "train_digest": train.digest,
        "held_out_digest": held_out.digest,
    }
