"""Statistics over samples: means with bootstrap intervals, and paired differences. Pure arithmetic on dictionaries.

The unit of resampling is the sample. The index matrix depends only on the number of samples, so every method and metric
of a run is resampled alike and differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 10_000
SEED = 20_251_204
INTERVAL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over n samples with its 95 % interval, which needs at least two."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Paired:
    """The mean difference on the samples both have. Wins count by the metric's direction; None where it has none."""

    mean: float
    low: float | None
    high: float | None
    n: int
    wins: int | None
    ties: int | None
    losses: int | None


@lru_cache(maxsize=32)
def index_matrix(n: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Which samples each resample draws, [resamples, n]; the same for everyone."""
    import numpy as np

    return np.random.default_rng(seed).integers(0, n, (resamples, n), dtype=np.int32)


def percentile_interval(values: np.ndarray, index: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the means of values [n] drawn by index [resamples, n]."""
    import numpy as np

    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(values[index].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def standard_error(values: np.ndarray) -> float:
    """Of the mean of values [n], n >= 2."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def estimate(values: Sequence[float], clusters: Sequence[str] | None = None) -> Estimate:
    """Mean and percentile bootstrap interval.

    `clusters` names for each value what is resampled as one: samples that show the same identity. The mean stays the
    mean over values; one cluster alone has no interval.
    """
    import numpy as np

    array = np.asarray(values, np.float64)
    if len(array) == 0:
        raise ValueError("no values, so no mean; print an empty cell with a reason instead")
    mean = float(array.mean())
    names = list(dict.fromkeys(clusters)) if clusters is not None else []
    if clusters is not None and len(names) < len(array):
        return _clustered(array, [names.index(one) for one in clusters], len(names))
    if len(array) < 2:
        return Estimate(mean, None, None, len(array))
    return Estimate(mean, *percentile_interval(array, index_matrix(len(array))), len(array))


def _clustered(array: np.ndarray, owners: Sequence[int], count: int) -> Estimate:
    """A drawn cluster brings all its values, so resampled means are ratios of sums."""
    import numpy as np

    mean = float(array.mean())
    if count < 2:
        return Estimate(mean, None, None, len(array))
    sums = np.bincount(owners, weights=array, minlength=count)
    sizes = np.bincount(owners, minlength=count)
    index = index_matrix(count)
    means = sums[index].sum(axis=1) / sizes[index].sum(axis=1)
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), len(array))


def paired(
    ours: Mapping[str, float], theirs: Mapping[str, float], direction: str, identities: Mapping[str, str] | None = None
) -> Paired | None:
    """`ours` minus `theirs` on the samples that both have; None when there is none.

    `identities` names whom each sample shows: samples of one identity are resampled together.
    """
    common = [sample for sample in ours if sample in theirs]
    if not common:
        return None
    differences = [ours[sample] - theirs[sample] for sample in common]
    found = estimate(differences, None if identities is None else [identities.get(name, name) for name in common])
    sign = {"up": 1, "down": -1}.get(direction)
    if sign is None:
        return Paired(found.mean, found.low, found.high, found.n, None, None, None)
    wins = sum(sign * one > 0 for one in differences)
    losses = sum(sign * one < 0 for one in differences)
    return Paired(found.mean, found.low, found.high, found.n, wins, len(differences) - wins - losses, losses)


def mean_over_seeds(values: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """One value per sample from values by (sample, seed): a drawn sample brings all its seeds."""
    groups: dict[str, list[float]] = {}
    for (sample, _), value in values.items():
        groups.setdefault(sample, []).append(value)
    return {sample: sum(found) / len(found) for sample, found in groups.items()}
