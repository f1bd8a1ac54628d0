"""A feature array that grows by rows while a clip is decoded, in memory as long as it is small.

Many small arrays kept between the large passing ones of a decoder scatter over the heap, which then never shrinks; one
block that doubles does not. Beyond 32 MiB rows go to an unnamed temporary file, so that memory does not grow with the
length of a stream; what comes back is then a read-only view of that file.
"""

from __future__ import annotations

import tempfile
from typing import IO

import numpy as np

MEMORY_BYTES = 32 << 20


class Rows:
    """Rows of a fixed shape, float32 unless told, appended in pieces."""

    def __init__(self, *row_shape: int, dtype: type = np.float32, memory_bytes: int = MEMORY_BYTES) -> None:
        self._block: np.ndarray = np.empty((64, *row_shape), dtype)
        self._count = 0
        self._memory_bytes = memory_bytes
        self._file: IO[bytes] | None = None
        self._filed = 0

    def __len__(self) -> int:
        return self._filed + self._count

    def append(self, rows: np.ndarray) -> None:
        """Add rows [n, *row_shape]."""
        needed = self._count + len(rows)
        if needed > len(self._block):
            if self._count and needed * self._row_bytes > self._memory_bytes:
                self._move_to_file()
                needed = len(rows)
            if needed > len(self._block):
                grown = np.empty((max(needed, 2 * len(self._block)), *self._block.shape[1:]), self._block.dtype)
                grown[: self._count] = self._block[: self._count]
                self._block = grown
        self._block[self._count : needed] = rows
        self._count = needed

    def array(self, limit: int | None = None) -> np.ndarray:
        """The first `limit` rows, or all: a copy, or a read-only view of the file they were moved to."""
        if self._file is None:
            return self._block[: self._count][:limit].copy()
        self._move_to_file()
        shape = (self._filed, *self._block.shape[1:])
        return np.memmap(self._file, self._block.dtype, mode="r", shape=shape)[:limit]

    def span(self, begin: int, end: int) -> np.ndarray:
        """A copy of rows begin .. end - 1."""
        end = min(end, len(self))
        if begin >= self._filed:
            return self._block[begin - self._filed : end - self._filed].copy()
        return np.array(self.array()[begin:end])

    def last(self) -> np.ndarray:
        """A copy of the last row."""
        return self.span(len(self) - 1, len(self))[0]

    @property
    def _row_bytes(self) -> int:
        return int(self._block.itemsize * np.prod(self._block.shape[1:], dtype=int))

    def _move_to_file(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the rows)
        self._file.seek(0, 2)
        self._file.write(self._block[: self._count].tobytes())
        self._file.flush()
        self._filed += self._count
        self._count = 0
