"""One driver per run: a lock that the system frees when its holder dies, with a heartbeat that says who held it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evalkit.errors import RunLockedError

FILE = "driver.lock"
HEARTBEAT_S = 2.0


class RunLock:
    """Held while a driver writes a run. `taken_over` tells what an earlier driver left, if it never finished."""

    def __init__(self, run: Path, command: str) -> None:
        self.path = run / FILE
        self.command = command
        self.taken_over = ""
        self._descriptor: int | None = None
        self._beat = 0.0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise RunLockedError(self._held_message()) from error
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

    def _held_message(self) -> str:
        held = read_lock(self.path)
        return (
            f"{self.path.parent} is being written by process {held.get('pid', '?')} (`{held.get('command', '')}`), "
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


def is_held(run: Path) -> bool:
    """Whether a living driver writes the run now."""
    try:
        descriptor = os.open(run / FILE, os.O_RDWR)
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
