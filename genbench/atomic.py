"""Files that are either complete or absent: write to a temporary name beside the target, flush, rename."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

_PART_SUFFIX = ".part"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any moment leaves no half of it under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PART_SUFFIX}")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, record: Any) -> None:
    """Write an indented JSON file atomically; NaN is refused."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


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


def remove_leftovers(folder: Path, older_than_s: float = 0) -> None:
    """Delete temporary files that a killed process left directly in `folder`; give an age if others may write there."""
    for leftover in folder.glob(f".*{_PART_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # another process may clean too
            if time.time() - leftover.stat().st_mtime >= older_than_s:
                leftover.unlink()
