"""The most memory that this process held while something ran."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil

INTERVAL_S = 0.1
_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"


class PeakMemory:
    """Resident memory inside a `with` block. added_mib: the most beyond what was held before it.

    Linux keeps the peak itself and forgets it when asked; elsewhere memory is sampled, which misses what comes and goes
    between two looks.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self.interval_s = interval_s
        self.added_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._is_kept = _forget_peak()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._is_kept:
            self._count(_peak_bytes())

    def _watch(self) -> None:
        while True:
            self._count(self._process.memory_info().rss)
            if self._stop.wait(self.interval_s):
                return

    def _count(self, held: int) -> None:
        self.added_mib = round(max(self.added_mib, (held - self._before) / 2**20), 2)


def _forget_peak() -> bool:
    """Whether the system keeps a peak from now on."""
    try:
        _RESET.write_text(_RESET_PEAK)
        return _peak_bytes() > 0
    except OSError:
        return False


def _peak_bytes() -> int:
    """The highest resident memory since it was last forgotten; 0 where the system does not tell."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0
