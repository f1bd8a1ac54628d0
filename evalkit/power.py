"""What a run is able to show: the smallest gap that its samples tell apart, and how many more would decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit import significance
from evalkit.definition import Definition
from evalkit.experiments import Table
from evalkit.methods.base import CONTROL

MOST_NAMED = 6


def plan_lines(definition: Definition, paired: Sequence[Mapping[str, Any]]) -> list[str]:
    """For `plan`: per set, the gap that paired samples show with 80 % power; in its unit where spreads are known."""
    if sum(method.kind != CONTROL for method in definition.runnable()) < 2:
        return []
    lines = []
    for dataset in definition.datasets:
        n = len({sample.identity or sample.id for sample in dataset.samples}) or dataset.size
        if n < significance.least_units():
            lines.append(f"{dataset.name}: {n} samples tell no two methods apart at 5 %, however large the gap")
            continue
        known = _known_gaps(definition, dataset.name, n, paired)
        shown = f"; from the spread measured so far: {known}" if known else ""
        gap = significance.smallest_gap(1.0, n)
        lines.append(f"{dataset.name}: {n} samples show a gap of {gap:.2f} times the spread of paired differences{shown}")
    return lines


def open_questions(definition: Definition, table: Table, paired: Iterable[Mapping[str, Any]]) -> list[str]:
    """For a table's notes: the comparisons with the reference that are open, and how many more samples would decide."""
    columns = {column.metric: column.title for column in table.columns}
    rows = {row.method: row.title for row in table.rows if row.kind != CONTROL}
    named = []
    for one in paired:
        if one["verdict"] != "inconclusive" or one["metric"] not in columns or one["against"] not in rows:
            continue
        if one["dataset"] not in table.datasets:
            continue
        more = one["more_samples"]
        how = f"about {more} more samples" if more else "no number in sight"
        info = definition.dataset(one["dataset"])
        place = info.title if info else one["dataset"]
        named.append(f"{columns[one['metric']]} of {rows[one['against']]} on {place} ({how})")
    if not named:
        return []
    rest = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    reference = definition.method(definition.reference)
    title = reference.title if reference else definition.reference
    return [f"Not told apart from {title}, and what would decide: {'; '.join(named[:MOST_NAMED])}{rest}."]


def _known_gaps(definition: Definition, dataset: str, n: int, paired: Sequence[Mapping[str, Any]]) -> str:
    widest: dict[str, float] = {}
    for one in paired:
        info = definition.method(one["against"])
        if one["dataset"] == dataset and one["sd"] and info is not None and info.kind != CONTROL:
            widest[one["metric"]] = max(widest.get(one["metric"], 0.0), one["sd"])
    return ", ".join(f"{metric} {significance.smallest_gap(sd, n):.3g}" for metric, sd in widest.items())
