"""The most memory that this process held while something ran."""

from __future__ import annotations

import threading

import psutil

INTERVAL_S = 0.5


class PeakMemory:
    """Samples resident memory inside a `with` block. added_mib: the most beyond what was held before it."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self.interval_s = interval_s
        self.added_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            added = (self._process.memory_info().rss - self._before) / 2**20
            self.added_mib = round(max(self.added_mib, added), 2)
            if self._stop.wait(self.interval_s):
                return
