"""Is a difference more than chance, and how many samples would tell? Permutation tests, Holm's correction, power.

No distribution is assumed: under "no difference" each unit's difference is as likely to have the other sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.05
EXACT_UP_TO = 20
FLIPS = 100_000
SEED = 20_251_205
Z_INTERVAL, Z_POWER = 1.959964, 0.841621  # 95 % two-sided, 80 % power
MOST_SAMPLES = 100_000
_CHUNK = 5_000


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the sum under random signs: exact up to 20 differences, else 100,000 draws with one added.

    1.0 when nothing differs or nothing is given.
    """
    import numpy as np

    array = np.asarray([one for one in differences if one != 0], np.float64)
    if len(array) == 0:
        return 1.0
    reached = abs(array.sum()) - 1e-12 * np.abs(array).sum()
    if len(array) <= EXACT_UP_TO:
        sums = np.array([array[0]])  # the first sign is fixed: the other half mirrors this one
        for one in array[1:]:
            sums = np.concatenate([sums + one, sums - one])
        return float(np.mean(np.abs(sums) >= reached))
    chance, count = np.random.default_rng(SEED), 0
    for _ in range(FLIPS // _CHUNK):
        signs = chance.integers(0, 2, (_CHUNK, len(array)), dtype=np.int8) * 2 - 1
        count += int(np.sum(np.abs(signs @ array) >= reached))
    return (1 + count) / (1 + FLIPS)


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, ties averaged, zeros left out: random signs on the ranks."""
    kept = [one for one in differences if one != 0]
    ranks = average_ranks([abs(one) for one in kept])
    return sign_flip_p([math.copysign(rank, one) for rank, one in zip(ranks, kept, strict=True)])


def average_ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    ranks = [0.0] * len(values)
    begin = 0
    while begin < len(order):
        end = begin
        while end + 1 < len(order) and values[order[end + 1]] == values[order[begin]]:
            end += 1
        for place in order[begin : end + 1]:
            ranks[place] = (begin + end) / 2 + 1
        begin = end + 1
    return ranks


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [1.0] * len(p_values), 0.0
    for step, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def least_units() -> int:
    """Units below which the sign-flip test cannot reach the level, whatever the differences: 2 / 2^n > 5 %."""
    units = 1
    while 2 / 2**units > LEVEL:
        units += 1
    return units


def smallest_gap(sd: float, n: int) -> float:
    """The mean difference that n pairs with this spread show with 80 % power at the 5 % level."""
    return (Z_INTERVAL + Z_POWER) * sd / math.sqrt(n)


def more_samples(mean: float, sd: float | None, n: int) -> int | None:
    """About how many further pairs would decide a difference of this size; None when no number would do.

    0 when n pairs are enough for it already.
    """
    if sd is None or mean == 0:
        return None
    wanted = max(least_units(), math.ceil(((Z_INTERVAL + Z_POWER) * sd / abs(mean)) ** 2))
    return max(0, wanted - n) if wanted <= MOST_SAMPLES else None
