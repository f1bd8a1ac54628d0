"""A feature array that grows by rows while a clip is decoded.

Many small arrays kept between the large passing ones of a decoder scatter over the heap, which then never shrinks;
one block that doubles does not.
"""

from __future__ import annotations

import numpy as np


class Rows:
    """Rows of a fixed shape, float32 unless told, appended in pieces."""

    def __init__(self, *row_shape: int, dtype: type = np.float32) -> None:
        self._block: np.ndarray = np.empty((64, *row_shape), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, rows: np.ndarray) -> None:
        """Add rows [n, *row_shape]."""
        needed = self._count + len(rows)
        if needed > len(self._block):
            grown = np.empty((max(needed, 2 * len(self._block)), *self._block.shape[1:]), self._block.dtype)
            grown[: self._count] = self._block[: self._count]
            self._block = grown
        self._block[self._count : needed] = rows
        self._count = needed

    def array(self, limit: int | None = None) -> np.ndarray:
        """A copy of the first `limit` rows, or of all."""
        return self._block[: self._count][:limit].copy()

    def span(self, begin: int, end: int) -> np.ndarray:
        """A copy of rows begin .. end - 1."""
        return self._block[begin : min(end, self._count)].copy()

    def last(self) -> np.ndarray:
        """A copy of the last row."""
        return self._block[self._count - 1].copy()
