"""Table cells: one per table, method, set and column, each with its number or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from evalkit import measures, stats
from evalkit.comparisons import clusters_of
from evalkit.definition import Definition, MetricInfo
from evalkit.experiments import PREDICTED, Column, Row, Table
from evalkit.methods.base import CONTROL
from evalkit.paper import paper_value
from evalkit.plan import REAL
from evalkit.results import Results
from evalkit.speed import VALID

MEASURED, PARTIAL, MISSING = "measured", "partial", "missing"
NOT_MEASURED, NOT_APPLICABLE, INVALID, FAILED = "not_measured", "not_applicable", "invalid", "failed"


@dataclass(frozen=True)
class Cell:
    """One cell. `n` counts the samples (or repeats) behind the value; `paper` is what the paper printed there."""

    table: str
    method: str
    dataset: str
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    backbone: str | None = None
    status: str = NOT_MEASURED
    reason: str | None = None
    paper: float | None = None


def make_cells(results: Results) -> list[dict[str, Any]]:
    """Every cell of every table, in the order of the page."""
    tables = results.definition.tables
    return [asdict(cell) for table in tables for cell in _table_cells(results, table)]


def interval_checks(results: Results) -> list[dict[str, Any]]:
    """Bootstrap and textbook interval of every mean over 30 samples or more, side by side."""
    made = []
    for (method, dataset, metric), group in results.groups.items():
        values = group.by_sample()
        textbook = stats.t_interval(list(values.values()))
        if textbook is not None:
            found = _estimate(results.definition, dataset, values)
            who = {"method": method, "dataset": dataset, "metric": metric, **asdict(found)}
            made.append({**who, "t_low": textbook[0], "t_high": textbook[1]})
    return made


def _table_cells(results: Results, table: Table) -> list[Cell]:
    rows = list(table.rows)
    # What another table of the run has as a row is wanted there, not here.
    listed = {row.method for one in results.definition.tables for row in one.rows}
    rows += [Row(one.name, one.title, one.kind) for one in results.definition.runnable() if one.name not in listed]
    return [
        _cell(results, table, row, dataset, column) for dataset in table.datasets for row in rows for column in table.columns
    ]


def _cell(results: Results, table: Table, row: Row, dataset: str, column: Column) -> Cell:
    definition = results.definition
    metric = definition.metric(column.metric) or MetricInfo(column.metric, column.title)
    cell = Cell(
        table=table.name,
        method=row.method,
        dataset=dataset,
        metric=column.metric,
        unit=metric.unit,
        backbone=measures.backbone_label(metric.backbone),
        paper=paper_value(table.paper_table, dataset, row.method, column.metric),
    )
    reason = _left_out(definition, row, metric, dataset)
    if reason:
        return replace(cell, reason=reason)
    if metric.is_set:
        return _set_cell(results, cell)
    return _speed_cell(results, cell) if column.metric in measures.SPEED_COLUMNS else _score_cell(results, cell)


def _left_out(definition: Definition, row: Row, metric: MetricInfo, dataset: str) -> str:
    """Why nothing was even tried here; empty when it was."""
    method = definition.method(row.method)
    if method is None or not method.is_runnable:
        return (method.reason if method else row.reason) or "not part of this run"
    if metric.reason:
        return metric.reason
    info = definition.dataset(dataset)
    if info is None:
        return "this set is not part of the run"
    if definition.stress is not None and not info.samples:
        return f"the stream lasts {definition.stress.stream_s:g} s and does not reach this segment"
    return ""


def _speed_cell(results: Results, cell: Cell) -> Cell:
    protocol = results.definition.speed
    info = results.definition.method(cell.method)
    if info is not None and info.kind == CONTROL:
        return replace(cell, status=NOT_APPLICABLE, reason="a control row is drawn, not generated")
    if protocol is None:
        return replace(cell, reason="this run measures no speed")
    column = measures.SPEED_COLUMNS[cell.metric]
    if info is not None and info.only_scenarios and column.scenario not in info.only_scenarios:
        return replace(cell, status=NOT_APPLICABLE, reason=f"this row is {', '.join(info.only_scenarios)} only")
    item, record = results.speed(cell.method, cell.metric)
    if record is None:
        state, why = (item.state, item.reason) if item else ("missing", "not measured yet")
        return replace(cell, status=FAILED if state == "failed" else MISSING, reason=f"{state}: {why}")
    outputs, field = record.outputs, column.field
    if outputs.get("verdict") != VALID:
        return replace(cell, status=INVALID, reason=f"speed INVALID: {outputs.get('reason')}")
    count = len(outputs["repeats"])
    note = f"speed: {protocol.name}; median and range of {count} repeats on {protocol.dataset}"
    if column.scenario == PREDICTED:
        note = f"predicted, not measured: {outputs['repeats'][0].get('about')}; {count} repeats"
    if outputs.get(field) is None:
        return replace(cell, status=MISSING, reason=f"the speed record has no {field}")
    low, high = (None, None) if column.is_exact else outputs["range"][field]
    return replace(cell, value=outputs[field], low=low, high=high, n=count, status=MEASURED, reason=note)


def _set_cell(results: Results, cell: Cell) -> Cell:
    """A distance of sets: its interval comes with the record, and so does why it is relative only."""
    if cell.method == REAL:
        return replace(cell, status=NOT_APPLICABLE, reason="the videos that the others are compared with")
    if results.definition.method(REAL) is None:
        return replace(cell, reason=f"needs the row {REAL}: add it with --methods")
    item, record = results.sets.get((cell.method, cell.dataset, cell.metric), (None, None))
    value = record.outputs.get("value") if record is not None else None
    if record is None or not isinstance(value, int | float):
        state = item.state if item else "missing"
        why = (record.outputs.get("reason") if record else item.reason if item else "") or "no record"
        return replace(cell, status=FAILED if state == "failed" else MISSING, reason=str(why))
    details = record.outputs.get("details") or {}
    wanted = sum(1 for info in results.definition.datasets if info.name == cell.dataset for _ in info.samples)
    wanted *= len(results.definition.seeds)
    count = int(details.get("videos", 0))
    notes = [f"{count}/{wanted} videos"] if count < wanted else []
    limits = f"relative only: {details['relative_only']}" if details.get("relative_only") else ""
    return replace(
        cell,
        value=float(value),
        low=details.get("low"),
        high=details.get("high"),
        n=count,
        status=PARTIAL if notes else MEASURED,
        reason="; ".join([*notes, *([limits] if limits else [])]) or None,
    )


def _score_cell(results: Results, cell: Cell) -> Cell:
    group = results.groups.get((cell.method, cell.dataset, cell.metric))
    if group is None or not group.wanted:
        return replace(cell, status=MISSING, reason="no record")
    if not group.values:
        return replace(cell, status=FAILED if group.failed else MISSING, reason=group.reason())
    notes = []
    if group.reasons:
        notes.append(f"{len(group.values)}/{group.wanted} records have a value: {group.reason()}")
    whole = results.definition.dataset(cell.dataset)
    if whole is not None and len(whole.samples) < whole.size:
        notes.append(f"partial: {len(whole.samples)} of the set's {whole.size} samples")
    found = _estimate(results.definition, cell.dataset, group.by_sample())
    return replace(
        cell,
        value=found.mean,
        low=found.low,
        high=found.high,
        n=found.n,
        status=PARTIAL if notes else MEASURED,
        reason="; ".join(notes) or None,
    )


def _estimate(definition: Definition, dataset: str, values: Mapping[str, float]) -> stats.Estimate:
    """Mean over samples; samples that show the same picture are drawn together."""
    clusters = clusters_of(definition, dataset)
    return stats.estimate(list(values.values()), [clusters.get(sample, sample) for sample in values])
