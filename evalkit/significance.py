"""Tests of paired differences: Student, Wilcoxon, sign flips, and Holm's correction over the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EXACT_UP_TO = 20
FLIPS = 100_000
SEED = 20_251_204


def student_paired(differences: Sequence[float]) -> tuple[float, float]:
    """t and its two-sided p for mean difference 0."""
    from scipy import stats

    found = stats.ttest_1samp(np.asarray(differences, np.float64), 0.0)
    return float(found.statistic), float(found.pvalue)


def wilcoxon_paired(differences: Sequence[float]) -> tuple[float, float]:
    """Wilcoxon's signed-rank statistic and its two-sided p: robust where a few clips dominate the mean."""
    from scipy import stats

    found = stats.wilcoxon(np.asarray(differences, np.float64))
    return float(found.statistic), float(found.pvalue)


def sign_flip_p(differences: Sequence[float], flips: int = FLIPS, seed: int = SEED) -> float:
    """Two-sided p of the mean when every difference may as well have the other sign.

    All 2^n patterns for n <= 20; else random ones, counting the observed one (add-one estimate).
    """
    values = np.asarray(differences, np.float64)
    n = len(values)
    if n == 0:
        raise ValueError("no differences; compare two methods on samples that both have")
    least = abs(values.sum()) * (1 - 1e-12)
    if n <= EXACT_UP_TO:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= least).mean())
    random = np.random.default_rng(seed)
    hits = 0
    for start in range(0, flips, 4096):
        signs = random.integers(0, 2, (min(4096, flips - start), n)) * 2 - 1
        hits += int((np.abs(signs @ values) >= least).sum())
    return (hits + 1) / (flips + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values in the given order (Holm 1979): each may be compared with the usual level."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    out = np.empty(len(p))
    out[order] = np.minimum(adjusted, 1.0)
    return out.tolist()
