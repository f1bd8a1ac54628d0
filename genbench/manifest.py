"""The record of a built test set: which files, which digests, and what a method may see of them.

Loading compares every size with the manifest; `verify()` re-hashes every file. A sample hands out its inputs and its truth
through two different doors, and the files lie in two different folders. Sets of schema 1 are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genbench.atomic import canonical_json, sha256_of
from genbench.composition import composition_of
from genbench.errors import DamagedSetError
from genbench.paths import inside

if TYPE_CHECKING:
    from genbench.sample_truth import SampleTruth

MANIFEST_NAME = "manifest.json"
MANIFEST_SCHEMA_VERSION = 2
TABLE7_SEGMENTS_S = ((0, 10), (100, 110), (1000, 1010), (10_000, 10_010))
"""The seconds of an endless stream that are scored as clips (paper, Table 7)."""
_UNHASHED = ("generator", "digest", "usage", "gate")
"""What a digest leaves out: programs, costs and limits may differ between two builds of the same files."""
_UNHASHED_OF_SAMPLES = ("checks", "failures")
_MEDIA = ("image", "audio", "prompt", "transcript")

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
    """One sample of a set; `face_box` (x0, y0, x1, y1, relative) is that of the reference picture, None where none is known.

    truth_file: what made the sample (nano world only); truth_video: the real video that it was cut from; a set has one of
    them or neither. raw: answers of generators as they came. spec: the specification; checks: what the quality gate found,
    and failures: why earlier attempts at this sample were thrown away. attempt: 0, or how often it was made again.
    face_box_source: "rendered", "hand", "files" or the detector's name. source: where an imported clip comes from.
    """

    id: str
    image: FileEntry
    audio: FileEntry
    prompt: FileEntry
    transcript: FileEntry
    truth_file: FileEntry | None
    duration_s: float
    frames: int
    fps: int
    style: str
    composition: str
    licence: dict[str, str]
    face_box: tuple[float, float, float, float] | None
    folder: Path
    truth_video: FileEntry | None = None
    raw: tuple[FileEntry, ...] = ()
    spec: dict[str, Any] = field(default_factory=dict)
    checks: tuple[dict[str, Any], ...] = ()
    failures: tuple[str, ...] = ()
    attempt: int = 0
    face_box_source: str = "rendered"
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def framing(self) -> str:
        """How much of the body the reference picture shows."""
        return composition_of(self.composition).framing

    @property
    def view(self) -> str:
        """Frontal or profile."""
        return composition_of(self.composition).view

    def inputs(self) -> SampleInputs:
        """What a method may see: image, audio and prompt."""
        prompt = (self.folder / self.prompt.path).read_text(encoding="utf-8").strip()
        return SampleInputs(self.folder / self.image.path, self.folder / self.audio.path, prompt)

    def transcript_text(self) -> str:
        """What is said, for captions and reports."""
        return (self.folder / self.transcript.path).read_text(encoding="utf-8").strip()

    def truth(self) -> SampleTruth | None:
        """What made the sample: for control rows and for checking metrics, never for a method. None where nobody knows."""
        from genbench.sample_truth import read_truth

        if self.truth_file is None:
            return None
        self.truth_file.check_size(self.folder)
        return read_truth(self.folder / self.truth_file.path)

    def files(self, with_truth: bool = True) -> list[FileEntry]:
        """Every file of the sample."""
        given = [self.image, self.audio, self.prompt, self.transcript, *self.raw]
        return given + [entry for entry in (self.truth_file, self.truth_video) if entry is not None and with_truth]

    def to_record(self) -> dict[str, Any]:
        """The sample as plain JSON values, without the folder."""
        record = {name: _plain(value) for name, value in vars(self).items()}
        del record["folder"]
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any], folder: Path) -> Sample:
        """Inverse of `to_record`; fields of later versions are ignored, those that an earlier one lacks have their defaults.

        Raises DamagedSetError for a file's path that leaves the folder.
        """
        names = [one.name for one in fields(cls) if one.name != "folder" and (one.name in record or _is_required(one))]
        values: dict[str, Any] = {name: record[name] for name in names}
        for name in (*_MEDIA, "truth_file", "truth_video"):
            if values.get(name) is not None:
                values[name] = _entry(values[name], folder)
        box = values.get("face_box")
        values["face_box"] = None if box is None else tuple(box)
        values["raw"] = tuple(_entry(entry, folder) for entry in values.get("raw", ()))
        values |= {name: tuple(values.get(name, ())) for name in ("checks", "failures")}
        return cls(**values, folder=folder)


@dataclass(frozen=True)
class Manifest:
    """A built set; `digest` is its version: equal digests mean equal files.

    providers: what made words, pictures and speech, each as it describes itself. left_out: samples that no attempt got past
    the quality gate, with reasons. segments_s, long_audio: which seconds of an endless stream of this set's voices are
    scored, and how a voice is repeated to reach them. usage: what paid services counted.
    """

    folder: Path
    name: str
    suite: str
    seed: int
    generator: dict[str, str]
    spec_fingerprint: str
    samples: tuple[Sample, ...]
    kind: str = "nano"
    providers: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    consent: str = ""
    redistributable: bool = True
    left_out: tuple[dict[str, Any], ...] = ()
    gate: dict[str, Any] = field(default_factory=dict)
    segments_s: tuple[tuple[int, int], ...] = ()
    long_audio: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    schema_version: int = MANIFEST_SCHEMA_VERSION
    known_digest: str = ""

    @property
    def digest(self) -> str:
        """sha256 over everything but program versions, costs and the gate's findings; for a set of schema 1 the one it has.
        """
        return self.known_digest or digest_of(self._content())

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
        content = {name: _plain(value) for name, value in vars(self).items()}
        for name in ("folder", "known_digest"):
            del content[name]
        return {"schema_version": content.pop("schema_version"), **content}


def digest_of(record: dict[str, Any]) -> str:
    """The digest of a manifest's record, of either schema."""
    content = {key: value for key, value in record.items() if key not in _UNHASHED}
    if record["schema_version"] > 1:
        content["samples"] = [
            {key: value for key, value in sample.items() if key not in _UNHASHED_OF_SAMPLES} for sample in record["samples"]
        ]
    return hashlib.sha256(canonical_json(content)).hexdigest()


def load_manifest(path: Path | str, with_truth: bool = True) -> Manifest:
    """Read a set from its folder or its manifest.json and compare all sizes.

    `with_truth=False` loads a copy of the set whose truth folder was left out on purpose.
    """
    manifest = read_manifest(path)
    manifest.check_sizes(with_truth)
    return manifest


def read_manifest(path: Path | str) -> Manifest:
    """The manifest alone, whether or not its files are there. Raises DamagedSetError where it was altered."""
    path = Path(path)
    file = path / MANIFEST_NAME if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; build a set first: python -m genbench build --set short --out DIR")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        version = record["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedSetError(f"{file} is no readable manifest ({error}); delete it and build the set again") from error
    if version not in range(1, MANIFEST_SCHEMA_VERSION + 1):
        raise DamagedSetError(f"{file} has schema_version {version}, this genbench reads 1 to {MANIFEST_SCHEMA_VERSION}; "
                              "build the set again or install the genbench that made it")
    return _from_record(record, file)


def _from_record(record: dict[str, Any], file: Path) -> Manifest:
    folder = file.parent
    try:
        if digest_of(record) != record.get("digest"):
            raise DamagedSetError(f"{file} was altered: its content does not give its digest; delete it and build again")
        names = [one.name for one in fields(Manifest) if one.name in record or _is_required(one)]
        values = {name: record[name] for name in names if name != "folder"}
        values["samples"] = tuple(Sample.from_record(sample, folder) for sample in record["samples"])
        values["left_out"] = tuple(values.get("left_out", ()))
        values["segments_s"] = tuple(tuple(span) for span in values.get("segments_s", ()))
        manifest = Manifest(**values, folder=folder, known_digest=record["digest"])
    except (KeyError, TypeError) as error:
        raise DamagedSetError(f"{file} lacks or misnames a field ({error}); delete it and build the set again") from error
    ids = [sample.id for sample in manifest.samples]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise DamagedSetError(f"{file} has the id {twice[0]!r} more than once; delete it and build the set again")
    return manifest


def _entry(record: dict[str, Any], folder: Path) -> FileEntry:
    entry = FileEntry(**record)
    try:
        inside(folder, entry.path)
    except ValueError as error:
        raise DamagedSetError(f"the manifest in {folder} is not to be trusted: {error}") from error
    return entry


def _is_required(one: Any) -> bool:
    return one.default is MISSING and one.default_factory is MISSING and one.name != "folder"


def _plain(value: Any) -> Any:
    if isinstance(value, FileEntry):
        return dict(vars(value))
    if isinstance(value, Sample):
        return value.to_record()
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
