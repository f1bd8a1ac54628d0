"""Means with bootstrap intervals and paired differences over samples. Pure arithmetic on dictionaries.

The unit of resampling is the sample or, where several clips share a picture, the cluster of those clips. The index matrix
depends only on the number of units, so every method and metric of a run is resampled alike and differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from evalkit import significance

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 10_000
SEED = 20_251_204
INTERVAL = 0.95
T_FROM = 30  # a t-interval is a fair cross-check of the bootstrap from so many samples on


@dataclass(frozen=True)
class Estimate:
    """A mean over n samples with its 95 % interval, which needs at least two units of resampling."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Paired:
    """The mean difference on the samples both have. Wins count by the metric's direction; None where it has none.

    sd: spread of the differences; effect: mean / sd; p: sign-flip permutation test; p_wilcoxon: the same on signed ranks.
    units: samples, or clusters of samples that share a picture.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    wins: int | None
    ties: int | None
    losses: int | None
    units: int = 0
    sd: float | None = None
    effect: float | None = None
    p: float = 1.0
    p_wilcoxon: float = 1.0


@lru_cache(maxsize=32)
def index_matrix(n: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Which units each resample draws, [resamples, n]; the same for everyone."""
    import numpy as np

    return np.random.default_rng(seed).integers(0, n, (resamples, n), dtype=np.int32)


def estimate(values: Sequence[float], clusters: Sequence[str] | None = None) -> Estimate:
    """Mean over all values and percentile bootstrap interval; `clusters` names the unit that each value belongs to."""
    import numpy as np

    array = np.asarray(values, np.float64)
    if len(array) == 0:
        raise ValueError("no values, so no mean; print an empty cell with a reason instead")
    mean = float(array.mean())
    sums, counts = _by_unit(array, clusters)
    if len(sums) < 2:
        return Estimate(mean, None, None, len(array))
    drawn = index_matrix(len(sums))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), len(array))


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The textbook interval of a mean, for comparison; None for fewer than 30 values."""
    if len(values) < T_FROM:
        return None
    from scipy.special import stdtrit

    mean = math.fsum(values) / len(values)
    half = float(stdtrit(len(values) - 1, 1 - (1 - INTERVAL) / 2)) * spread(values) / math.sqrt(len(values))
    return mean - half, mean + half


def paired(
    ours: Mapping[str, float], theirs: Mapping[str, float], direction: str, clusters: Mapping[str, str] | None = None
) -> Paired | None:
    """`ours` minus `theirs` on the samples that both have; None when there is none.

    clusters: sample -> the unit it belongs to, where samples share a picture.
    """
    common = [sample for sample in ours if sample in theirs]
    if not common:
        return None
    differences = [ours[sample] - theirs[sample] for sample in common]
    units = [clusters.get(sample, sample) for sample in common] if clusters else common
    found = estimate(differences, units)
    flipped = unit_sums(differences, units)
    sd = spread(differences) if len(differences) > 1 else None
    sign = {"up": 1, "down": -1}.get(direction)
    wins = sum(sign * one > 0 for one in differences) if sign else None
    losses = sum(sign * one < 0 for one in differences) if sign else None
    return Paired(
        mean=found.mean,
        low=found.low,
        high=found.high,
        n=found.n,
        wins=wins,
        ties=None if wins is None or losses is None else len(differences) - wins - losses,
        losses=losses,
        units=len(flipped),
        sd=sd,
        effect=found.mean / sd if sd else None,
        p=significance.sign_flip_p(flipped),
        p_wilcoxon=significance.wilcoxon_p(flipped),
    )


def spread(values: Sequence[float]) -> float:
    """Standard deviation of a sample, n - 1 in the denominator."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((one - mean) ** 2 for one in values) / (len(values) - 1))


def unit_sums(values: Sequence[float], units: Sequence[str]) -> list[float]:
    """The sum of the values of each unit, in the order of first appearance."""
    found: dict[str, list[float]] = {}
    for value, unit in zip(values, units, strict=True):
        found.setdefault(unit, []).append(value)
    return [math.fsum(group) for group in found.values()]


def mean_over_seeds(values: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """One value per sample from values by (sample, seed): a drawn sample brings all its seeds."""
    groups: dict[str, list[float]] = {}
    for (sample, _), value in values.items():
        groups.setdefault(sample, []).append(value)
    return {sample: sum(found) / len(found) for sample, found in groups.items()}


def _by_unit(array: np.ndarray, clusters: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and count of each unit's values."""
    import numpy as np

    if clusters is None or len(set(clusters)) == len(array):
        return array, np.ones(len(array))
    names = list(dict.fromkeys(clusters))
    place = np.array([names.index(one) for one in clusters])
    return np.bincount(place, weights=array), np.bincount(place).astype(np.float64)
