"""How far raters agree: Krippendorff's alpha over clips, and correlations of means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from evalkit.study import CRITERIA
from evalkit.study.answers import Rater
from evalkit.study.design import RATE, Study

Unit = tuple[str, str]  # clip, criterion


def krippendorff_alpha(units: Iterable[Sequence[float]]) -> float | None:
    """1 - observed / expected disagreement with squared differences, for ratings on an interval scale.

    units: the ratings that each rated thing got, from any number of raters. 1 is full agreement, 0 what chance gives; None
    when nothing was rated twice or all ratings are equal. Krippendorff, Content Analysis (2004), chapter 11.
    """
    paired = [list(unit) for unit in units if len(unit) > 1]
    values = [value for unit in paired for value in unit]
    if not values:
        return None
    observed = sum(_differences(unit) / (len(unit) - 1) for unit in paired) / len(values)
    expected = _differences(values) / (len(values) * (len(values) - 1))
    return None if expected == 0 else 1 - observed / expected


def _differences(values: Sequence[float]) -> float:
    """Sum of squared differences over all ordered pairs."""
    total, squares = sum(values), sum(value * value for value in values)
    return 2 * (len(values) * squares - total * total)


def rated(raters: Sequence[Rater], study: Study) -> dict[Unit, dict[str, float]]:
    """Ratings by clip and criterion, then by rater; a clip that a rater rated in two rated pairs counts by its mean."""
    rate_trials = {one.id for one in study.trials if one.kind == RATE}
    collected: dict[Unit, dict[str, list[float]]] = {}
    for rater in raters:
        for answer in rater.of(rate_trials):
            for clip, side in ((answer.left, "left"), (answer.right, "right")):
                for name in CRITERIA:
                    values = collected.setdefault((clip, name), {}).setdefault(rater.id, [])
                    values.append(answer.ratings[side][name])
    return {unit: {who: sum(v) / len(v) for who, v in given.items()} for unit, given in collected.items()}


def clip_means(raters: Sequence[Rater], study: Study) -> Mapping[Unit, float]:
    """Mean over raters by clip and criterion."""
    return {unit: sum(given.values()) / len(given) for unit, given in rated(raters, study).items()}


def correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Pearson's r; None below three pairs or where one side does not vary."""
    if len(one) < 3:
        return None
    means = sum(one) / len(one), sum(other) / len(other)
    a, b = [value - means[0] for value in one], [value - means[1] for value in other]
    scale = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return None if scale == 0 else sum(x * y for x, y in zip(a, b, strict=True)) / scale
