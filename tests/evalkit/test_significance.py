"""Permutation tests, Holm's correction, power and slopes against answers known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit import slopes, stats
from evalkit.significance import (
    average_ranks,
    holm,
    least_units,
    more_samples,
    sign_flip_p,
    smallest_gap,
    wilcoxon_p,
)


def test_differences_of_one_sign_have_the_smallest_p_there_is() -> None:
    assert sign_flip_p([1.0, 2.0, 0.5, 3.0, 1.5]) == pytest.approx(2 / 32)
    assert sign_flip_p([0.1] * 20) == pytest.approx(2 / 2**20)


def test_sign_flips_are_counted_exactly() -> None:
    # Sums of +-1 +-2 +-4 are -7, -5, ... 7; three of them in size reach |1 + 2 - 4| = 1: all eight do.
    assert sign_flip_p([1.0, 2.0, -4.0]) == 1.0
    # |1 - 2 + 4| = 3 is reached by all but the sums +1 and -1.
    assert sign_flip_p([1.0, -2.0, 4.0]) == pytest.approx(6 / 8)
    assert sign_flip_p([0.0, 0.0]) == sign_flip_p([]) == 1.0


def test_many_samples_are_drawn_and_never_give_zero() -> None:
    assert sign_flip_p([1.0] * 60) == pytest.approx(1 / 100_001)
    chance = np.random.default_rng(5)
    assert sign_flip_p(chance.normal(0, 1, 60).tolist()) > 0.05
    assert sign_flip_p(chance.normal(0.8, 1, 60).tolist()) < 0.001


def test_wilcoxon_is_the_flip_test_on_ranks() -> None:
    from scipy.stats import wilcoxon

    values = np.random.default_rng(6).normal(0.4, 1, 15)
    assert wilcoxon_p(values.tolist()) == pytest.approx(wilcoxon(values, mode="exact").pvalue)
    assert average_ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


def test_holm_steps_down_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_power_in_closed_form() -> None:
    assert least_units() == 6
    assert smallest_gap(1.0, 100) == pytest.approx(0.2802, abs=1e-4)
    # A gap of half the spread: (2.8016 / 0.5)^2 = 31.4, so 32 pairs.
    assert more_samples(0.5, 1.0, 8) == 32 - 8
    assert more_samples(0.5, 1.0, 40) == 0
    assert more_samples(9.0, 1.0, 2) == 4, "six are needed whatever the gap"
    assert more_samples(0.0, 1.0, 8) is None
    assert more_samples(1e-6, 1.0, 8) is None


def test_clips_of_one_picture_are_drawn_together() -> None:
    values = [1.0, 1.0, 1.0, 5.0]
    alone = stats.estimate(values)
    together = stats.estimate(values, ["a", "a", "a", "b"])
    assert together.mean == alone.mean == 2.0
    assert (together.low, together.high) == (1.0, 5.0), "two units: either picture may be drawn twice"
    assert alone.high < 5.0
    found = stats.paired(
        dict(zip("wxyz", values, strict=True)), dict.fromkeys("wxyz", 0.0), "up", dict.fromkeys("wxyz", "p")
    )
    assert found is not None
    assert found.units == 1
    assert found.low is None


def test_the_t_interval_needs_thirty_values() -> None:
    values = np.random.default_rng(7).normal(0, 1, 40).tolist()
    low, high = stats.t_interval(values)
    half = 2.0227 * stats.spread(values) / math.sqrt(40)
    assert high - low == pytest.approx(2 * half, rel=1e-4)
    assert stats.t_interval(values[:29]) is None


def curve(values: list[float]) -> dict[str, list[float]]:
    return {"t_s": [10.0 * index + 5 for index in range(len(values))], "value": values}


def test_a_straight_line_has_its_slope_per_minute_and_no_error() -> None:
    found = slopes.slope_of({"a": curve([0.1 * index for index in range(12)])}, {})
    assert found is not None
    assert (found.per_minute, found.basis, found.n) == (pytest.approx(0.6), slopes.WITHIN_STREAM, 12)
    assert found.low == pytest.approx(0.6)
    assert slopes.reading(found, "up") == "improves"
    assert slopes.reading(found, "down") == "degrades"


def test_slopes_of_clips_are_averaged_over_clips() -> None:
    samples = {"a": curve([0.0, 0.1, 0.2]), "b": curve([0.0, 0.3, 0.6]), "short": curve([1.0, 2.0])}
    found = slopes.slope_of(samples, {})
    assert found is not None
    assert (found.n, found.basis) == (2, slopes.OVER_CLIPS)
    assert found.per_minute == pytest.approx(1.2)
    assert (found.low, found.high) == (pytest.approx(0.6), pytest.approx(1.8))


def test_noise_without_drift_shows_none_and_correlation_widens() -> None:
    chance = np.random.default_rng(8)
    white = chance.normal(0, 1, 200)
    wander = np.convolve(white, np.ones(12) / 12, "same") * 3.0
    found = slopes.slope_of({"a": curve(white.tolist())}, {})
    assert found is not None
    assert slopes.reading(found, "up") == "no drift shown"
    times = curve(white.tolist())["t_s"]
    naive = wander.std() / math.sqrt(np.square(np.array(times) / 60 - np.mean(times) / 60).sum())
    assert slopes.fit(times, wander.tolist()).error > 2 * naive


def test_few_bins_give_a_slope_without_an_interval() -> None:
    found = slopes.slope_of({"a": curve([0.0, 1.0, 0.5, 2.0])}, {})
    assert found is not None
    assert found.low is None
    assert slopes.reading(found, "up") == "too few points for an interval"
    assert slopes.slope_of({"a": curve([0.0, 1.0])}, {}) is None
