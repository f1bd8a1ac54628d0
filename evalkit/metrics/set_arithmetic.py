"""What stands beside a distance of sets: its floor, its bias at small sets, and its interval over videos.

Two samples of the same distribution have a Fréchet distance well above 0 while they are small, so a number alone says
little. Intervals come from subsampling videos without replacement: duplicates of a bootstrap would lower the rank and
inflate the distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.metrics.frechet import frechet_distance

SHARE, DRAWS, SEED = 0.8, 500, 20_251_204
Z_95 = 1.959963984540054
LEAST_FOR_EXTRAPOLATION = 500
EXTRAPOLATION_SIZES = 15


@dataclass(frozen=True)
class Extrapolation:
    """Distances at growing sizes and the intercept of their line in 1 / size: the distance of endless sets."""

    value: float
    slope: float
    sizes: list[int]
    distances: list[float]


@dataclass(frozen=True)
class SetInterval:
    """95 % interval and standard error about the full set's value; draws and share are those used."""

    low: float
    high: float
    standard_error: float
    draws: int
    share: float


def fit_intercept(sizes: Sequence[int], distances: Sequence[float]) -> tuple[float, float]:
    """Intercept and slope of the least-squares line of distances over 1 / size."""
    slope, intercept = np.polyfit(1 / np.asarray(sizes, np.float64), np.asarray(distances, np.float64), 1)
    return float(intercept), float(slope)


def extrapolated(x: np.ndarray, y: np.ndarray, seed: int = SEED, count: int = EXTRAPOLATION_SIZES) -> Extrapolation | None:
    """FD at N = infinity (Chong & Forsyth 2020): random subsets of x of `count` sizes against all of y.

    None below 500 vectors in x, where the line would be noise.
    """
    n = len(x)
    if n < LEAST_FOR_EXTRAPOLATION:
        return None
    random = np.random.default_rng(seed)
    sizes = [int(size) for size in np.linspace(max(n // 10, 50), n, count)]
    distances = [frechet_distance(x[random.permutation(n)[:size]], y).raw for size in sizes]
    intercept, slope = fit_intercept(sizes, distances)
    return Extrapolation(intercept, slope, sizes, distances)


def floor_of(
    groups: Sequence[np.ndarray], distance: Callable[[np.ndarray, np.ndarray], float], seed: int = SEED
) -> float | None:
    """Distance between two random halves of one set of videos' features [k_i, D]; None where a half is too small.

    Halves hold whole videos: rows of one video are no independent sample.
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    halves = [[groups[index] for index in part] for part in (order[: len(order) // 2], order[len(order) // 2 :])]
    if not all(halves):
        return None
    first, second = (np.concatenate(half) for half in halves)
    if min(len(first), len(second)) < 2:
        return None
    return distance(first, second)


def subsample_draws(n: int, share: float = SHARE, draws: int = DRAWS, seed: int = SEED) -> list[np.ndarray]:
    """Which of n videos each draw keeps; the same for every method, so that differences are paired."""
    random = np.random.default_rng(seed)
    kept = max(1, round(share * n))
    return [np.sort(random.permutation(n)[:kept]) for _ in range(draws)]


def subsample_interval(
    score: Callable[[np.ndarray], float], n: int, value: float, share: float = SHARE, draws: int = DRAWS, seed: int = SEED
) -> SetInterval | None:
    """Interval of a set's `value` from `score(indices)` on subsets of its n videos; None below five videos.

    Drawing a share s without replacement leaves a variance of (1 - s) / s of the sampling variance, hence the factor
    sqrt(s / (1 - s)). The centre is the full value, because smaller sets are biased upwards.
    """
    if n < 5:
        return None
    subsets = subsample_draws(n, share, draws, seed)
    actual = len(subsets[0]) / n
    values = [score(indices) for indices in subsets]
    error = float(np.std(values, ddof=1) * np.sqrt(actual / (1 - actual)))
    return SetInterval(value - Z_95 * error, value + Z_95 * error, error, draws, actual)
