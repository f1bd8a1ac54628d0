"""The paper's claims against our measurements: is the direction of each difference it printed confirmed here?

A claim is a difference between the paper's own row and another row of the same table and column, or, for the long stream,
that its segments stay as close as the paper's did. Its size is not compared: other data, other networks. Undecided is what
most claims are at few samples, and what every claim is whose rows were not both measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evalkit import measures
from evalkit.comparisons import SIGNS
from evalkit.experiments import Column, Table
from evalkit.paper import paper_value
from evalkit.results import Results

CONFIRMED, CONTRADICTED, UNDECIDED = "confirmed", "contradicted", "undecided"
SECONDS_A_MINUTE = 60.0


@dataclass(frozen=True)
class Claim:
    """One claim and what became of it. `paper` and `paper_against` are the paper's two numbers; mean is ours, minus it."""

    table: str
    dataset: str
    metric: str
    method: str
    against: str
    paper: float
    paper_against: float
    outcome: str
    why: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


Stats = Sequence[Mapping[str, Any]]


def check_claims(results: Results, paired: Stats, cells: Stats, slopes: Stats) -> list[dict[str, Any]]:
    """Every claim that the paper's numbers make about the tables of this run."""
    found: list[Claim] = []
    for table in results.definition.tables:
        found += _segments(results, table, slopes) if table.by_dataset else _rows(results, table, paired, cells)
    return [asdict(one) for one in found]


def _rows(results: Results, table: Table, paired: Stats, cells: Stats) -> Iterator[Claim]:
    reference = results.definition.reference
    for dataset in table.datasets:
        for column in table.columns:
            if column.direction not in SIGNS:
                continue  # a count claims nothing
            ours = paper_value(table.paper_table, dataset, reference, column.metric)
            for row in table.rows:
                theirs = paper_value(table.paper_table, dataset, row.method, column.metric)
                if ours is None or theirs is None or ours == theirs or row.method == reference:
                    continue
                known = (table.name, dataset, column.metric, reference, row.method, ours, theirs)
                if column.metric in measures.SPEED_COLUMNS:
                    yield _speed(known, column, cells)
                else:
                    yield _quality(known, column, paired, row.reason)


def _quality(known: tuple[str, str, str, str, str, float, float], column: Column, paired: Stats, reason: str) -> Claim:
    _, dataset, metric, method, against, ours, theirs = known
    where = {"dataset": dataset, "metric": metric, "method": method, "against": against}
    one = next((one for one in paired if all(one[name] == value for name, value in where.items())), None)
    if one is None:
        return Claim(*known, UNDECIDED, reason or "not measured for both rows")
    numbers = (one["mean"], one["low"], one["high"], one["n"])
    sign = SIGNS.get(column.direction, 0)
    if one["verdict"] not in ("better", "worse") or not sign:
        more = one["more_samples"]
        why = f"not told apart with {one['n']} samples" + (f"; about {more} more would decide" if more else "")
        return Claim(*known, UNDECIDED, why, *numbers)
    agrees = (one["verdict"] == "better") == (sign * (ours - theirs) > 0)
    return Claim(*known, CONFIRMED if agrees else CONTRADICTED, f"p {one['p_holm']:.3g} after Holm's correction", *numbers)


def _speed(known: tuple[str, str, str, str, str, float, float], column: Column, cells: Stats) -> Claim:
    """Told apart where the ranges of repeats do not touch."""
    table, dataset, metric, method, against, ours, theirs = known
    index = {(one["method"], one["dataset"]): one for one in cells if one["table"] == table and one["metric"] == metric}
    first, second = (index.get((name, dataset)) for name in (method, against))
    if first is None or second is None or first["value"] is None or second["value"] is None:
        return Claim(*known, UNDECIDED, "not measured for both rows")
    low, high = first["low"] - second["high"], first["high"] - second["low"]
    numbers = (first["value"] - second["value"], low, high, min(first["n"], second["n"]))
    if low <= 0 <= high:
        return Claim(*known, UNDECIDED, "the ranges of repeats touch", *numbers)
    agrees = (numbers[0] > 0) == (ours - theirs > 0)
    return Claim(*known, CONFIRMED if agrees else CONTRADICTED, "the ranges of repeats do not touch", *numbers)


def _segments(results: Results, table: Table, slopes: Stats) -> Iterator[Claim]:
    """No decay: the drift over the whole stream, with its interval, against the spread of the paper's own segments."""
    reference = results.definition.reference
    for column in table.columns:
        printed = [paper_value(table.paper_table, name, reference, column.metric) for name in table.datasets]
        numbers = [value for value in printed if value is not None]
        if len(numbers) < 2:
            continue
        spread = max(numbers) - min(numbers)
        first, last = table.datasets[0], table.datasets[-1]
        known = (table.name, last, column.metric, reference, first, numbers[-1], numbers[0])
        slope = next((one for one in slopes if one["method"] == reference and one["metric"] == column.metric), None)
        if slope is None or slope["low"] is None:
            yield Claim(*known, UNDECIDED, "no slope with an interval was measured over the stream")
            continue
        minutes = slope["span_s"] / SECONDS_A_MINUTE
        mean, low, high = (slope[name] * minutes for name in ("per_minute", "low", "high"))
        span = f"drift over {slope['span_s']:g} s against the {spread:.2f} between the paper's segments"
        outcome = UNDECIDED
        if -spread <= low and high <= spread:
            outcome = CONFIRMED
        elif low > spread or high < -spread:
            outcome = CONTRADICTED
        yield Claim(*known, outcome, span, mean, low, high, slope["n"])
