"""The growing feature array."""

import numpy as np

from evalkit.metrics.rows import Rows


def test_pieces_join_in_order_over_many_growths() -> None:
    expected = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    rows, start = Rows(3), 0
    for size in (0, 1, 63, 2, 500, 434):
        rows.append(expected[start : start + size])
        start += size
    np.testing.assert_array_equal(rows.array(), expected)
    np.testing.assert_array_equal(rows.array(7), expected[:7])


def test_what_was_handed_out_does_not_change() -> None:
    rows = Rows()
    rows.append(np.zeros(2))
    before = rows.array()
    rows.append(np.ones(2))
    assert before.tolist() == [0, 0]
    assert Rows(4).array().shape == (0, 4)
