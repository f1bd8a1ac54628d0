"""Files that are either complete or absent: write to a temporary name beside the target, flush, rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from genbench.errors import DiskFullError

_PART_SUFFIX = ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any moment leaves no half of it under its name.

    Raises DiskFullError where the disk has no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PART_SUFFIX}")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(error.errno, f"no room on the disk for {path} ({len(data)} bytes); free some and repeat the "
                                             "command: what is finished is kept") from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, record: Any) -> None:
    """Write an indented JSON file atomically; NaN is refused."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def require_room(folder: Path, wanted_bytes: int, purpose: str) -> None:
    """Raise DiskFullError unless the disk of an existing folder has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes:
        raise DiskFullError(errno.ENOSPC, f"{purpose} needs about {wanted_bytes / 1e6:.0f} MB, the disk of {folder} has "
                                          f"{free / 1e6:.0f} MB free; free some or choose another --out")


def canonical_json(record: Any) -> bytes:
    """One spelling per record, for digests."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def remove_leftovers(folder: Path, older_than_s: float = 0, of: str = "") -> None:
    """Delete temporary files that a killed process left directly in `folder`.

    Where others may write at the same time, give an age, or in `of` the only file name whose leftovers are meant.
    """
    for leftover in folder.glob(f".{of}*{_PART_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # another process may clean too
            if time.time() - leftover.stat().st_mtime >= older_than_s:
                leftover.unlink()
