"""All processes that a program started, wherever they went, and how to end them.

Launchers put their workers into sessions of their own, so a process group is not enough: descendants are followed, and
a mark in the environment finds those whose parent is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

MARK = "EVALKIT_PROGRAM"
GRACE_S = 3.0


class ProcessTree:
    """The processes that carry `mark` in their environment, or descend from `root`."""

    def __init__(self, root: int, mark: str) -> None:
        self.root, self.mark = root, mark

    def members(self) -> list[psutil.Process]:
        """Those that are alive."""
        found: dict[int, psutil.Process] = {}
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(self.root)
            found = {one.pid: one for one in [parent, *parent.children(recursive=True)]}
        return list(found.values())

    def resident_bytes(self) -> int:
        """Memory of all of them together."""
        total = 0
        for one in self.members():
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
        return total

    def end(self, grace_s: float = GRACE_S) -> None:
        """Ask them to end, then make them; returns when none is left or can be reached."""
        self._signal(self._all(), signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while self._all() and time.monotonic() < deadline:
            time.sleep(0.05)
        for _ in range(20):
            left = self._all()
            if not left:
                return
            self._signal(left, signal.SIGKILL)
            time.sleep(0.05)

    def _all(self) -> list[psutil.Process]:
        found = {one.pid: one for one in self.members()}
        for one in psutil.process_iter():
            # Another user's environment cannot be read; it is no process of ours.
            with contextlib.suppress(psutil.Error, OSError):
                if one.pid not in found and one.pid != os.getpid() and one.environ().get(MARK) == self.mark:
                    found[one.pid] = one
        return [one for one in found.values() if _is_running(one)]

    def _signal(self, processes: list[psutil.Process], number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.root, number)
        for one in processes:
            with contextlib.suppress(psutil.Error):
                one.send_signal(number)


def _is_running(process: psutil.Process) -> bool:
    """False for the dead, also for those whose parent has not asked about them yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
