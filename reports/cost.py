"""Quality against cost for systems that come in several numbers of steps: one line per family, one panel per metric."""

from __future__ import annotations

import re
from collections import defaultdict

from matplotlib.axes import Axes

from reports import format as fmt
from reports import plot
from reports.data import Json, Run, number
from reports.figures import WIDTH_IN
from reports.speed import playback_rate

_STEPS = re.compile(r"(?P<family>.+)_(?P<steps>\d+)_steps")
PANEL_IN, GAP_IN, COLUMNS = 1.75, 0.62, 3
TICKS_S = (0.01, 0.03, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100)
Point = tuple[float, str, Json]
"""(seconds of computing per second of video, method, the metric's cell)."""


def cost_pictures(run: Run) -> list[plot.Picture]:
    """One figure per test set whose methods come in several numbers of steps, with speed measured."""
    datasets = dict.fromkeys(str(cell.get("dataset")) for cell in run.cells)
    made = [_picture(run, dataset, f"cost{index}") for index, dataset in enumerate(datasets)]
    return [picture for picture in made if picture]


def families(run: Run) -> dict[str, list[str]]:
    """Methods by family: those named FAMILY_N_steps, and FAMILY itself; families of one are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in run.methods:
        match = _STEPS.fullmatch(name)
        found[match["family"] if match else name].append(name)
    return {family: names for family, names in found.items() if len(names) > 1}


def _picture(run: Run, dataset: str, name: str) -> plot.Picture | None:
    cells = {(str(c.get("method")), str(c.get("metric"))): c for c in run.cells if c.get("dataset") == dataset}
    lines = {family: names for family, names in families(run).items() if any((one, "fps") in cells for one in names)}
    metrics = [metric for metric in run.metrics if metric not in ("fps", "ttff") and _line(run, cells, lines, metric)]
    if not lines or not metrics:
        return None
    rows = -(-len(metrics) // COLUMNS)
    height = rows * (PANEL_IN + GAP_IN) + 0.45
    with plot.canvas(WIDTH_IN, height) as figure:
        for index, metric in enumerate(metrics):
            row, column = divmod(index, COLUMNS)
            bottom = 1 - ((row + 1) * (PANEL_IN + GAP_IN) - GAP_IN + 0.3) / height
            axes = plot.panel(figure, 0.05 + column * 0.325, bottom, 0.27, PANEL_IN / height)
            _panel(axes, run, cells, lines, metric)
        drawing = plot.svg(figure, name)
    table = [
        [run.methods[method].title, fmt.decimal(cost, 3), *_texts(run, cells, method, metrics)]
        for names in lines.values()
        for cost, method, _ in _points(run, cells, names, "fps")
    ]
    header = ["Method", "Computing per second of video, s", *(run.metrics[metric].title for metric in metrics)]
    words = "; ".join(f"{row[0]} at {row[1]} s" for row in table)
    caption = "Left is cheaper. A dashed level is the truth's; bars are 95 % intervals; the vertical line is real time."
    return plot.Picture(drawing, f"Quality against cost on {dataset}: {words}.", caption, header, table)


def _texts(run: Run, cells: dict[tuple[str, str], Json], method: str, metrics: list[str]) -> list[str]:
    values = [number(cells.get((method, metric), {}).get("value")) for metric in metrics]
    digits = [run.metrics[metric].digits for metric in metrics]
    return [fmt.EN_DASH if v is None else fmt.decimal(v, d) for v, d in zip(values, digits, strict=True)]


def _line(run: Run, cells: dict[tuple[str, str], Json], lines: dict[str, list[str]], metric: str) -> bool:
    return any(len(_points(run, cells, names, metric)) > 1 for names in lines.values())


def _points(run: Run, cells: dict[tuple[str, str], Json], names: list[str], metric: str) -> list[Point]:
    """Measured methods of a family, the cheapest first."""
    found = []
    for name in names:
        rate = number(cells.get((name, "fps"), {}).get("value"))
        cell = cells.get((name, metric), {})
        if rate and number(cell.get("value")) is not None:
            found.append((playback_rate(run) / rate, name, cell))
    return sorted(found, key=lambda one: one[0])


def _panel(axes: Axes, run: Run, cells: dict[tuple[str, str], Json], lines: dict[str, list[str]], metric: str) -> None:
    for index, (family, names) in enumerate(lines.items()):
        points = _points(run, cells, names, metric)
        colour = plot.series_colour(2 * index)
        label = family.replace("_", " ")
        axes.plot(
            [cost for cost, _, _ in points], [cell["value"] for _, _, cell in points], marker=plot.series_marker(index),
            color=colour, linestyle=plot.series_dash(index), label=label, markersize=5,
        )  # fmt: skip
        for cost, method, cell in points:
            low, high = number(cell.get("low")), number(cell.get("high"))
            if low is not None and high is not None:
                axes.plot([cost, cost], [low, high], color=colour, linewidth=1)
            match = _STEPS.fullmatch(method)
            note = match["steps"] if match else ""
            axes.annotate(note, (cost, cell["value"]), (3, 4), textcoords="offset points", fontsize=7.5, color=plot.MUTED)
    truth = number(cells.get(("truth", metric), {}).get("value"))
    if truth is not None:
        axes.axhline(truth, color=plot.INK, linewidth=1, linestyle=(0, (4, 2)))
    axes.axvline(1.0, color=plot.GRID, linewidth=1)
    axes.margins(x=0.1, y=0.12)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [one for one in TICKS_S if low <= one <= high]
    axes.set_xticks(ticks, [f"{one:g}" for one in ticks])
    axes.set_xticks([], minor=True)
    axes.set_title(run.metrics[metric].title, x=0)
    axes.set_xlabel("computing per second of video, s", labelpad=2, fontsize=8)
    axes.legend(frameon=False, fontsize=7.5, loc="best")
