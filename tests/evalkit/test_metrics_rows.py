"""Feature rows: growth, limits, and the file that takes over when a stream is long."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from evalkit.metrics.rows import Rows


@pytest.mark.parametrize("memory_bytes", [32 << 20, 4000])
def test_rows_are_those_that_were_added_wherever_they_are_kept(memory_bytes: int) -> None:
    random = np.random.default_rng(0)
    given = random.normal(size=(1000, 3)).astype(np.float32)
    rows, at = Rows(3, memory_bytes=memory_bytes), 0
    while at < len(given):
        step = int(random.integers(1, 120))
        rows.append(given[at : at + step])
        at += step
        assert len(rows) == min(at, 1000)
        np.testing.assert_array_equal(rows.last(), given[min(at, 1000) - 1])
    np.testing.assert_array_equal(rows.array(), given)
    np.testing.assert_array_equal(rows.array(17), given[:17])
    np.testing.assert_array_equal(rows.span(290, 310), given[290:310])
    np.testing.assert_array_equal(rows.span(990, 2000), given[990:])


def test_arrays_are_copies_and_rows_may_be_scalars_or_none() -> None:
    rows = Rows()
    assert rows.array().shape == (0,)
    rows.append(np.arange(200))
    taken = rows.array()
    rows.append(np.full(10, 7))
    assert taken.tolist() == list(range(200))
    assert len(rows) == 210


def test_memory_stays_flat_however_many_rows_come() -> None:
    rows = Rows(256, memory_bytes=1 << 20)
    piece = np.ones((50, 256), np.float32)
    rows.append(piece)
    tracemalloc.start()
    for _ in range(2000):  # 100 MB
        rows.append(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 100_050
    assert peak < 4 << 20
    assert rows.array()[::1000].mean() == 1
