"""Fréchet and kernel distances: reference values, closed forms, invariances, bias and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.metrics.frechet import frechet_distance, frechet_from_moments
from evalkit.metrics.kernel_distance import kernel_distance, mmd2
from evalkit.metrics.moments import Moments
from evalkit.metrics.set_arithmetic import extrapolated, fit_intercept, floor_of, subsample_draws, subsample_interval
from tests.evalkit import metric_goldens as golden

HIGH_PRECISION = {"very_few_samples": 75.0904346628634154, "rank_deficient_same_subspace": 53.5725866526361131}
"""Values of the shipped golden set from 40-digit arithmetic; another set has its own."""


def cases() -> list[str]:
    if not golden.FOLDER.is_dir():
        return []
    return [name for name, content in golden.facts("frechet").items() if "nuclear" in content]


@golden.needs_goldens
@pytest.mark.parametrize("case", cases())
def test_both_routes_match_the_reference(case: str) -> None:
    arrays, expected = golden.arrays("frechet"), golden.facts("frechet")[case]
    x, y = arrays[f"{case}__x"], arrays[f"{case}__y"]
    scale = expected["trace1"] + expected["trace2"] + expected["mean_term"]
    direct, stored = frechet_distance(x, y), frechet_from_moments(Moments.of(x), Moments.of(y))
    for found in (direct, stored):
        assert abs(found.raw - expected["nuclear"]) <= 1e-12 * scale
        for product in ("torch_fidelity", "scipy_sqrtm", "torchmetrics_f64"):
            assert abs(found.raw - expected[product]) <= 1e-7 * scale
    assert abs(frechet_distance(x, y, divisor=0).raw - expected["population_cov"]) <= 1e-7 * scale
    for name, value in (("mean_term", direct.mean_term), ("trace1", direct.trace_x), ("trace2", direct.trace_y)):
        assert value == pytest.approx(expected[name], rel=1e-12, abs=1e-12 * scale)
    if "mpmath_60_digits" in expected:
        assert direct.raw == pytest.approx(float(expected["mpmath_60_digits"]), rel=1e-13)


@golden.needs_goldens
@pytest.mark.parametrize("case", list(HIGH_PRECISION))
def test_rank_deficient_sets_are_exact_where_products_are_not(case: str) -> None:
    arrays, expected = golden.arrays("frechet"), golden.facts("frechet")[case]
    if abs(expected["nuclear"] - HIGH_PRECISION[case]) > 1e-6:
        pytest.skip("this golden folder holds other vectors; their 40-digit values are not known")
    found = frechet_distance(arrays[f"{case}__x"], arrays[f"{case}__y"])
    assert found.is_rank_deficient == (len(arrays[f"{case}__x"]) <= arrays[f"{case}__x"].shape[1])
    assert found.raw == pytest.approx(HIGH_PRECISION[case], rel=1e-13)


@golden.needs_goldens
def test_extrapolation_and_kernel_distance_match_the_reference() -> None:
    arrays, facts = golden.arrays("frechet"), golden.facts("frechet")
    sizes, x, y = arrays["extrap__sizes"], arrays["extrap__x"], arrays["extrap__y"]
    distances = [frechet_distance(x[rows[:size]], y).raw for rows, size in zip(arrays["extrap__perm"], sizes, strict=True)]
    np.testing.assert_allclose(distances, arrays["extrap__fd"], rtol=1e-9)
    intercept, slope = fit_intercept(sizes.tolist(), distances)
    assert intercept == pytest.approx(facts["extrapolation"]["intercept"], rel=1e-7)
    assert slope == pytest.approx(facts["extrapolation"]["slope"], rel=1e-9)
    n = facts["kid_full_sets"]["n"]
    x, y = arrays["well_conditioned__x"][:n].astype(float), arrays["well_conditioned__y"][:n].astype(float)
    expected = facts["kid_full_sets"]["unbiased_mmd2_degree3_gamma1/d_coef1"]
    assert mmd2(x, y) == pytest.approx(expected, rel=1e-9)
    assert kernel_distance(x, y).value == pytest.approx(expected, rel=1e-9)


def normal(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5


@pytest.mark.parametrize("n", [8, 24, 25, 400])
def test_closed_forms_and_invariances(n: int) -> None:
    x, y = normal(n), normal(n + 3, seed=1) + 0.3
    shift = np.linspace(-1, 1, 24)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(24, 24)))[0]
    plain = frechet_distance(x, y)
    total = plain.trace_x + plain.trace_y
    assert frechet_distance(x, x).value <= 1e-13 * total
    assert frechet_distance(y, x).raw == pytest.approx(plain.raw, rel=1e-11)
    assert frechet_distance(x @ rotation, y @ rotation).raw == pytest.approx(plain.raw, rel=1e-11)
    assert frechet_distance(x, x + shift).raw == pytest.approx(np.square(shift).sum(), rel=1e-11)
    centred = x - x.mean(0)
    assert frechet_distance(centred, 3 * centred).raw == pytest.approx(4 * frechet_distance(centred, y).trace_x, rel=1e-11)


def test_moments_in_pieces_and_merged_are_those_of_the_whole() -> None:
    rows = normal(1000) + 1e4
    whole, pieces, other = Moments.of(rows), Moments.empty(24), Moments.of(rows[600:])
    for start in range(0, 600, 37):
        pieces.update(rows[start : min(600, start + 37)])
    pieces.merge(other)
    assert pieces.count == 1000
    np.testing.assert_allclose(pieces.mean, rows.mean(0), rtol=1e-14)
    np.testing.assert_allclose(pieces.covariance(), np.cov(rows.T), rtol=0, atol=1e-11)
    np.testing.assert_allclose(whole.covariance(), np.cov(rows.T), rtol=0, atol=1e-11)


def test_too_few_or_broken_vectors_are_refused_never_zero() -> None:
    x = normal(10)
    for bad, why in ((x[:1], "at least 2"), (x[:, :5], "dimensions"), (np.full((4, 24), np.nan), "not finite")):
        with pytest.raises(ValueError, match=why):
            frechet_distance(x, bad)
    with pytest.raises(ValueError, match="at least 2"):
        mmd2(x, x[:1])
    with pytest.raises(ValueError, match="at least 2"):
        frechet_from_moments(Moments.of(x), Moments.empty(24))


def test_small_sets_are_biased_the_extrapolation_and_the_kernel_distance_less() -> None:
    x, y = normal(600), normal(4000, seed=9)
    found = extrapolated(x, y)
    assert found is not None
    small = frechet_distance(x[:60], y).value
    assert small > 5 * abs(found.value)
    assert found.distances[0] > found.distances[-1] > found.value
    assert abs(kernel_distance(x[:60], y[:600]).value) < 0.02 * small
    assert extrapolated(x[:499], y) is None
    subsets = kernel_distance(x, y, subset=200, subsets=20)
    assert (subsets.subset, subsets.subsets) == (200, 20)
    assert abs(subsets.value) < 3 * subsets.deviation / np.sqrt(20) + 1e-3


def test_the_floor_splits_videos_not_rows() -> None:
    random = np.random.default_rng(0)
    groups = [normal(20, seed=index) + random.normal(size=24) for index in range(12)]
    by_video = floor_of(groups, lambda a, b: frechet_distance(a, b).value)
    rows = [row[None] for group in groups for row in group]
    by_row = floor_of(rows, lambda a, b: frechet_distance(a, b).value)
    assert by_video is not None
    assert by_row is not None
    assert by_video > 2 * by_row
    assert floor_of(groups[:1], lambda a, b: 0.0) is None


def test_subsampled_intervals_have_the_width_of_the_sampling_error() -> None:
    n = 50
    errors, covered = [], 0
    for seed in range(60):
        values = np.random.default_rng(seed).normal(size=n)
        mean = float(values.mean())
        found = subsample_interval(lambda kept, values=values: float(values[kept].mean()), n, mean, draws=120)
        assert found is not None
        errors.append(found.standard_error)
        covered += found.low <= 0 <= found.high
    assert np.mean(errors) == pytest.approx(1 / np.sqrt(n), rel=0.05)
    assert 0.87 <= covered / 60 <= 1.0
    assert subsample_interval(lambda kept: 0.0, 4, 0.0) is None


def test_draws_are_the_same_for_every_method_and_have_no_repeats() -> None:
    first, second = subsample_draws(30), subsample_draws(30)
    assert all((one == other).all() for one, other in zip(first, second, strict=True))
    assert {len(np.unique(one)) for one in first} == {24}
