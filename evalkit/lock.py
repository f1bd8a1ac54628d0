"""One driver per run or shard: locks that the system frees when their holder dies; a heartbeat says who held them.

A whole run excludes everyone; shards exclude the whole run and other drivers of the same shard.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evalkit.errors import RunLockedError

FILE = "driver.lock"
BUILD_FILE = "build.lock"
HEARTBEAT_S = 2.0


class RunLock:
    """Held while a driver writes a run, or a shard (i, n) of it. `taken_over` tells what a driver that died left."""

    def __init__(self, run: Path, command: str, shard: tuple[int, int] | None = None) -> None:
        self.whole = run / FILE
        self.path = self.whole if shard is None else run / shard_file(*shard)
        self.shard = shard
        self.command = command
        self.taken_over = ""
        self._descriptor: int | None = None
        self._shared: int | None = None
        self._beat = 0.0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.shard is not None:
            self._shared = self._take(self.whole, fcntl.LOCK_SH)
        try:
            descriptor = self._take(self.path, fcntl.LOCK_EX)
        except RunLockedError:
            self._let_go()
            raise
        left = read_lock(self.path)
        if left.get("pid"):
            self.taken_over = (
                f"an earlier driver (process {left['pid']}, `{left.get('command', '')}`) stopped without finishing, "
                f"last seen {age_text(left)}; taking over"
            )
        self._descriptor = descriptor
        self._write(is_first=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)  # an empty file says that the driver ended in order
            os.close(self._descriptor)
            self._descriptor = None
        self._let_go()

    def beat(self) -> None:
        """Note that the driver is alive; cheap enough to be called in a loop."""
        if time.monotonic() - self._beat >= HEARTBEAT_S:
            self._write()

    def _write(self, is_first: bool = False) -> None:
        assert self._descriptor is not None
        self._beat = time.monotonic()
        content = {"pid": os.getpid(), "command": self.command, "heartbeat": datetime.now(UTC).isoformat()}
        data = json.dumps(content).encode()
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, data, 0)
        except OSError:
            if is_first:
                raise  # later a full disk is reported where records are written, not here

    def _take(self, path: Path, kind: int) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise RunLockedError(self._held_message(path)) from error
        return descriptor

    def _let_go(self) -> None:
        if self._shared is not None:
            os.close(self._shared)
            self._shared = None

    def _held_message(self, path: Path) -> str:
        held = read_lock(path)
        shards = [one for one in held_shards(path.parent) if self.shard is None]
        if shards:
            return (
                f"{path.parent} is being written by {len(shards)} shards ({', '.join(shards)}); wait for them: a run "
                "without --shard then finds their work done and makes the tables"
            )
        return (
            f"{path.parent} is being written by process {held.get('pid', '?')} (`{held.get('command', '')}`), "
            f"last seen {age_text(held)}; wait for it, or stop it (kill {held.get('pid', 'PID')}) and run this again: "
            "the lock frees itself when its holder ends"
        )


def read_lock(path: Path) -> dict[str, Any]:
    """What the lock file says; empty when nobody holds it or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def one_at_a_time(run: Path) -> Iterator[None]:
    """Wait until no other driver of this run builds its test sets or writes its definition."""
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run / BUILD_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def shard_file(number: int, count: int) -> str:
    """The lock of one shard."""
    return f"driver.{number}-of-{count}.lock"


def held_shards(run: Path) -> list[str]:
    """The shards that living drivers write now, as `1/4`."""
    held = [path.name.split(".")[1] for path in sorted(run.glob("driver.*-of-*.lock")) if is_held(run, path.name)]
    return [name.replace("-of-", "/") for name in held]


def is_held(run: Path, file: str = FILE) -> bool:
    """Whether a living driver writes the run (or the shard of that lock file) now."""
    try:
        descriptor = os.open(run / file, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def age_text(held: dict[str, Any]) -> str:
    """How long ago the heartbeat was."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(str(held.get("heartbeat")))).total_seconds()
    except (TypeError, ValueError):
        return "at an unknown time"
    return f"{seconds:.0f} s ago"
