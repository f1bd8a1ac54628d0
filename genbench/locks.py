"""One process at a time in a folder: a lock that the system lets go of when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such thing on Windows: two builds of one folder are then the user's to avoid
    fcntl = None  # type: ignore[assignment]


class HeldError(OSError):
    """Another process holds the lock."""


@contextlib.contextmanager
def exclusive(path: Path, message: str = "", wait: bool = False) -> Iterator[None]:
    """Hold the lock file for a while. Raises HeldError with `message` where another process has it, unless told to wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise HeldError(message or f"{path} is held by another process") from error
        yield
