"""Means, intervals, paired differences and curves against answers known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.curves import binned
from evalkit.stats import estimate, index_matrix, mean_over_seeds, paired


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = estimate([2.5] * 7)
    assert (found.mean, found.low, found.high, found.n) == (2.5, 2.5, 2.5, 7)


def test_one_value_has_no_interval() -> None:
    assert estimate([3.0]) == estimate([3.0])
    assert estimate([3.0]).low is None


def test_two_values_give_the_exact_quantiles() -> None:
    # Resampled means of {0, 1} are 0, 1/2, 1 with probability 1/4, 1/2, 1/4: both tails reach the ends.
    found = estimate([0.0, 1.0])
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)


def test_interval_agrees_with_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(3).normal(10, 2, 400)
    found = estimate(values.tolist())
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_every_method_is_resampled_alike() -> None:
    assert np.array_equal(index_matrix(8), index_matrix(8))
    base = [0.1, 0.9, 0.4, 0.7]
    shifted = estimate([one + 5 for one in base])
    assert shifted.low == pytest.approx(estimate(base).low + 5)


def test_paired_uses_the_intersection_and_counts_by_direction() -> None:
    ours = {"a": 1.0, "b": 2.0, "c": 3.0, "x": 100.0}
    theirs = {"a": 0.5, "b": 2.0, "c": 4.0, "y": -100.0}
    up = paired(ours, theirs, "up")
    assert up is not None
    assert up.n == 3
    assert up.mean == pytest.approx(-0.5 / 3)
    assert (up.wins, up.ties, up.losses) == (1, 1, 1)
    down = paired({"a": 1.0}, {"a": 2.0}, "down")
    assert down is not None
    assert (down.wins, down.losses) == (1, 0)
    assert paired({"a": 1.0}, {"b": 1.0}, "up") is None


def test_a_constant_gain_is_certain_however_the_samples_vary() -> None:
    ours = {str(index): float(index**2) + 0.25 for index in range(10)}
    found = paired(ours, {name: value - 0.25 for name, value in ours.items()}, "up")
    assert found is not None
    assert found.low == pytest.approx(0.25)
    assert found.high == pytest.approx(0.25)


def test_seeds_are_averaged_within_their_sample() -> None:
    assert mean_over_seeds({("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 5.0}) == {"a": 2.0, "b": 5.0}


def test_bins_hold_their_own_seconds_only() -> None:
    assert binned([0.0, 9.9, 10.0, 31.0], [1.0, 3.0, 5.0, 7.0]) == [(5.0, 2.0), (15.0, 5.0), (35.0, 7.0)]


def test_samples_of_one_identity_are_drawn_together() -> None:
    values = np.random.default_rng(0).normal(size=12).repeat(5)  # twelve identities, five equal clips each
    alone = estimate(values.tolist())
    together = estimate(values.tolist(), [str(index // 5) for index in range(60)])
    of_identities = estimate(values[::5].tolist())
    assert together.mean == pytest.approx(alone.mean)
    assert together.n == 60
    assert (together.low, together.high) == pytest.approx((of_identities.low, of_identities.high))
    assert together.high - together.low > 1.8 * (alone.high - alone.low)
    assert estimate([1.0, 2.0], ["a", "a"]).low is None
    assert estimate([1.0, 2.0], ["a", "b"]) == estimate([1.0, 2.0])
