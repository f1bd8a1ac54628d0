"""How much of the processors others took while something was timed: the usual reason why speeds do not repeat."""

from __future__ import annotations

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")
_IDLE = (3, 4)  # idle and waiting for a disk, in the order of a line of /proc/stat
_COUNTED = 8  # fields up to "steal"; guests' time is already counted as user time


class OtherWork:
    """The share of our processors that was busy with other processes' work inside a `with` block.

    share: 0 to 1 after the block; None where the system does not tell.
    """

    def __init__(self, stat: Path = STAT) -> None:
        self.stat = stat
        self.share: float | None = None

    def __enter__(self) -> OtherWork:
        self._begin = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        end = self._now()
        if self._begin is None or end is None:
            return
        wall, busy, own = (after - before for before, after in zip(self._begin, end, strict=True))
        if wall > 0:
            self.share = min(1.0, max(0.0, (busy - own) / (wall * len(_processors()))))

    def _now(self) -> tuple[float, float, float] | None:
        """Wall, busy and own processor seconds so far."""
        busy = busy_seconds(self.stat)
        own = os.times()
        seconds = own.user + own.system + own.children_user + own.children_system
        return None if busy is None else (time.monotonic(), busy, seconds)


def busy_seconds(stat: Path = STAT) -> float | None:
    """Seconds that the processors we may run on were busy since the system started; None where it does not tell."""
    wanted = {f"cpu{number}" for number in _processors()}
    try:
        lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
        counted = [[int(field) for field in fields[1 : _COUNTED + 1]] for fields in lines if fields and fields[0] in wanted]
        ticks = sum(value for fields in counted for place, value in enumerate(fields) if place not in _IDLE)
        return ticks / os.sysconf("SC_CLK_TCK") if ticks else None
    except (OSError, ValueError, AttributeError):
        return None


def _processors() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
