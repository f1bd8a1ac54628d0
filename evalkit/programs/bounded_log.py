"""What a program prints, kept within a size: the beginning, the end, and the moments of the lines that were asked for."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import BinaryIO

MAX_LINE_BYTES = 4096
MAX_MARKS = 10_000


class BoundedLog:
    """Writes the first `head_bytes` as they come and remembers the last `tail_bytes`; what lies between is counted."""

    def __init__(self, file: BinaryIO, head_bytes: int, tail_bytes: int) -> None:
        self.file, self.head_bytes, self.tail_bytes = file, head_bytes, tail_bytes
        self.seen = 0
        self._tail: deque[bytes] = deque()
        self._kept = 0

    def write(self, data: bytes) -> None:
        """Take the next piece of output."""
        room = max(0, self.head_bytes - self.seen)
        self.seen += len(data)
        if room:
            self.file.write(data[:room])
            self.file.flush()
        rest = data[room:]
        if not rest:
            return
        self._tail.append(rest)
        self._kept += len(rest)
        while self._kept - len(self._tail[0]) >= self.tail_bytes:
            self._kept -= len(self._tail.popleft())

    def close(self) -> None:
        """Write the end behind the beginning, with a note of how much is missing between them."""
        tail = b"".join(self._tail)[-self.tail_bytes :]
        missing = self.seen - min(self.seen, self.head_bytes) - len(tail)
        if missing > 0:
            self.file.write(f"\n[... {missing:,} bytes of output left out ...]\n".encode())
        self.file.write(tail)
        self.file.flush()


class Marks:
    """Lines that match one of some patterns, with the moment at which they were read.

    A line ends with a line feed or, as progress bars do it, with a carriage return.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = [re.compile(pattern.encode()) for pattern in patterns]
        self.found: list[tuple[float, str]] = []
        self._line = b""

    def write(self, data: bytes, now_s: float) -> None:
        """Look through the next piece of output."""
        if not self.patterns:
            return
        *whole, rest = re.split(rb"[\r\n]", self._line + data)
        self._line = rest[-MAX_LINE_BYTES:]
        for line in whole:
            if len(self.found) < MAX_MARKS and any(pattern.search(line) for pattern in self.patterns):
                self.found.append((now_s, line[:MAX_LINE_BYTES].decode("utf-8", errors="replace")))
