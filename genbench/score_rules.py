"""Which clips a table of scores lets through: rules such as "sync_c>=3" over a .csv or JSON-lines file with a `clip`
column.
"""

from __future__ import annotations

import csv
import json
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Scores = dict[str, dict[str, float]]
_FORM = re.compile(r"\s*([\w.]+)\s*(>=|<=|>|<)\s*(-?\d+\.?\d*)\s*")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A bound on one score."""

    name: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Rule:
        """From "NAME>=NUMBER". Raises ValueError for any other form."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"rule {text!r}: write NAME>=NUMBER, with >=, <=, > or <")
        return cls(found[1], found[2], float(found[3]))

    def refusal(self, scores: dict[str, float]) -> str:
        """Why a clip with these scores is refused; empty if it is not. A missing score refuses."""
        value = scores.get(self.name)
        if value is not None and _SIGNS[self.sign](value, self.bound):
            return ""
        return f"{self.name} is {'not in the table' if value is None else f'{value:g}'}, wanted {self.sign} {self.bound:g}"


def refusal(rules: Sequence[Rule], scores: dict[str, float]) -> str:
    """The first rule's refusal, empty if all let the clip through."""
    return next((reason for rule in rules if (reason := rule.refusal(scores))), "")


def read_scores(file: Path) -> Scores:
    """Numbers by clip name; other columns are left out. Raises ValueError where a row has no `clip`, or a clip two rows."""
    if file.suffix.lower() == ".csv":
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows: list[dict[str, object]] = list(csv.DictReader(opened))
    else:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    scores: Scores = {}
    for number, row in enumerate(rows, start=1):
        clip = str(row.get("clip") or "")
        if not clip:
            raise ValueError(f"{file}, row {number} has no `clip`: that column names the video without its suffix")
        if clip in scores:
            raise ValueError(f"{file} has more than one row for {clip!r}; keep one")
        scores[clip] = {name: found for name, value in row.items() if (found := _number(value)) is not None}
    return scores


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
