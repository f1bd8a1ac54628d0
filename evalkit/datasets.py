"""Test sets of a run: built once into RUN/datasets/NAME, then read from there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evalkit.definition import SampleInfo
from evalkit.fingerprint import digest
from evalkit.names import unknown

ORDER_NAMESPACE = "evalkit sample order 1"
Progress = Callable[[int, int], None]
"""Called with (finished, all) samples while a set is built."""


@dataclass(frozen=True)
class Sample:
    """One sample: what a method is given, and the set's own entry for metrics and controls."""

    info: SampleInfo
    image: Path
    audio: Path
    prompt: str
    entry: Any = None


@dataclass(frozen=True)
class LoadedSet:
    """A built set, all of it, in the set's own order."""

    name: str
    title: str
    digest: str
    samples: Mapping[str, Sample]

    def next_of(self, sample_id: str) -> Sample:
        """The sample that follows in the whole set, the first after the last: controls borrow its voice."""
        ids = list(self.samples)
        return self.samples[ids[(ids.index(sample_id) + 1) % len(ids)]]


@dataclass(frozen=True)
class SampleSet:
    """How a set is made and read. `sizes` gives the number of samples by suite; `source` a set it is cut from."""

    name: str
    title: str
    sizes: Mapping[str, int]
    build: Callable[[Path, str, Progress], None]
    load: Callable[[Path], LoadedSet]


_SETS: dict[str, Callable[[], SampleSet]] = {}


def register_dataset(name: str, make: Callable[[], SampleSet]) -> None:
    """Add a test set under `name`."""
    _SETS[name] = make


def dataset_names() -> list[str]:
    """The registered sets."""
    _load_shipped()
    return list(_SETS)


def get_dataset(name: str) -> SampleSet:
    """The set called `name`."""
    _load_shipped()
    if name not in _SETS:
        raise unknown("data set", name, _SETS, "see: python -m evalkit list datasets")
    return _SETS[name]()


def folder_of(run: Path, name: str) -> Path:
    """Where a set lies in a run."""
    return run / "datasets" / name


def is_built(run: Path, name: str) -> bool:
    """Whether the set is complete in the run folder; its manifest is written last."""
    return (folder_of(run, name) / "manifest.json").is_file()


def load_set(run: Path, name: str) -> LoadedSet:
    """Read a built set; sizes are verified by the set's own loader."""
    return get_dataset(name).load(folder_of(run, name))


def shuffled(ids: list[str]) -> list[str]:
    """The fixed order from which `--limit N` takes the first N, so that a larger limit contains a smaller one."""
    return sorted(ids, key=lambda one: hashlib.sha256(f"{ORDER_NAMESPACE}/{one}".encode()).hexdigest())


def input_digest(image_sha256: str, audio_sha256: str, prompt: str) -> str:
    """The digest of all that a method is given of a sample."""
    return digest({"image": image_sha256, "audio": audio_sha256, "prompt": prompt})


def _load_shipped() -> None:
    from evalkit.genbench_sets import TITLES, genbench_set

    for name in TITLES:
        _SETS.setdefault(name, partial(genbench_set, name))
