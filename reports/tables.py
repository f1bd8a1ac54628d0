"""Tables of the page: the paper's layout, paired differences, scores per sample."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field

from reports import format as fmt
from reports.data import Json, Method, Metric, Run, number

GROUPS = (
    ("Measured", ("system", "ablation")),
    ("Controls: what the metrics must say", ("control",)),
    ("Schemes of others, re-implemented small: never their systems", ("paradigm",)),
    ("Other published systems", ("rival",)),
)
TICKS = {True: "✓", False: "✗"}
CSV_FIELDS = (
    *("table", "method", "dataset", "metric", "value", "low", "high", "n", "unit"),
    *("backbone", "status", "reason", "paper"),
)


@dataclass
class CellView:
    """One cell, ready to print; ``note`` is the letter of its reason when there is no value."""

    value: str = ""
    interval: str = ""
    n: str = ""
    paper: str = ""
    reason: str = ""
    note: str = ""
    sort: str = ""
    best: bool = False
    claim: str = ""


@dataclass
class RowView:
    """One method."""

    method: Method
    cells: list[CellView]
    is_ghost: bool = False


@dataclass
class TableView:
    """One table on one dataset."""

    anchor: str
    title: str
    dataset: str
    columns: list[Metric]
    groups: list[tuple[str, list[RowView]]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    any_best: bool = False
    best_rule: str = ""


def summary_tables(run: Run) -> list[TableView]:
    """One table per definition and dataset, in the definition's order."""
    made: list[TableView] = []
    for index, table in enumerate(table_definitions(run)):
        names = [cell.get("dataset") for cell in run.cells if cell.get("table") == table["name"]]
        for name in (d for d in run.datasets if d in names):
            made.append(_table(run, table, name, f"table-{index}-{len(made)}"))
    return made


def table_definitions(run: Run) -> list[Json]:
    """The definition's tables; those that only the cells mention follow."""
    made = [t for t in run.experiment.get("tables") or [] if isinstance(t, dict) and t.get("name")]
    known = {t["name"] for t in made}
    for cell in run.cells:
        name = cell.get("table")
        if name and name not in known:
            known.add(name)
            made.append({"name": name, "title": name})
    return [_completed(run, table) for table in made]


def _completed(run: Run, table: Json) -> Json:
    """The same table with rows and columns: the listed ones, then any that only cells mention."""
    cells = [cell for cell in run.cells if cell.get("table") == table["name"]]
    columns = [str(c) for c in table.get("columns") or []] + [str(c.get("metric")) for c in cells]
    rows = [str(r) for r in table.get("rows") or []] + [str(c.get("method")) for c in cells]
    return {
        **table,
        "columns": [c for c in dict.fromkeys(columns) if c in run.metrics],
        "rows": [r for r in dict.fromkeys(rows) if r in run.methods],
    }


def _table(run: Run, table: Json, dataset: str, anchor: str) -> TableView:
    columns = [run.metrics[name] for name in table["columns"]]
    view = TableView(anchor, str(table.get("title") or table["name"]), run.datasets[dataset].title, columns)
    cells = _index(run, table["name"], dataset)
    letters: dict[str, str] = {}
    rows = [_row(run.methods[name], columns, cells, letters) for name in table["rows"]]
    view.any_best, view.best_rule = _mark(run, table["name"], dataset, rows, columns, cells)
    _mark_claims(run, table["name"], dataset, rows, columns)
    for label, kinds in GROUPS:
        members = [row for row in rows if row.method.kind in kinds]
        if members:
            view.groups.append((label, members))
    other = [row for row in rows if not any(row.method.kind in kinds for _, kinds in GROUPS)]
    if other:
        view.groups.append(("Other rows", other))
    view.notes = [(letter, reason) for reason, letter in letters.items()]
    return view


def _index(run: Run, table: str, dataset: str) -> dict[tuple[str, str], Json]:
    """Cells by method and metric; a cell without dataset (speed) stands for every dataset."""
    general, own = {}, {}
    for cell in run.cells:
        if cell.get("table") != table:
            continue
        key = (str(cell.get("method")), str(cell.get("metric")))
        if cell.get("dataset") == dataset:
            own[key] = cell
        elif not cell.get("dataset"):
            general[key] = cell
    return general | own


def _row(method: Method, columns: list[Metric], cells: dict[tuple[str, str], Json], letters: dict[str, str]) -> RowView:
    views = [_cell(metric, cells.get((method.name, metric.name)), letters) for metric in columns]
    return RowView(method, views, method.kind in ("rival", "paradigm") and not any(view.value for view in views))


def _cell(metric: Metric, cell: Json | None, letters: dict[str, str]) -> CellView:
    cell = cell or {"reason": "no cell for this method and metric"}
    view = CellView()
    paper, is_tick = number(cell.get("paper")), metric.unit == "yes/no"
    if paper is not None:
        view.paper = TICKS[bool(paper)] if is_tick else fmt.quoted(paper)
    value = number(cell.get("value"))
    if value is None:
        view.reason = str(cell.get("reason") or "not measured")
        view.note = letters.setdefault(view.reason, _letter(len(letters)))
        return view
    view.value, view.sort = TICKS[bool(value)] if is_tick else fmt.decimal(value, metric.digits), repr(value)
    view.interval = fmt.interval(cell.get("low"), cell.get("high"), metric.digits)
    view.n = "" if number(cell.get("n")) is None else str(int(cell["n"]))
    return view


def _letter(index: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    head, tail = divmod(index, 26)
    return (_letter(head - 1) if head else "") + chr(ord("a") + tail)


APART_RULE = "best of its column, its interval apart from every other"
TESTED_RULE = (
    "best of its column, or not told apart from the best (paired sign-flip test, Holm over the column's rows, 5 %; "
    "for speed: ranges of repeats that do not touch); controls do not compete"
)


def _mark(
    run: Run, table: str, dataset: str, rows: list[RowView], columns: list[Metric], cells: dict[tuple[str, str], Json]
) -> tuple[bool, str]:
    """Mark what the run's own comparisons call best; a run without them falls back to its intervals."""
    if not run.best:
        return _mark_best(rows, columns, cells), APART_RULE
    bold = {
        (str(method), str(one.get("metric")))
        for one in run.best
        if one.get("table") == table and one.get("dataset") == dataset
        for method in one.get("bold") or []
    }
    for row in rows:
        for metric, cell in zip(columns, row.cells, strict=True):
            cell.best = bool(cell.value) and (row.method.name, metric.name) in bold
    return any(cell.best for row in rows for cell in row.cells), TESTED_RULE


def _mark_claims(run: Run, table: str, dataset: str, rows: list[RowView], columns: list[Metric]) -> None:
    """Write into the cell of the other row what became of the paper's claim about it."""
    outcomes = {
        (str(one.get("against")), str(one.get("metric"))): str(one.get("outcome") or "")
        for one in run.claims
        if one.get("table") == table and one.get("dataset") == dataset
    }
    for row in rows:
        for metric, cell in zip(columns, row.cells, strict=True):
            cell.claim = outcomes.get((row.method.name, metric.name), "")


def _mark_best(rows: list[RowView], columns: list[Metric], cells: dict[tuple[str, str], Json]) -> bool:
    """Mark the best value of a column where its interval touches no other row's; controls do not compete."""
    marked = False
    for index, metric in enumerate(columns):
        sign = {"up": 1, "down": -1}.get(metric.direction)
        rivals = [
            (row, low, high)
            for row in rows
            if row.method.kind != "control"
            and (cell := cells.get((row.method.name, metric.name)))
            and number(cell.get("value")) is not None
            and (low := number(cell.get("low"))) is not None
            and (high := number(cell.get("high"))) is not None
        ]
        measured = [row for row in rows if row.method.kind != "control" and row.cells[index].value]
        if sign is None or len(rivals) < 2 or len(rivals) < len(measured):
            continue
        ranked = sorted(rivals, key=lambda r: sign * (r[1] + r[2]), reverse=True)
        best, others = ranked[0], ranked[1:]
        if all(best[1] > high or best[2] < low for _, low, high in others):
            best[0].cells[index].best = marked = True
    return marked


def paired_rows(run: Run) -> list[Json]:
    """Paired differences with titles, a verdict word and printed numbers."""
    return [row for item in run.paired if (row := _paired(run, item))]


def _paired(run: Run, item: Json) -> Json | None:
    mean, low, high = (number(item.get(name)) for name in ("mean", "low", "high"))
    metric = run.metrics.get(str(item.get("metric")))
    if metric is None or mean is None:
        return None
    method, against = str(item.get("method")), str(item.get("against"))
    dataset = run.datasets.get(str(item.get("dataset")))
    return {
        "metric": metric,
        "dataset": dataset.title if dataset else str(item.get("dataset") or ""),
        "method": title(run, method),
        "against": title(run, against),
        "mean": mean,
        "low": mean if low is None else low,
        "high": mean if high is None else high,
        "n": item.get("n"),
        "wins": item.get("wins"),
        "ties": item.get("ties"),
        "losses": item.get("losses"),
        "verdict": _paired_verdict(metric, low, high, str(item.get("verdict") or "")),
        "p": fmt.p_value(item.get("p_holm")),
        "effect": fmt.signed(item.get("effect"), 2) if number(item.get("effect")) is not None else "",
        "more": _more(item),
        "text": fmt.signed(mean, metric.digits),
        "interval": fmt.interval(low, high, metric.digits),
    }


def _more(item: Json) -> str:
    """How many samples would decide, where the run says."""
    more = number(item.get("more_samples"))
    if item.get("verdict") != "inconclusive":
        return ""
    return f"about {more:.0f} more samples would decide" if more else "no number of samples in sight"


def _paired_verdict(metric: Metric, low: float | None, high: float | None, stored: str = "") -> str:
    """The run's own verdict, which knows the correction; else what the interval says."""
    if stored:
        return "not told apart" if stored == "inconclusive" else stored
    if low is None or high is None or low <= 0 <= high:
        return "not told apart"
    if metric.direction not in ("up", "down"):
        return "differs"
    return "better" if (low > 0) == (metric.direction == "up") else "worse"


def title(run: Run, method: str) -> str:
    """The printed name of a method."""
    return run.methods[method].title if method in run.methods else method


@dataclass
class SampleRow:
    """Scores of one method on one sample."""

    dataset: str
    sample: str
    style: str
    composition: str
    method: str
    values: list[tuple[str, str]]
    state: str


def sample_metrics(run: Run) -> list[Metric]:
    """Metrics that have a value for at least one sample."""
    return [metric for metric in run.metrics.values() if run.has_scores(metric.name)]


def sample_rows(run: Run) -> list[SampleRow]:
    """One row per dataset, sample and method that has a score or a failed record."""
    metrics = sample_metrics(run)
    made = []
    for dataset in run.datasets.values():
        for sample in dataset.samples:
            for method in run.methods.values():
                values = [(m, run.score(m.name, method.name, dataset.name, sample.name)) for m in metrics]
                state = _state(run, method.name, dataset.name, sample.name)
                if state == "done" and not any(value is not None for _, value in values):
                    continue
                if state == "":
                    continue
                printed = [(fmt.decimal(v, m.digits), "" if v is None else repr(v)) for m, v in values]
                where = (dataset.title, sample.name, sample.style, sample.composition)
                made.append(SampleRow(*where, method.title, printed, state))
    return made


def _state(run: Run, method: str, dataset: str, sample: str) -> str:
    """Worst status of the records of one sample; empty when there is none."""
    states = [
        str(record.get("status") or "unknown")
        for clip, record in run.generate.items()
        if (clip.method, clip.dataset, clip.sample) == (method, dataset, sample)
    ] + [
        str(record.get("status") or "unknown")
        for (_, clip), record in run.scores.items()
        if (clip.method, clip.dataset, clip.sample) == (method, dataset, sample)
    ]
    bad = [state for state in states if state != "done"]
    return bad[0] if bad else "done" if states else ""


def cells_json(run: Run) -> bytes:
    """The cells as the page offers them for download."""
    return (json.dumps(run.cells, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def cells_csv(run: Run) -> bytes:
    """The same cells as CSV, one line each."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for cell in run.cells:
        writer.writerow({name: _plain(cell.get(name)) for name in CSV_FIELDS})
    return buffer.getvalue().encode()


def _plain(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
