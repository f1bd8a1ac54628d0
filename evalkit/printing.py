"""Tables for readers: Markdown, CSV and LaTeX from cells. Numbers are rounded here and nowhere else."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit import measures
from evalkit.definition import Definition, MetricInfo
from evalkit.experiments import Column, Row, Table

Cells = Sequence[Mapping[str, Any]]
ARROWS = {"up": "↑", "down": "↓", "zero": "→0"}
TEX_ARROWS = {"up": r"$\uparrow$", "down": r"$\downarrow$", "zero": r"$\rightarrow 0$"}
CELL_FIELDS = (
    "table",
    "method",
    "dataset",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "unit",
    "backbone",
    "status",
    "reason",
    "paper",
)
TICKS = {True: "✓", False: "✗"}
PAPER_NOTE = "Numbers after “paper” are the paper's own, from other data, other networks and other hardware."
FORMATS = ("md", "csv", "tex")


def print_table(definition: Definition, table: Table, cells: Cells, form: str) -> str:
    """One table as text of the given form."""
    own = [cell for cell in cells if cell["table"] == table.name]
    return {"md": _markdown, "csv": _csv, "tex": _latex}[form](definition, table, own)


def _markdown(definition: Definition, table: Table, cells: Cells) -> str:
    lines = [f"## {table.title}", ""]
    if definition.partial:
        lines += [f"**Partial**: {_partial_text(definition)}.", ""]
    for heading, rows in _blocks(definition, table, cells):
        header = [heading or "Method", *(_header(definition, column) for column in table.columns)]
        lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        for title, found in rows:
            lines.append("| " + " | ".join([title, *(_text(cell, column) for cell, column in found)]) + " |")
        lines.append("")
    return "\n".join([*lines, *_notes(definition, table, cells), ""])


def _csv(_definition: Definition, _table: Table, cells: Cells) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CELL_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    return buffer.getvalue()


def _latex(definition: Definition, table: Table, cells: Cells) -> str:
    lines = [r"\begin{tabular}{l" + "c" * len(table.columns) + "}", r"\toprule"]
    for heading, rows in _blocks(definition, table, cells):
        header = [heading or "Method", *(_header(definition, column, TEX_ARROWS) for column in table.columns)]
        lines += [" & ".join(_tex(part) for part in header) + r" \\", r"\midrule"]
        for title, found in rows:
            lines.append(" & ".join(_tex(part) for part in [title, *(_text(c, k) for c, k in found)]) + r" \\")
        lines.append(r"\midrule")
    lines[-1] = r"\bottomrule"
    notes = [f"% {note.removeprefix('- ')}" for note in _notes(definition, table, cells) if note]
    return "\n".join([f"% {table.title}", *lines, r"\end{tabular}", *notes, ""])


def _blocks(
    definition: Definition, table: Table, cells: Cells
) -> list[tuple[str, list[tuple[str, list[tuple[Mapping[str, Any], Column]]]]]]:
    """(heading, rows) per set; or a single block whose rows are the sets."""
    index = {(cell["dataset"], cell["method"], cell["metric"]): cell for cell in cells}
    rows = _rows(definition, table, cells)

    def line(dataset: str, row: Row) -> list[tuple[Mapping[str, Any], Column]]:
        return [(index[dataset, row.method, column.metric], column) for column in table.columns]

    def title(dataset: str) -> str:
        info = definition.dataset(dataset)
        return info.title if info else dataset

    if table.by_dataset:
        found = [
            (f"{title(dataset)}" if len(rows) == 1 else f"{title(dataset)}, {row.title}", line(dataset, row))
            for dataset in table.datasets
            for row in rows
        ]
        return [("Segment", found)]
    return [(title(dataset), [(row.title, line(dataset, row)) for row in rows]) for dataset in table.datasets]


def _rows(definition: Definition, table: Table, cells: Cells) -> list[Row]:
    known = {row.method: row for row in table.rows}
    names = dict.fromkeys(cell["method"] for cell in cells)
    return [known.get(name) or _row_of(definition, name) for name in names]


def _row_of(definition: Definition, name: str) -> Row:
    info = definition.method(name)
    return Row(name, info.title if info else name, info.kind if info else "system")


def _header(definition: Definition, column: Column, arrows: Mapping[str, str] = ARROWS) -> str:
    metric = definition.metric(column.metric)
    parts = [column.title, arrows.get(column.direction, "")]
    unit = metric.unit if metric else column.unit
    if unit:
        parts.append(f"({unit})")
    if metric is not None and metric.backbone:
        parts.append(f"[{measures.backbone_label(metric.backbone)}]")
    if not column.in_paper:
        parts.append("*")
    return " ".join(part for part in parts if part)


def _text(cell: Mapping[str, Any], column: Column) -> str:
    """A cell for a reader: value, interval, denominator if short, then the paper's number."""
    parts = []
    if cell["value"] is None:
        parts.append("–" if cell["status"] != "not_applicable" else "n/a")
    elif column.is_tick:
        parts.append(TICKS[bool(cell["value"])])
    else:
        parts.append(f"{cell['value']:.{column.digits}f}")
        if cell["low"] is not None and cell["high"] is not None:
            parts.append(f"[{cell['low']:.{column.digits}f}, {cell['high']:.{column.digits}f}]")
        if cell["status"] == "partial":
            parts.append(f"({_denominator(cell)})")
    if cell["paper"] is not None:
        parts.append(f"(paper {TICKS[bool(cell['paper'])] if column.is_tick else format(cell['paper'], '.2f')})")
    return " ".join(parts)


def _denominator(cell: Mapping[str, Any]) -> str:
    """`7/8` when records are missing, `n=2` when the set was limited on purpose."""
    first = str(cell["reason"] or "").split(" ", 1)[0]
    return first if "/" in first else f"n={cell['n']}"


def _notes(definition: Definition, table: Table, cells: Cells) -> list[str]:
    has_means = not all(column.is_tick for column in table.columns)
    notes = ["Mean over samples with a 95 % bootstrap interval (10,000 resamples of samples)."] if has_means else []
    if any(cell["paper"] is not None for cell in cells):
        notes.append(PAPER_NOTE)
    if any(not column.in_paper for column in table.columns):
        notes.append("* A column of our own, not in the paper's table.")
    if definition.speed is not None and any(column.metric in measures.SPEED_COLUMNS for column in table.columns):
        notes.append(f"speed: {definition.speed.name} (brackets: lowest and highest repeat).")
    if any(_is_nano(definition.metric(column.metric)) for column in table.columns):
        notes.append("Networks named nano are small stand-ins; their numbers compare with each other, not with the paper.")
    return [f"- {note}" for note in [*notes, *_evidence(table, cells), *_reasons(cells)]]


def _evidence(table: Table, cells: Cells) -> list[str]:
    """How each yes and no was seen."""
    ticks = {column.metric: column.title for column in table.columns if column.is_tick}
    seen = [cell for cell in cells if cell["metric"] in ticks and cell["value"] is not None]
    return [f"{cell['method']}, {ticks[cell['metric']].lower()}: {cell['reason']}." for cell in seen]


def _reasons(cells: Cells) -> list[str]:
    """Why cells are empty or short, one line per reason."""
    groups: dict[str, list[str]] = {}
    for cell in cells:
        if cell["reason"] and cell["status"] != "measured":
            groups.setdefault(cell["reason"], []).append(f"{cell['method']}/{cell['metric']}")
    return [f"{_first_names(names)}: {reason}" for reason, names in groups.items()]


def _first_names(names: Sequence[str], most: int = 3) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")


def _is_nano(metric: MetricInfo | None) -> bool:
    return metric is not None and metric.backbone.get("kind") == "nano"


def _partial_text(definition: Definition) -> str:
    counts = ", ".join(f"{len(one.samples)} of {one.size} samples of {one.name}" for one in definition.datasets)
    return counts + (f" (--limit {definition.limit})" if definition.limit else "")


def _tex(text: str) -> str:
    replaced = text.replace("&", r"\&").replace("%", r"\%").replace("_", r"\_").replace("#", r"\#")
    return replaced.replace("–", "--").replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")
