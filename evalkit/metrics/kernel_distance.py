"""Kernel distance (KID): unbiased at any number of vectors, hence the honest companion of a Fréchet distance of few.

Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018), in float64; 0 is expected for
two samples of one distribution, and values below 0 are then as likely as above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SUBSET, SUBSETS = 1000, 100
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class KernelDistance:
    """`value` and, where it is a mean over random subsets, their standard deviation; `subset` is their size."""

    value: float
    deviation: float | None
    subset: int
    subsets: int


def kernel_distance(
    x: np.ndarray, y: np.ndarray, subset: int = SUBSET, subsets: int = SUBSETS, seed: int = 0
) -> KernelDistance:
    """Distance of x [n, D] and y [m, D]: the mean over random subsets, or of all vectors once where they are too few."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    least = min(len(x), len(y))
    if least <= subset:
        return KernelDistance(mmd2(x, y), None, least, 1)
    random = np.random.default_rng(seed)
    draws = [
        mmd2(x[random.choice(len(x), subset, replace=False)], y[random.choice(len(y), subset, replace=False)])
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(draws)), float(np.std(draws)), subset, subsets)


def mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared discrepancy: own pairs count without the diagonal. Raises ValueError below two vectors a side."""
    n, m = len(x), len(y)
    if n < 2 or m < 2:
        raise ValueError(f"{n} and {m} feature vectors; a kernel distance needs at least 2 on each side")
    within_x = (_kernel_sum(x, x) - float(_diagonal(x).sum())) / (n * (n - 1))
    within_y = (_kernel_sum(y, y) - float(_diagonal(y).sum())) / (m * (m - 1))
    return within_x + within_y - 2 * _kernel_sum(x, y) / (n * m)


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    parts = (x[start : start + _ROWS_AT_ONCE] @ y.T for start in range(0, len(x), _ROWS_AT_ONCE))
    return float(sum(((part / x.shape[1] + 1) ** 3).sum() for part in parts))


def _diagonal(x: np.ndarray) -> np.ndarray:
    return (np.square(x).sum(1) / x.shape[1] + 1) ** 3
