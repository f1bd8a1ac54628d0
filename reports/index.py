"""One page over many runs: what each holds, links to its report, and each figure's trend with the steps in it.

``python -m reports index RUNS...`` or a folder of runs. Values of one line are comparable: same table cell, same
measuring network, same test set. A step is a change of level larger than the noise around it; it is only ever pointed at,
never judged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from urllib.parse import quote

from reports import format as fmt
from reports import plot, trust
from reports.data import Json, Run, load, number
from reports.page import environment, write_page
from reports.tables import summary_tables

WIDTH_IN, HEIGHT_IN = 5.4, 2.3
LEAST_POINTS = 2
LEAST_FOR_STEP = 4
STEP_SIGMAS = 4.0
MAX_TRENDS = 60


@dataclass
class RunRow:
    """One run of the list."""

    title: str
    name: str
    suite: str
    profile: str
    date: str
    commit: str
    verdict: str
    link: str
    state: str
    tables: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Point:
    """One run's value of a cell."""

    date: str
    commit: str
    value: float
    low: float | None
    high: float | None


@dataclass
class Trend:
    """One figure over time."""

    title: str
    picture: plot.Picture
    steps: list[str] = field(default_factory=list)


def build_index(places: Sequence[Path], out: Path) -> Path:
    """Write the index page over the runs found in ``places`` (runs, or folders of runs) to ``out``."""
    roots = find_runs(places)
    if not roots:
        raise ValueError(f"no run folder in {', '.join(map(str, places))}; give folders that hold an experiment.json")
    runs = sorted((load(root) for root in roots), key=lambda run: (trust.date(run), _moment(run), run.root.name))
    rows = [_row(run, out.parent) for run in reversed(runs)]
    trends = _trends(runs)
    text = environment().get_template("index.html.j2").render(**_context(rows, trends))
    return write_page(out, text)


def find_runs(places: Sequence[Path]) -> list[Path]:
    """Run folders among ``places`` and directly inside them, each once, in the order of their names."""
    found: dict[Path, None] = {}
    for place in places:
        inside = [place, *sorted(path for path in place.iterdir() if path.is_dir())] if place.is_dir() else []
        for path in inside:
            if (path / "experiment.json").is_file():
                found[path.resolve()] = None
    return list(found)


def find_steps(values: Sequence[float]) -> list[int]:
    """Places where a new level begins: the split that lessens the spread most, if the jump is clear of the noise.

    Noise is taken from neighbours' differences, so that a slow trend is no step; both sides of a step are searched again.
    """
    if len(values) < LEAST_FOR_STEP:
        return []
    best, gain = 0, 0.0
    for place in range(2, len(values) - 1):
        jump = fmean(values[place:]) - fmean(values[:place])
        found = abs(jump) * (place * (len(values) - place) / len(values)) ** 0.5
        if found > gain:
            best, gain = place, found
    if not best:
        return []
    jump = fmean(values[best:]) - fmean(values[:best])
    # A slow trend has distant ends too; a step shows right where it is.
    here = fmean(values[best : best + 2]) - fmean(values[max(0, best - 2) : best])
    others = [abs(b - a) for i, (a, b) in enumerate(pairwise(values), 1) if i != best]
    noise = median(others) / 0.954 if others else 0.0  # the median of |difference| of two normal values is 0.954 sigma
    if min(abs(jump), abs(here)) <= max(STEP_SIGMAS * noise, 1e-9 * max(map(abs, values))):
        return []
    return [*find_steps(values[:best]), best, *(best + one for one in find_steps(values[best:]))]


def _context(rows: list[RunRow], trends: list[Trend]) -> Json:
    from markupsafe import Markup

    from reports.page import TEMPLATES, policy

    script = (TEMPLATES / "script.js").read_text("utf-8")
    style = (TEMPLATES / "style.css").read_text("utf-8")
    about = {"rows": rows, "trends": trends, "left_out": max(0, len(trends) - MAX_TRENDS), "shown": trends[:MAX_TRENDS]}
    return {**about, "script": Markup(script), "style": Markup(style), "policy": policy(script, False)}


def _row(run: Run, base: Path) -> RunRow:
    page = run.root / "report" / "index.html"
    link = quote(os.path.relpath(page, base.resolve()).replace(os.sep, "/")) if page.is_file() else ""
    e = run.experiment
    bad = sum(record.get("status") != "done" for _, record in run.records())
    state = "partial" if e.get("partial") else "failures" if bad else "complete"
    title = str(e.get("title") or e.get("name") or run.root.name)
    name, suite, profile = (str(e.get(key) or "") for key in ("name", "suite", "profile"))
    tables = [(f"{one.title}, {one.dataset}", f"{link}#{one.anchor}-c") for one in summary_tables(run)] if link else []
    date, commit = trust.date(run), _commit(run)[:10]
    return RunRow(title, name, suite, profile, date, commit, trust.verdict(run), link, state, tables)


def _commit(run: Run) -> str:
    """Commit of the code that made the run's newest record; `+` where files differed from it."""
    for _, record in sorted(run.records(), key=lambda pair: str(pair[1].get("finished") or ""), reverse=True):
        git = (record.get("origin") or {}).get("git")
        if isinstance(git, dict) and git.get("commit"):
            return str(git["commit"])[:9] + ("+" if git.get("dirty") else "")
    return ""


def _moment(run: Run) -> str:
    stamps = [str(record["finished"]) for _, record in run.records() if isinstance(record.get("finished"), str)]
    return max(stamps, default=str(run.experiment.get("created") or ""))


def _trends(runs: Sequence[Run]) -> list[Trend]:
    series: dict[tuple[str, ...], list[Point]] = {}
    words: dict[tuple[str, ...], tuple[str, int]] = {}
    for run in runs:
        for cell in _cells(run):
            metric, value = run.metrics.get(str(cell.get("metric"))), number(cell.get("value"))
            if metric is None or value is None:
                continue
            dataset, method = str(cell.get("dataset")), str(cell.get("method"))
            about = run.datasets.get(dataset)
            key = (metric.name, dataset, method, str(cell.get("backbone") or ""), about.digest if about else "")
            place = about.title if about else dataset
            who = run.methods[method].title if method in run.methods else method
            words[key] = (f"{metric.title}, {who}, {place}", metric.digits)
            point = Point(_moment(run)[:10], _commit(run), value, number(cell.get("low")), number(cell.get("high")))
            series.setdefault(key, []).append(point)
    made = [(words[key], points) for key, points in series.items() if len(points) >= LEAST_POINTS]
    return [_trend(title, digits, points, f"trend{index}") for index, ((title, digits), points) in enumerate(made)]


def _cells(run: Run) -> list[Json]:
    """Each cell once, however many tables print it; control rows and what others do say nothing of progress."""
    others = ("control", "rival", "paradigm")
    distinct = {(one.get("metric"), one.get("dataset"), one.get("method")): one for one in run.cells}
    return [one for (_, _, method), one in distinct.items() if _kind(run, str(method)) not in others]


def _kind(run: Run, method: str) -> str:
    return run.methods[method].kind if method in run.methods else "rival"


def _trend(title: str, digits: int, points: list[Point], name: str) -> Trend:
    values = [point.value for point in points]
    steps = find_steps(values)
    with plot.canvas(WIDTH_IN, HEIGHT_IN) as figure:
        axes = plot.panel(figure, 0.11, 0.2, 0.86, 0.64)
        places = range(len(points))
        for place, point in enumerate(points):
            if point.low is not None and point.high is not None:
                axes.plot([place, place], [point.low, point.high], color=plot.MUTED, linewidth=1.2)
        axes.plot(places, values, marker="o", markersize=4.5, color=plot.series_colour(0))
        for step in steps:
            axes.axvline(step - 0.5, color=plot.INK, linewidth=1, linestyle=(0, (3, 2)))
        axes.set_title(title, x=0, fontsize=9)
        shown = sorted({0, len(points) - 1, *steps})
        axes.set_xticks(shown, [points[place].date[5:] or str(place) for place in shown])
        axes.margins(x=0.04, y=0.2)
        axes.locator_params(axis="y", nbins=4)
        drawing = plot.svg(figure, name)
    found = [_step_words(points, step, digits) for step in steps]
    header = ["Run", "Commit", "Value", "95 % interval"]
    rows = [
        [
            point.date,
            point.commit or fmt.EN_DASH,
            fmt.decimal(point.value, digits),
            fmt.interval(point.low, point.high, digits),
        ]
        for point in points
    ]
    ends = (
        f"from {fmt.decimal(values[0], digits)} to {fmt.decimal(values[-1], digits)} over {fmt.plural(len(values), 'run')}"
    )
    words = f"{title}: {ends}. {' '.join(found) or 'No step.'}"
    return Trend(title, plot.Picture(drawing, words, " ".join(found), header, rows), found)


def _step_words(points: list[Point], step: int, digits: int) -> str:
    before, after = points[step - 1], points[step]
    where = f" (commit {after.commit})" if after.commit else ""
    return f"Step at {after.date}{where}: {fmt.decimal(before.value, digits)} to {fmt.decimal(after.value, digits)}."
