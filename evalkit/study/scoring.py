"""From answers to Table 5: means on 0 to 100 per method and criterion with intervals, agreement, and who was left out."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evalkit import stats
from evalkit.paper import SHORT, paper_value
from evalkit.study import CRITERIA, LEAST, MOST
from evalkit.study.agreement import krippendorff_alpha, rated
from evalkit.study.answers import Rater
from evalkit.study.design import Study
from evalkit.study.screening import Rules, careless, repeat_gaps


def score_study(raters: Sequence[Rater], study: Study, rules: Rules | None = None) -> dict[str, Any]:
    """The whole result as plain data: one table of all raters, one without those who were careless."""
    reasons = careless(raters, study, rules)
    kept = [one for one in raters if one.id not in reasons]
    gaps = [gap for rater in kept for gap in repeat_gaps(rater, study)]
    return {
        "schema_version": 1,
        "study": study.id,
        "dataset": study.dataset,
        "raters": len(raters),
        "left_out": [{"rater": name, "reasons": found} for name, found in sorted(reasons.items())],
        "rules": asdict(rules or Rules()),
        "table": table(kept, study),
        "table_of_all": table(raters, study),
        "agreement": agreement(kept, study),
        "repeat_gap": statistics.mean(gaps) if gaps else None,
        "differences": differences(kept, study),
    }


def table(raters: Sequence[Rater], study: Study) -> list[dict[str, Any]]:
    """Method by criterion: mean over raters of each rater's mean, 0 to 100, with a 95 % bootstrap interval over raters."""
    rows: list[dict[str, Any]] = []
    for method in study.methods:
        row: dict[str, Any] = {"method": method}
        for criterion in CRITERIA:
            means = rater_means(raters, study, method, criterion)
            found = stats.estimate(list(means.values())) if means else None
            row[criterion] = {
                "mean": found.mean if found else None,
                "low": found.low if found else None,
                "high": found.high if found else None,
                "raters": len(means),
                "paper": paper_value("Table 5", SHORT, method, criterion),
            }
        rows.append(row)
    return rows


def rater_means(raters: Sequence[Rater], study: Study, method: str, criterion: str) -> dict[str, float]:
    """Each rater's mean over a method's clips, on 0 to 100."""
    clips = {one.id for one in study.clips if one.method == method}
    collected: dict[str, list[float]] = {}
    for (clip, name), given in rated(raters, study).items():
        if clip in clips and name == criterion:
            for rater, value in given.items():
                collected.setdefault(rater, []).append(100 * (value - LEAST) / (MOST - LEAST))
    return {rater: sum(values) / len(values) for rater, values in collected.items()}


def agreement(raters: Sequence[Rater], study: Study) -> dict[str, float | None]:
    """Krippendorff's alpha (interval scale) per criterion."""
    units = rated(raters, study)
    return {
        name: krippendorff_alpha([list(given.values()) for (_, criterion), given in units.items() if criterion == name])
        for name in CRITERIA
    }


def differences(raters: Sequence[Rater], study: Study) -> list[dict[str, Any]]:
    """The first method against every other, paired by rater."""
    first, *others = study.methods
    made = []
    for other in others:
        for criterion in CRITERIA:
            pair = [rater_means(raters, study, method, criterion) for method in (first, other)]
            found = stats.paired(pair[0], pair[1], "up")
            if found is not None:
                made.append({"method": first, "against": other, "criterion": criterion, **asdict(found)})
    return made


def markdown(result: dict[str, Any], titles: dict[str, str]) -> str:
    """The result for readers."""
    kept = result["raters"] - len(result["left_out"])
    lines = [f"## User study ({kept} of {result['raters']} raters)", ""]
    lines += _rows(result["table"], titles)
    lines += ["", "Mean on 0 to 100 over raters with a 95 % bootstrap interval over raters (10,000 resamples)."]
    alphas = ", ".join(f"{name} {_number(value, 2)}" for name, value in result["agreement"].items())
    lines.append(f"Agreement of raters (Krippendorff's alpha, interval scale): {alphas}.")
    if result["repeat_gap"] is not None:
        lines.append(f"Ratings of pairs shown twice differ by {result['repeat_gap']:.2f} scale points on average.")
    if any(row[name]["paper"] is not None for row in result["table"] for name in CRITERIA):
        lines.append("Numbers after “paper” are the paper's own (Table 5), from other clips and other raters.")
    for one in result["left_out"]:
        lines.append(f"Left out: {one['rater']}: {'; '.join(one['reasons'])}.")
    if result["left_out"]:
        lines += ["", "With all raters:", "", *_rows(result["table_of_all"], titles)]
    return "\n".join([*lines, ""])


def _rows(rows: Sequence[dict[str, Any]], titles: dict[str, str]) -> list[str]:
    header = ["Method", *(f"{name.capitalize()} ↑" for name in CRITERIA)]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in rows:
        cells = [titles.get(row["method"], row["method"]), *(_cell(row[name]) for name in CRITERIA)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(cell: dict[str, Any]) -> str:
    parts = [_number(cell["mean"], 1)]
    if cell["low"] is not None:
        parts.append(f"[{cell['low']:.1f}, {cell['high']:.1f}]")
    if cell["paper"] is not None:
        parts.append(f"(paper {cell['paper']:.1f})")
    return " ".join(parts)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
