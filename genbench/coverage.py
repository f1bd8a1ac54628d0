"""Which kinds of samples a set holds, counted: style x framing x view, and the other columns of the specification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from genbench.composition import FRAMINGS, STYLES, UNSTATED, VIEWS
from genbench.manifest import Sample

COLUMNS = ("gender", "age", "language", "emotion")


def cells_of(samples: Sequence[Sample]) -> list[tuple[str, str, str]]:
    """(style, framing, view) of every sample."""
    return [(sample.style, sample.framing, sample.view) for sample in samples]


def coverage_table(cells: Sequence[tuple[str, str, str]]) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """(column names, rows of (style, counts)): a column per framing and view that occurs or could, and one for all."""
    counts = Counter(cells)
    columns = [(framing, view) for framing in FRAMINGS for view in VIEWS]
    if any(UNSTATED in cell[1:] for cell in counts):
        columns.append((UNSTATED, UNSTATED))
    styles = [style for style in (*STYLES, UNSTATED) if style in STYLES or any(cell[0] == style for cell in counts)]
    rows = [(style, [counts[style, *column] for column in columns]) for style in styles]
    rows.append(("all", [sum(column) for column in zip(*(row for _, row in rows), strict=True)]))
    names = [UNSTATED if framing == UNSTATED else f"{framing.replace('_', ' ')}, {view}" for framing, view in columns]
    return [*names, "all"], [(style, [*row, sum(row)]) for style, row in rows]


def coverage_lines(cells: Sequence[tuple[str, str, str]]) -> list[str]:
    """The table as Markdown."""
    names, rows = coverage_table(cells)
    lines = ["| style | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    return lines + [f"| {style} | " + " | ".join(str(count) for count in row) + " |" for style, row in rows]


def column_counts(samples: Sequence[Sample], column: str) -> dict[str, int]:
    """How often each value of a specification's column occurs, the most frequent first."""
    return dict(Counter(str(sample.spec.get(column, UNSTATED)) for sample in samples).most_common())
