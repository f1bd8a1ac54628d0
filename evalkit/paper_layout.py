"""Each table as the paper prints it: its columns, its rows, plain numbers, the best in bold; as LaTeX and as CSV.

For a manuscript, where intervals, control rows and reasons stand in the text. What was not measured is a dash, never the
paper's own number.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from evalkit import measures
from evalkit.definition import Definition
from evalkit.experiments import Column, Table
from evalkit.methods.base import CONTROL
from evalkit.printing import TEX_ARROWS, tex

FORMATS = ("paper.tex", "paper.csv")
PAPER_SETS = {
    "genbench_short": "GenBench-ShortVideo",
    "genbench_long": "GenBench-LongVideo",
    "genbench_in_domain": "GenBench-In-Domain",
}
Cells = Sequence[Mapping[str, Any]]
Line = tuple[str, str, list[tuple[str, bool]]]  # set, row title, (text, is bold) per column


def paper_table(definition: Definition, table: Table, cells: Cells, best: Cells, form: str) -> str:
    """One table in the paper's layout. form: `paper.tex` or `paper.csv`."""
    columns = [column for column in table.columns if column.in_paper]
    lines = list(_lines(definition, table, columns, cells, best))
    return _latex(definition, table, columns, lines) if form == "paper.tex" else _csv(table, columns, lines)


def _lines(definition: Definition, table: Table, columns: Sequence[Column], cells: Cells, best: Cells) -> Iterator[Line]:
    index = {(one["dataset"], one["method"], one["metric"]): one for one in cells if one["table"] == table.name}
    bold = {(one["dataset"], name, one["metric"]) for one in best if one["table"] == table.name for name in one["bold"]}
    for dataset in table.datasets:
        info = definition.dataset(dataset)
        place = PAPER_SETS.get(dataset, info.title if info else dataset)
        for row in table.rows:
            if row.kind == CONTROL:
                continue
            found = [_entry(index.get((dataset, row.method, column.metric)), column, bold) for column in columns]
            yield place, row.title, found


def _entry(cell: Mapping[str, Any] | None, column: Column, bold: Set[tuple[str, str, str]]) -> tuple[str, bool]:
    if cell is None or cell["value"] is None:
        return "", False
    return f"{cell['value']:.{column.digits}f}", (cell["dataset"], cell["method"], cell["metric"]) in bold


def _heads(table: Table) -> list[str]:
    if table.by_dataset:
        return ["Segment"]
    return ["Dataset", "Model"] if len(table.datasets) > 1 else ["Methods"]


def _lead(table: Table, line: Line) -> list[str]:
    if table.by_dataset:
        return [line[0]]
    return [line[0], line[1]] if len(table.datasets) > 1 else [line[1]]


def _csv(table: Table, columns: Sequence[Column], lines: Sequence[Line]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_heads(table), *(column.title for column in columns)])
    for line in lines:
        writer.writerow([*_lead(table, line), *(text for text, _ in line[2])])
    return buffer.getvalue()


def _latex(definition: Definition, table: Table, columns: Sequence[Column], lines: Sequence[Line]) -> str:
    heads = _heads(table)
    titles = [f"{tex(column.title)} {TEX_ARROWS.get(column.direction, '')}".rstrip() for column in columns]
    made = [f"% {table.title}; needs \\usepackage{{booktabs,multirow}}", *_origin(definition, columns)]
    made += [r"\begin{tabular}{" + "l" * len(heads) + "c" * len(columns) + "}", r"\toprule"]
    made += [" & ".join([*heads, *titles]) + r" \\", r"\midrule"]
    for place, group in _groups(table, lines):
        for number, line in enumerate(group):
            lead = [tex(part) for part in _lead(table, line)]
            if len(lead) > 1:
                lead[0] = rf"\multirow{{{len(group)}}}{{*}}{{{tex(place)}}}" if number == 0 else ""
            values = [rf"\textbf{{{text}}}" if is_bold else text or "--" for text, is_bold in line[2]]
            made.append(" & ".join([*lead, *values]) + r" \\")
        made.append(r"\midrule")
    made[-1] = r"\bottomrule"
    return "\n".join([*made, r"\end{tabular}", ""])


def _groups(table: Table, lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Lines of one set together; segments are one group."""
    if table.by_dataset:
        return [("", list(lines))]
    places = dict.fromkeys(line[0] for line in lines)
    return [(place, [line for line in lines if line[0] == place]) for place in places]


def _origin(definition: Definition, columns: Sequence[Column]) -> list[str]:
    """Comments that keep a number and the network that gave it together, wherever the table is pasted."""
    made = [f"% profile {definition.profile}, suite {definition.suite}{', partial' if definition.partial else ''}"]
    for column in columns:
        metric = definition.metric(column.metric)
        if metric is not None and metric.backbone:
            made.append(f"% {column.title}: {measures.backbone_label(metric.backbone)}")
    return made
