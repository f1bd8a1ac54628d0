"""The result store: records and artefacts as files in the run folder, written so that a crash loses nothing.

The artefact is written first and the record last, each to a temporary name and then renamed. A record whose artefact
is gone, or has another size or hash, counts as missing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from evalkit.errors import DISK_FULL_ERRNOS, StoreFullError
from evalkit.fingerprint import file_sha256
from evalkit.records import Artefact, Key, Record, dumps

TEMP_MARK = ".tmp-"
MEDIA = {".mp4": "video/mp4", ".jsonl": "application/x-ndjson", ".json": "application/json", ".npz": "application/npz"}


class Store:
    """One run folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.digests = DigestCache(root)

    def path(self, inside: str) -> Path:
        """Absolute path of something in the run folder."""
        return self.root / inside

    def read(self, key: Key) -> Record | None:
        """The record of `key`, or None when there is none or it cannot be read."""
        return read_record(self.path(key.path))

    def write(self, record: Record) -> None:
        """Write a record; its artefacts must already be in place."""
        write_text(self.path(record.key.path), dumps(record.to_json()))

    def records(self, kind: str = "") -> Iterator[Record]:
        """All readable records, in the order of their paths."""
        for path in sorted(self.path(f"records/{kind}").rglob("*.json")):
            record = read_record(path)
            if record is not None:
                yield record

    def artefact(self, inside: str) -> Artefact:
        """Describe a finished file in the run folder."""
        path = self.path(inside)
        return Artefact(inside, file_sha256(path), path.stat().st_size, MEDIA.get(path.suffix, Artefact.media))

    def publish(self, made: Path, inside: str) -> list[Artefact]:
        """Move the folder `made` to its place `inside` the run, replacing an older one, and describe its files."""
        final = self.path(inside)
        flush_folder(made)
        retired = final.with_name(f".{final.name}{TEMP_MARK}old-{unique_mark()}")
        if final.exists():
            shutil.rmtree(retired, ignore_errors=True)
            os.replace(final, retired)
        os.replace(made, final)
        shutil.rmtree(retired, ignore_errors=True)
        files = sorted(path for path in final.rglob("*") if path.is_file())
        return [self.artefact(path.relative_to(self.root).as_posix()) for path in files]

    def temporary(self, inside: str) -> Path:
        """An empty folder beside `inside`, to make an artefact in."""
        final = self.path(inside)
        made = final.with_name(f".{final.name}{TEMP_MARK}{unique_mark()}")
        shutil.rmtree(made, ignore_errors=True)
        guarded(lambda: made.mkdir(parents=True), made)
        return made

    def problem(self, artefact: Artefact, rehash: bool = False) -> str:
        """What is wrong with an artefact on disk; empty when nothing is."""
        path = self.path(artefact.path)
        try:
            size_bytes = path.stat().st_size
        except OSError:
            return f"{artefact.path} is gone"
        if size_bytes != artefact.bytes:
            return f"{artefact.path} has {size_bytes} bytes instead of {artefact.bytes}"
        sha256 = file_sha256(path) if rehash else self.digests.sha256(artefact.path)
        return "" if sha256 == artefact.sha256 else f"{artefact.path} has another content"

    def sweep(self) -> None:
        """Remove what interrupted writers left behind. Only for the holder of the run's lock."""
        for left in self.root.rglob(f".*{TEMP_MARK}*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


class DigestCache:
    """Hashes of large files remembered by size and modification time, so that planning stays instant."""

    FILE = "cache/digests.json"

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, list[Any]] | None = None
        self._changed = False

    def sha256(self, inside: str) -> str:
        """sha256 of a file in the run folder."""
        path = self.root / inside
        stat = path.stat()
        mark = [stat.st_size, stat.st_mtime_ns]
        known = self._load()
        held = known.get(inside)
        if held is None or held[:2] != mark:
            held = [*mark, file_sha256(path)]
            known[inside] = held
            self._changed = True
        return str(held[2])

    def save(self) -> None:
        """Keep what was learned; losing it only costs time."""
        if self._changed:
            write_text(self.root / self.FILE, json.dumps(self._load(), sort_keys=True))
            self._changed = False

    def _load(self) -> dict[str, list[Any]]:
        if self._known is None:
            content = read_json(self.root / self.FILE)
            self._known = content if isinstance(content, dict) else {}
        return self._known


def unique_mark() -> str:
    """Distinguishes this process from all others that may write to the same folder, on other machines too."""
    return f"{zlib.crc32(platform.node().encode()):08x}-{os.getpid()}"


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_record(path: Path) -> Record | None:
    """A record from a file, or None when it is missing or broken."""
    content = read_json(path)
    try:
        return Record.from_json(content) if isinstance(content, dict) else None
    except (KeyError, TypeError):
        return None


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: after a crash either the old or the new content is there, whole."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`, for bytes."""
    guarded(lambda: _replace(path, data), path)


def guarded(action: Callable[[], None], path: Path) -> None:
    """Run a writing action; a full disk becomes a message that says what still holds."""
    try:
        action()
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        raise full_message(path) from error


def full_message(path: Path) -> StoreFullError:
    """The error for a full disk while writing `path`."""
    return StoreFullError(
        f"no space left while writing {path.name} in {path.parent}: free some space and run the same command again; "
        "everything recorded so far is kept"
    )


def flush_folder(folder: Path) -> None:
    """Force the files of a folder to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                guarded(partial(os.fsync, descriptor), path)
            finally:
                os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{TEMP_MARK}{unique_mark()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _flush_entry(path.parent)


def _flush_entry(folder: Path) -> None:
    """Make the rename itself durable, where the system allows to open a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse to flush a folder; the file itself is already safe
    finally:
        os.close(descriptor)
