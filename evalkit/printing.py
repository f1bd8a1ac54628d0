"""Tables for readers: Markdown, CSV and LaTeX from cells. Numbers are rounded here and nowhere else."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence, Set
from typing import Any

from evalkit import measures
from evalkit.definition import Definition, MetricInfo
from evalkit.experiments import Column, Row, Table
from evalkit.power import open_questions

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
BOLD_NOTE = (
    "Bold: the best of its column and every row not told apart from it (paired sign-flip test, Holm over the column's "
    "rows, 5 %; speed: ranges of repeats that do not touch). Control rows do not compete."
)
NO_BOLD_NOTE = "Nothing is bold: no row is told apart from the best of its column at this sample size."
FORMATS = ("md", "csv", "tex")
Bold = Set[tuple[str, str, str]]


def print_table(definition: Definition, table: Table, cells: Cells, form: str, best: Cells = (), paired: Cells = ()) -> str:
    """One table as text of the given form.

    best, paired: what `comparisons` found, for bold values and for what is open.
    """
    own = [cell for cell in cells if cell["table"] == table.name]
    bold = {(one["dataset"], method, one["metric"]) for one in best if one["table"] == table.name for method in one["bold"]}
    notes = [] if form == "csv" else _notes(definition, table, own, bold, open_questions(definition, table, paired))
    return {"md": _markdown, "csv": _csv, "tex": _latex}[form](definition, table, own, bold, notes)


def _markdown(definition: Definition, table: Table, cells: Cells, bold: Bold, notes: Sequence[str]) -> str:
    lines = [f"## {table.title}", ""]
    if definition.partial:
        lines += [f"**Partial**: {_partial_text(definition)}.", ""]
    for heading, rows in _blocks(definition, table, cells):
        header = [heading or "Method", *(_header(definition, column) for column in table.columns)]
        lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
        for title, found in rows:
            texts = [_text(cell, column, "**{}**" if _place(cell) in bold else "{}") for cell, column in found]
            lines.append("| " + " | ".join([title, *texts]) + " |")
        lines.append("")
    return "\n".join([*lines, *notes, ""])


def _csv(_definition: Definition, _table: Table, cells: Cells, _bold: Bold, _notes: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CELL_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    return buffer.getvalue()


def _latex(definition: Definition, table: Table, cells: Cells, bold: Bold, notes: Sequence[str]) -> str:
    lines = [r"\begin{tabular}{l" + "c" * len(table.columns) + "}", r"\toprule"]
    for heading, rows in _blocks(definition, table, cells):
        header = [heading or "Method", *(_header(definition, column, TEX_ARROWS) for column in table.columns)]
        lines += [" & ".join(tex(part) for part in header) + r" \\", r"\midrule"]
        for title, found in rows:
            texts = [tex(_text(c, k)) for c, k in found]
            texts = [rf"\textbf{{{text}}}" if _place(c) in bold else text for text, (c, _) in zip(texts, found, strict=True)]
            lines.append(" & ".join([tex(title), *texts]) + r" \\")
        lines.append(r"\midrule")
    lines[-1] = r"\bottomrule"
    comments = [f"% {note.removeprefix('- ')}" for note in notes if note]
    return "\n".join([f"% {table.title}", *lines, r"\end{tabular}", *comments, ""])


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


def _place(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    return cell["dataset"], cell["method"], cell["metric"]


def _text(cell: Mapping[str, Any], column: Column, form: str = "{}") -> str:
    """A cell for a reader: value in the given form, interval, denominator if short, then the paper's number."""
    parts = []
    if cell["value"] is None:
        parts.append("–" if cell["status"] != "not_applicable" else "n/a")
    elif column.is_tick:
        parts.append(TICKS[bool(cell["value"])])
    else:
        parts.append(form.format(f"{cell['value']:.{column.digits}f}"))
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


def _notes(definition: Definition, table: Table, cells: Cells, bold: Bold, questions: Sequence[str]) -> list[str]:
    has_means = not all(column.is_tick for column in table.columns)
    notes = ["Mean over samples with a 95 % bootstrap interval (10,000 resamples of samples)."] if has_means else []
    if has_means and not table.by_dataset:
        notes += [BOLD_NOTE if bold else NO_BOLD_NOTE, *questions]
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


def tex(text: str) -> str:
    """Text as LaTeX takes it."""
    replaced = text.replace("&", r"\&").replace("%", r"\%").replace("_", r"\_").replace("#", r"\#")
    return replaced.replace("–", "--").replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")
