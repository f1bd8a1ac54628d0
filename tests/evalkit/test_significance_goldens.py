"""Intervals and p values against reference values."""

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
