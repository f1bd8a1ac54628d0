"""Intervals and p values against reference values and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.significance import holm, sign_flip_p, student_paired, wilcoxon_paired
from evalkit.stats import estimate, percentile_interval, standard_error
from tests.evalkit import metric_goldens as golden


@golden.needs_goldens
def test_intervals_and_tests_match_the_reference() -> None:
    expected = golden.arrays("statistics")
    a, b, index = expected["a"], expected["b"], expected["resample_index"].astype(int)
    assert estimate(a.tolist()).mean == pytest.approx(float(expected["mean_a"]), rel=1e-12)
    assert standard_error(a) == pytest.approx(float(expected["sem_a"]), rel=1e-9)
    np.testing.assert_allclose(percentile_interval(a, index), expected["ci95_percentile_a"], atol=1e-9)
    np.testing.assert_allclose(percentile_interval(b - a, index), expected["ci95_percentile_diff"], atol=1e-9)
    np.testing.assert_allclose(student_paired(b - a), expected["t_paired"], atol=1e-9)
    np.testing.assert_allclose(wilcoxon_paired(b - a), expected["wilcoxon"], atol=1e-9)
    exact = float(expected["signflip_first12_exact_p_two_sided"])
    assert sign_flip_p((b - a)[:12].tolist()) == pytest.approx(exact, abs=1e-9)
    np.testing.assert_allclose(holm(expected["holm_in"].tolist()), expected["holm_out"], atol=1e-9)


def test_sign_flips_of_one_sided_differences_are_counted_exactly() -> None:
    assert sign_flip_p([1.0, 2.0, 3.0]) == 2 / 8
    assert sign_flip_p([1.0]) == 1.0
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert sign_flip_p([1.0] * 30, flips=4000) == 1 / 4001  # never 0


def test_random_flips_agree_with_the_exact_count() -> None:
    values = np.random.default_rng(3).normal(0.3, 1, 20)
    exact = sign_flip_p(values.tolist())
    padded = sign_flip_p([*values.tolist(), 0.0], flips=20_000)  # a zero changes nothing but the route
    assert padded == pytest.approx(exact, abs=0.01)


def test_holm_never_reorders_and_never_exceeds_one() -> None:
    assert holm([0.5, 0.01, 0.9]) == pytest.approx([1.0, 0.03, 1.0])
    assert holm([]) == []
