"""One progress line with rate and time left, on a terminal; nothing otherwise."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Counts finished items; only items done now (not those found done) enter the rate."""

    def __init__(self, total: int, unit: str, stream: TextIO | None = None) -> None:
        self.total, self.unit = total, unit
        self.finished = self.made = 0
        self._stream = stream or sys.stderr
        self._started_s = time.monotonic()

    def step(self, made_now: bool = True) -> None:
        """Count one item and redraw the line."""
        self.finished += 1
        self.made += made_now
        if self._stream.isatty():
            self._stream.write("\r\x1b[2K" + self.line())
            self._stream.flush()

    def close(self) -> None:
        """Leave the last line standing."""
        if self._stream.isatty() and self.finished:
            self._stream.write("\n")

    def line(self) -> str:
        """E.g. `12/100 samples, 3.1/s, 28 s left`."""
        text = f"{self.finished}/{self.total} {self.unit}"
        elapsed_s = time.monotonic() - self._started_s
        if not self.made or elapsed_s <= 0:
            return text
        rate = self.made / elapsed_s
        return f"{text}, {rate:.2f}/s, {(self.total - self.finished) / rate:.0f} s left"
