"""Sets out and in again: plain folders, WebDataset tar shards, endless voices. What comes in is verified file by file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from genbench.atomic import require_room, write_bytes, write_json
from genbench.errors import DamagedSetError
from genbench.long_audio import LongVoice
from genbench.manifest import MANIFEST_NAME, TABLE7_SEGMENTS_S, FileEntry, Manifest, Sample, load_manifest, read_manifest
from genbench.paths import inside
from genbench.speech import SAMPLE_RATE_HZ

FORMS = ("folder", "webdataset")
_ENDINGS = {"image": "png", "audio": "wav", "prompt": "prompt.txt", "transcript": "transcript.txt"}
_BLOCK = 1 << 20


def export_set(
    folder: Path,
    out: Path,
    form: str = "folder",
    with_truth: bool = True,
    shard_samples: int = 100,
    own_use: bool = False,
) -> list[Path]:
    """Copy a set whose every hash is right. form: "folder", or "webdataset": tar files with the members of a sample
    together.

    The same set gives the same bytes. Raises ValueError for media that may not be passed on, unless for own use.
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r}; choose one of {', '.join(FORMS)}")
    if shard_samples < 1:
        raise ValueError(f"shard_samples={shard_samples}; give 1 or more")
    manifest = load_manifest(folder)
    manifest.verify()
    if not manifest.redistributable and not own_use:
        raise ValueError(
            f"{manifest.name} holds media that may not be passed on ({manifest.licence}); pass on the manifest, which "
            "says how to make it, or use --own-use for a copy of your own"
        )
    out.mkdir(parents=True, exist_ok=True)
    entries = [entry for sample in manifest.samples for entry in sample.files(with_truth)]
    require_room(out, sum(entry.bytes for entry in entries), f"the export of {manifest.name}")
    paths = (
        _export_folder(manifest, out, entries)
        if form == "folder"
        else _export_tars(manifest, out, with_truth, shard_samples)
    )
    shutil.copyfile(manifest.folder / MANIFEST_NAME, out / f".{MANIFEST_NAME}.part")
    os.replace(out / f".{MANIFEST_NAME}.part", out / MANIFEST_NAME)
    return [*paths, out / MANIFEST_NAME]


def import_exported(source: Path, out: Path) -> Manifest:
    """A set from an exported folder or from tar shards beside their manifest.json; every byte is compared with the manifest.

    Raises DamagedSetError for members that are missing, altered, unknown, or not plain files; ValueError for another set in
    `out`.
    """
    given = read_manifest(source)
    if (out / MANIFEST_NAME).exists() and read_manifest(out).digest != given.digest:
        raise ValueError(f"{out} holds another set; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    wanted = {entry.path: entry for sample in given.samples for entry in sample.files()}
    require_room(out, sum(entry.bytes for entry in wanted.values()), f"the import of {given.name}")
    tars = sorted(source.glob("*.tar"))
    found = _from_tars(given, tars) if tars else _from_folder(source, wanted)
    arrived = set()
    for entry, stream in found:
        _write_checked(entry, stream, out)
        arrived.add(entry.path)
    missing = sorted(path for path in set(wanted) - arrived if not path.startswith("truth/"))
    if missing:
        raise DamagedSetError(f"{source} lacks {missing[0]} and {len(missing) - 1} more; export the set again")
    shutil.copyfile(source / MANIFEST_NAME, out / f".{MANIFEST_NAME}.part")
    os.replace(out / f".{MANIFEST_NAME}.part", out / MANIFEST_NAME)
    has_truth = all(path in arrived for path in wanted)
    return load_manifest(out, with_truth=has_truth)


def export_long_audio(folder: Path, out: Path, seconds: float) -> list[Path]:
    """Each voice repeated to `seconds` (WAV), the scored segments that fit as files of their own, and segments.json with
    the rule.
    """
    manifest = load_manifest(folder)
    if seconds <= 0:
        raise ValueError(f"seconds={seconds:g}; give a length above 0")
    spans = [span for span in manifest.segments_s or TABLE7_SEGMENTS_S if span[1] <= seconds]
    wanted_s = len(manifest.samples) * (seconds + sum(stop - start for start, stop in spans))
    out.mkdir(parents=True, exist_ok=True)
    require_room(out, round(2 * SAMPLE_RATE_HZ * wanted_s), f"{len(manifest.samples)} voices of {seconds:g} s")
    paths, records = [], {}
    for sample in manifest.samples:
        voice = LongVoice.of(sample.inputs().audio)
        paths.append(_write_voice(out / f"{sample.id}.wav", (piece for piece in voice.pieces(seconds, 60.0))))
        for start, stop in spans:
            path = out / f"{sample.id}.{start}-{stop}.wav"
            paths.append(_write_voice(path, iter([voice.segment((start, stop))])))
        records[sample.id] = {"period_frames": voice.period_frames, "source_sha256": sample.audio.sha256}
    record = {
        "set": manifest.name,
        "digest": manifest.digest,
        "seconds": seconds,
        "segments_s": [list(span) for span in spans],
        "long_audio": LongVoice.rule(),
        "samples": records,
    }
    write_json(out / "segments.json", record)
    return [*paths, out / "segments.json"]


def _export_folder(manifest: Manifest, out: Path, entries: list[FileEntry]) -> list[Path]:
    if out.resolve() == manifest.folder.resolve():
        raise ValueError(f"{out} is the set itself; choose another folder")
    for entry in entries:
        write_bytes(inside(out, entry.path), (manifest.folder / entry.path).read_bytes())
    return [out / entry.path for entry in entries]


def _export_tars(manifest: Manifest, out: Path, with_truth: bool, shard_samples: int) -> list[Path]:
    paths = []
    for number, first in enumerate(range(0, len(manifest.samples), shard_samples)):
        path = out / f"{manifest.name}_{manifest.suite}-{number:06d}.tar"
        partial = path.with_name(f".{path.name}.part")
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in manifest.samples[first : first + shard_samples]:
                record = json.dumps(sample.to_record(), sort_keys=True, ensure_ascii=False).encode()
                _add(tar, f"{sample.id}.json", io.BytesIO(record), len(record))
                for name, entry in members(sample, with_truth).items():
                    with open(manifest.folder / entry.path, "rb") as file:
                        _add(tar, name, file, entry.bytes)
        os.replace(partial, path)
        paths.append(path)
    return paths


def members(sample: Sample, with_truth: bool = True) -> dict[str, FileEntry]:
    """Files of a sample by their name in a tar: the id, a full stop, what it is."""
    found = {f"{sample.id}.{ending}": getattr(sample, name) for name, ending in _ENDINGS.items()}
    found |= {f"{sample.id}.raw.{Path(entry.path).name}": entry for entry in sample.raw}
    if with_truth:
        found |= {
            f"{sample.id}.truth{Path(entry.path).suffix}": entry
            for entry in (sample.truth_file, sample.truth_video)
            if entry
        }
    return found


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    # Names and sizes only: no owner, no time, so that the same set gives the same tar.
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    tar.addfile(info, file)


def _from_folder(source: Path, wanted: dict[str, FileEntry]) -> Iterator[tuple[FileEntry, IO[bytes]]]:
    for path, entry in wanted.items():
        file = inside(source, path)
        if file.is_file():
            with open(file, "rb") as opened:
                yield entry, opened


def _from_tars(manifest: Manifest, tars: list[Path]) -> Iterator[tuple[FileEntry, IO[bytes]]]:
    known: dict[str, FileEntry] = {}
    for sample in manifest.samples:
        known |= members(sample)
    records = {f"{sample.id}.json" for sample in manifest.samples}
    for path in tars:
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.name in records and member.isreg():
                        continue
                    opened = tar.extractfile(member) if member.isreg() and member.name in known else None
                    if opened is None:
                        raise DamagedSetError(
                            f"{path} has the member {member.name!r}, which is no plain file of this set; "
                            "nothing of it was used: get the set again from its source"
                        )
                    yield known[member.name], opened
        except tarfile.TarError as error:
            raise DamagedSetError(f"{path} is no whole tar file ({error}); get it again") from error


def _write_checked(entry: FileEntry, stream: IO[bytes], out: Path) -> None:
    """Copy a stream to its place if, and only if, it is what the manifest says."""
    target = inside(out, entry.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    digest, size = hashlib.sha256(), 0
    try:
        with open(partial, "wb") as file:
            while size <= entry.bytes and (piece := stream.read(_BLOCK)):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
        if size != entry.bytes or digest.hexdigest() != entry.sha256:
            raise DamagedSetError(f"{entry.path} is not the file that the manifest names; get the set again from its source")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _write_voice(path: Path, pieces: Iterator[Any]) -> Path:
    partial = path.with_name(f".{path.name}.part")
    with wave.open(str(partial), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        for piece in pieces:
            file.writeframes(piece.astype("<i2").tobytes())
    os.replace(partial, path)
    return path
