"""What a run's rows say against each other: paired differences with a corrected verdict, and which values are bold.

A family of tests is the rows of one table column: Holm's correction is over the rows compared in it. Control rows are
checks of the metrics, not competitors: they form a family of their own and are never bold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evalkit import measures, significance, stats
from evalkit.definition import Definition
from evalkit.experiments import Table
from evalkit.methods.base import CONTROL
from evalkit.results import Results
from evalkit.speed import VALID
from evalkit.stats import Paired

BETTER, WORSE, EQUIVALENT, INCONCLUSIVE = "better", "worse", "equivalent", "inconclusive"
SIGNS = {"up": 1, "down": -1}


def paired_differences(results: Results) -> list[dict[str, Any]]:
    """The reference method against every other, for each set and metric that both have."""
    definition, reference = results.definition, results.definition.reference
    made = []
    for dataset in definition.datasets:
        for metric in definition.measured():
            who = {"dataset": dataset.name, "metric": metric.name, "method": reference}
            pairs = {
                method.name: found
                for method in definition.runnable()
                if method.name != reference
                and (found := pair(results, dataset.name, metric.name, reference, method.name)) is not None
            }
            for controls in (False, True):
                family = {name: one for name, one in pairs.items() if _is_control(definition, name) == controls}
                for name, one, p_holm in corrected(family):
                    made.append({**who, "against": name, **asdict(one), **reading(one, p_holm, metric.direction)})
    return made


def pair(results: Results, dataset: str, metric: str, method: str, against: str) -> Paired | None:
    """`method` minus `against` on the samples that both have a value for."""
    ours, theirs = (results.groups.get((name, dataset, metric)) for name in (method, against))
    info = results.definition.metric(metric)
    if ours is None or theirs is None or info is None:
        return None
    return stats.paired(ours.by_sample(), theirs.by_sample(), info.direction, clusters_of(results.definition, dataset))


def clusters_of(definition: Definition, dataset: str) -> dict[str, str]:
    """Sample -> the picture that it shows, where the set says; else the sample itself."""
    info = definition.dataset(dataset)
    return {sample.id: sample.identity or sample.id for sample in info.samples} if info else {}


def corrected(family: Mapping[str, Paired]) -> Iterable[tuple[str, Paired, float]]:
    """(name, difference, p corrected over the family)."""
    adjusted = significance.holm([one.p for one in family.values()])
    yield from ((name, one, p) for (name, one), p in zip(family.items(), adjusted, strict=True))


def reading(found: Paired, p_holm: float, direction: str) -> dict[str, Any]:
    """Corrected p, the verdict for the first of the two, and how many more samples would decide.

    A metric without a better side is `differs` instead of better or worse.
    """
    apart = p_holm < significance.LEVEL and is_apart(found)
    sign = SIGNS.get(direction)
    verdict = INCONCLUSIVE
    if apart:
        verdict = "differs" if sign is None else BETTER if sign * found.mean > 0 else WORSE
    more = None if apart else more_samples(found)
    return {"p_holm": p_holm, "verdict": verdict, "more_samples": more}


def more_samples(found: Paired) -> int | None:
    """About how many more samples would decide; for a single one, which has no spread, the least that any test needs."""
    if found.sd is None:
        return significance.least_units() - found.n
    return significance.more_samples(found.mean, found.sd, found.n)


def is_apart(found: Paired) -> bool:
    """Whether the interval of the difference leaves zero out."""
    return found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)


def best_rows(results: Results) -> list[dict[str, Any]]:
    """Per table, set and column: the best row, the rows not told apart from it, and which of them are bold.

    Bold are the best and those not told apart from it, but only where at least one row is: bold everywhere says nothing.
    """
    made = []
    for table in results.definition.tables:
        # In a table whose rows are segments, the sets are compared, not the methods: nothing there is "best".
        for dataset in table.datasets if not table.by_dataset else ():
            for column in table.columns:
                found = _best(results, table, dataset, column.metric)
                if found is not None:
                    made.append({"table": table.name, "dataset": dataset, "metric": column.metric, **found})
    return made


def _best(results: Results, table: Table, dataset: str, metric: str) -> dict[str, Any] | None:
    info = results.definition.metric(metric)
    sign = SIGNS.get(info.direction) if info else None
    if sign is None:
        return None
    own = {row.method for row in table.rows}  # an experiment may have other tables, with rows of their own
    runnable = [one.name for one in results.definition.runnable() if one.name in own]
    rows = [name for name in runnable if not _is_control(results.definition, name)]
    is_speed = metric in measures.SPEED_COLUMNS
    values = {name: _speeds(results, name, metric) if is_speed else _scores(results, name, dataset, metric) for name in rows}
    values = {name: found for name, found in values.items() if found}
    if len(values) < 2:
        return None
    best = max(values, key=lambda name: sign * _middle(values[name], is_speed))
    others = [name for name in values if name != best]
    if is_speed:
        apart = [name for name in others if _ranges_apart(values[best], values[name])]
    else:
        pairs = {name: one for name in others if (one := pair(results, dataset, metric, best, name)) is not None}
        apart = [name for name, one, p in corrected(pairs) if p < significance.LEVEL and is_apart(one)]
    tied = [name for name in others if name not in apart]
    rule = "ranges of repeats that do not touch" if is_speed else "paired test, Holm over the column's rows, at 5 %"
    return {"best": best, "tied": tied, "apart": apart, "bold": [best, *tied] if apart else [], "rule": rule}


def _scores(results: Results, method: str, dataset: str, metric: str) -> list[float]:
    group = results.groups.get((method, dataset, metric))
    return list(group.by_sample().values()) if group else []


def _speeds(results: Results, method: str, metric: str) -> list[float]:
    record, field = results.speed(method, metric)[1], measures.SPEED_COLUMNS[metric].field
    if record is None or record.outputs.get("verdict") != VALID:
        return []
    return [float(one[field]) for one in record.outputs.get("repeats") or [] if one.get(field) is not None]


def _middle(values: Sequence[float], is_speed: bool) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if is_speed else sum(values) / len(values)


def _ranges_apart(first: Sequence[float], second: Sequence[float]) -> bool:
    return min(first) > max(second) or max(first) < min(second)


def _is_control(definition: Definition, name: str) -> bool:
    info = definition.method(name)
    return info is not None and info.kind == CONTROL
