"""The record of a built test set: which files, which digests, and what a method may see of them.

Loading compares every size with the manifest; `verify()` re-hashes every file. A sample hands out its inputs and its truth
through two different doors, and the files lie in two different folders.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genbench.atomic import canonical_json, sha256_of
from genbench.errors import DamagedSetError

if TYPE_CHECKING:
    from genbench.sample_truth import SampleTruth

MANIFEST_NAME = "manifest.json"
MANIFEST_SCHEMA_VERSION = 1
LICENCES = {
    "image": "CC0-1.0",
    "text": "CC0-1.0",
    "audio": "CC0-1.0 (spoken by espeak-ng, GPL-3.0 software; its licence covers the program, not the speech it makes)",
}


@dataclass(frozen=True)
class FileEntry:
    """A file relative to the manifest's folder, with what it must be."""

    path: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, folder: Path, path: Path) -> FileEntry:
        """Describe an existing file."""
        return cls(path.relative_to(folder).as_posix(), sha256_of(path), path.stat().st_size)

    def check_size(self, folder: Path) -> None:
        """Raise unless the file exists and has its size."""
        path = folder / self.path
        if not path.is_file():
            raise DamagedSetError(f"{path} is missing; build the set again into the same folder to restore it")
        if path.stat().st_size != self.bytes:
            raise DamagedSetError(f"{path} has {path.stat().st_size} bytes, the manifest says {self.bytes}: it was cut off "
                                  "or altered; build the set again into the same folder to restore it")

    def check_hash(self, folder: Path) -> None:
        """Raise unless the file holds the very bytes that were built."""
        self.check_size(folder)
        if sha256_of(folder / self.path) != self.sha256:
            raise DamagedSetError(f"{folder / self.path} was altered: its sha256 is not the manifest's; delete it, "
                                  "then build the set again into the same folder to restore it")


@dataclass(frozen=True)
class SampleInputs:
    """All that a method may see of a sample."""

    image: Path
    audio: Path
    prompt: str


@dataclass(frozen=True)
class Sample:
    """One sample of a set; `face_box` (x0, y0, x1, y1, relative) is that of the reference picture."""

    id: str
    image: FileEntry
    audio: FileEntry
    prompt: FileEntry
    transcript: FileEntry
    truth_file: FileEntry
    duration_s: float
    frames: int
    fps: int
    style: str
    composition: str
    licence: dict[str, str]
    face_box: tuple[float, float, float, float]
    folder: Path

    def inputs(self) -> SampleInputs:
        """What a method may see: image, audio and prompt."""
        prompt = (self.folder / self.prompt.path).read_text(encoding="utf-8").strip()
        return SampleInputs(self.folder / self.image.path, self.folder / self.audio.path, prompt)

    def transcript_text(self) -> str:
        """What is said, for captions and reports."""
        return (self.folder / self.transcript.path).read_text(encoding="utf-8").strip()

    def truth(self) -> SampleTruth:
        """What made the sample: for control rows and for checking metrics, never for a method."""
        from genbench.sample_truth import read_truth

        self.truth_file.check_size(self.folder)
        return read_truth(self.folder / self.truth_file.path)

    def files(self, with_truth: bool = True) -> list[FileEntry]:
        """Every file of the sample."""
        given = [self.image, self.audio, self.prompt, self.transcript]
        return [*given, self.truth_file] if with_truth else given

    def to_record(self) -> dict[str, Any]:
        """The sample as plain JSON values, without the folder."""
        record = {name: vars(value) if isinstance(value, FileEntry) else value for name, value in vars(self).items()}
        record["face_box"] = list(self.face_box)
        del record["folder"]
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any], folder: Path) -> Sample:
        """Inverse of `to_record`; fields of later versions are ignored."""
        values: dict[str, Any] = {field.name: record[field.name] for field in fields(cls) if field.name != "folder"}
        for name in ("image", "audio", "prompt", "transcript", "truth_file"):
            values[name] = FileEntry(**record[name])
        return cls(**values | {"face_box": tuple(record["face_box"]), "folder": folder})


@dataclass(frozen=True)
class Manifest:
    """A built set; `digest` is its version: equal digests mean equal files."""

    folder: Path
    name: str
    suite: str
    seed: int
    generator: dict[str, str]
    spec_fingerprint: str
    samples: tuple[Sample, ...]

    @property
    def digest(self) -> str:
        """sha256 over name, suite, seed and all samples with the digests of their files; not over program versions."""
        content = {key: value for key, value in self._content().items() if key != "generator"}
        return hashlib.sha256(canonical_json(content)).hexdigest()

    def sample(self, sample_id: str) -> Sample:
        """The sample of that id."""
        for sample in self.samples:
            if sample.id == sample_id:
                return sample
        known = f"{self.samples[0].id} to {self.samples[-1].id}" if self.samples else "none"
        raise ValueError(f"{self.name} has no sample {sample_id!r}; its ids: {known}")

    def check_sizes(self, with_truth: bool = True) -> None:
        """Raise `DamagedSetError` unless every file exists with its size."""
        for sample in self.samples:
            for entry in sample.files(with_truth):
                entry.check_size(self.folder)

    def verify(self, with_truth: bool = True) -> None:
        """Raise `DamagedSetError` unless every file has its bytes."""
        for sample in self.samples:
            for entry in sample.files(with_truth):
                entry.check_hash(self.folder)

    def to_record(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return {**self._content(), "digest": self.digest}

    def _content(self) -> dict[str, Any]:
        return {
            "schema_version": MANIFEST_SCHEMA_VERSION,
            "name": self.name,
            "suite": self.suite,
            "seed": self.seed,
            "generator": self.generator,
            "spec_fingerprint": self.spec_fingerprint,
            "samples": [sample.to_record() for sample in self.samples],
        }


def load_manifest(path: Path | str, with_truth: bool = True) -> Manifest:
    """Read a set from its folder or its manifest.json and compare all sizes.

    `with_truth=False` loads a copy of the set whose truth folder was left out on purpose.
    """
    path = Path(path)
    file = path / MANIFEST_NAME if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; build a set first: python -m genbench build --set short --out DIR")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        version = record["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedSetError(f"{file} is no readable manifest ({error}); delete it and build the set again") from error
    if version != MANIFEST_SCHEMA_VERSION:
        raise DamagedSetError(f"{file} has schema_version {version}, this genbench reads {MANIFEST_SCHEMA_VERSION}; "
                              "build the set again or install the genbench that made it")
    manifest = _from_record(record, file)
    manifest.check_sizes(with_truth)
    return manifest


def _from_record(record: dict[str, Any], file: Path) -> Manifest:
    folder = file.parent
    try:
        manifest = Manifest(
            folder=folder,
            name=record["name"],
            suite=record["suite"],
            seed=record["seed"],
            generator=record["generator"],
            spec_fingerprint=record["spec_fingerprint"],
            samples=tuple(Sample.from_record(sample, folder) for sample in record["samples"]),
        )
    except (KeyError, TypeError) as error:
        raise DamagedSetError(f"{file} lacks or misnames a field ({error}); delete it and build the set again") from error
    if manifest.digest != record.get("digest"):
        raise DamagedSetError(f"{file} was altered: its content does not give its digest; delete it and build the set again")
    return manifest
