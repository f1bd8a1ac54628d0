"""Figures of the whole run: paired differences, quality over time, memory."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import format as fmt
from reports import plot
from reports.data import Json, Run, number
from reports.tables import paired_rows

BIN_S = 10.0
WIDTH_IN = 11.2
ROW_IN, HEAD_IN, FOOT_IN = 0.3, 0.36, 0.36
NAMES_SHARE = 0.2
VERDICT_COLOUR = {"better": plot.GOOD, "worse": plot.BAD}


def method_index(run: Run, name: str) -> int:
    """Place of a method in the page's palette."""
    return list(run.methods).index(name) if name in run.methods else len(run.methods)


def paired_pictures(run: Run) -> list[plot.Picture]:
    """One dot-and-interval figure per dataset."""
    groups: dict[str, list[Json]] = defaultdict(list)
    for row in _distinct(paired_rows(run)):
        groups[row["dataset"]].append(row)
    return [_paired(dataset, rows, f"paired{i}") for i, (dataset, rows) in enumerate(groups.items())]


def _distinct(rows: list[Json]) -> list[Json]:
    """The same comparison may belong to several tables; it is drawn once."""
    seen, kept = set(), []
    for row in rows:
        key = (row["dataset"], row["metric"].name, row["method"], row["against"])
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def _paired(dataset: str, rows: list[Json], name: str) -> plot.Picture:
    metrics = list(dict.fromkeys(row["metric"].name for row in rows))
    lanes = list(dict.fromkeys((row["method"], row["against"]) for row in rows))
    columns = min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    cell_in = HEAD_IN + ROW_IN * len(lanes) + FOOT_IN
    with plot.canvas(WIDTH_IN, cell_in * lines) as figure:
        for index, metric in enumerate(metrics):
            line, column = divmod(index, columns)
            group = [row for row in rows if row["metric"].name == metric]
            _paired_panel(_paired_axes(figure, (line, column, lines), len(lanes)), group, lanes, column == 0)
        drawing = plot.svg(figure, name)
    words = "; ".join("{} {}: {}, {}".format(*_spoken(row)) for row in rows)
    return plot.Picture(
        drawing,
        f"Paired differences on {dataset}, with 95 % intervals: {words}.",
        f"{dataset}. {_minuend(lanes)}Dot: mean difference over the same samples; line: 95 % interval. "
        "Green is better, red is worse; a hollow grey dot is not told apart.",
        [
            *("Metric", "Comparison", "Difference", "95 % interval", "n"),
            "Wins / ties / losses",
            "p (Holm)",
            "Effect",
            "Reading",
        ],
        [_paired_text(row) for row in rows],
    )


def _spoken(row: Json) -> tuple[str, str, str, str]:
    return row["metric"].title, f"{row['method']} minus {row['against']}", row["text"], row["verdict"]


def _paired_text(row: Json) -> list[str]:
    counts = " / ".join("?" if row[k] is None else str(row[k]) for k in ("wins", "ties", "losses"))
    n = fmt.EN_DASH if row["n"] is None else str(row["n"])
    versus = f"{row['method']} minus {row['against']}"
    reading = row["verdict"] + (f"; {row['more']}" if row["more"] else "")
    return [row["metric"].title, versus, row["text"], row["interval"], n, counts, row["p"], row["effect"], reading]


def _paired_axes(figure: Figure, place: tuple[int, int, int], lanes: int) -> Axes:
    """Axes of one metric; names stand left of the first column only."""
    line, column, lines = place
    height_in = HEAD_IN + ROW_IN * lanes + FOOT_IN
    top = 1 - line / lines - HEAD_IN / (height_in * lines)
    inner = ROW_IN * lanes / (height_in * lines)
    room = (1 - NAMES_SHARE) / 3
    return plot.panel(figure, NAMES_SHARE + column * room, top - inner, room - 0.025, inner)


def _paired_panel(axes: Axes, rows: list[Json], lanes: list[tuple[str, str]], has_names: bool) -> None:
    for row in rows:
        position = lanes.index((row["method"], row["against"]))
        colour = VERDICT_COLOUR.get(row["verdict"], plot.MUTED)
        axes.plot([row["low"], row["high"]], [position] * 2, color=colour, linewidth=2.4, solid_capstyle="round")
        face = plot.PAPER if row["verdict"] == "not told apart" else colour
        axes.plot(row["mean"], position, "o", markersize=6.5, color=colour, markerfacecolor=face, markeredgewidth=1.6)
    axes.axvline(0, color=plot.INK, linewidth=1, linestyle=(0, (2, 2)))
    metric = rows[0]["metric"]
    arrow = {"up": "better \N{RIGHTWARDS ARROW}", "down": "\N{LEFTWARDS ARROW} better"}.get(metric.direction, "")
    axes.set_title(metric.title, pad=7, x=0)
    axes.set_title(arrow, pad=7, loc="right", fontsize=8.5, fontweight="normal", color=plot.MUTED)
    axes.set_yticks(range(len(lanes)), _lane_names(lanes) if has_names else [""] * len(lanes))
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)


def _minuend(lanes: list[tuple[str, str]]) -> str:
    """Says once whose difference it is, when every lane starts with the same method."""
    methods = {method for method, _ in lanes}
    return f"{methods.pop()} minus the method named at the left. " if len(methods) == 1 else ""


def _lane_names(lanes: list[tuple[str, str]]) -> list[str]:
    if len({method for method, _ in lanes}) == 1:
        return [_clipped(f"against {against}") for _, against in lanes]
    return [_clipped(f"{method} {fmt.MINUS} {against}") for method, against in lanes]


def _clipped(text: str, limit: int = 36) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def drift_pictures(run: Run) -> list[plot.Picture]:
    """Quality over time on the long set: one figure per dataset and metric, 10 s bins."""
    groups: dict[tuple[str, str], list[Json]] = defaultdict(list)
    for curve in run.drift:
        groups[(str(curve.get("dataset")), str(curve.get("metric")))].append(curve)
    made: list[plot.Picture] = []
    for (dataset, metric), curves in groups.items():
        picture = _drift(run, dataset, metric, curves, f"drift{len(made)}")
        if picture:
            made.append(picture)
    return made


def binned(curves: list[Json]) -> tuple[dict[float, float], list[list[tuple[float, float]]]]:
    """Mean over samples per 10 s bin (at the bin's middle), and each sample's own binned curve."""
    per_sample, together = [], defaultdict(list)
    for curve in curves:
        bins: dict[float, list[float]] = defaultdict(list)
        for time_s, value in zip(curve.get("t_s") or [], curve.get("value") or [], strict=False):
            if number(time_s) is not None and number(value) is not None:
                bins[(time_s // BIN_S + 0.5) * BIN_S].append(value)
        points = [(middle, fmean(values)) for middle, values in sorted(bins.items())]
        per_sample.append(points)
        for middle, mean in points:
            together[middle].append(mean)
    return {middle: fmean(values) for middle, values in sorted(together.items())}, per_sample


def _drift(run: Run, dataset: str, metric_name: str, curves: list[Json], name: str) -> plot.Picture | None:
    metric = run.metrics.get(metric_name)
    label, digits = (metric.title, metric.digits) if metric else (metric_name, 2)
    methods = [m for m in run.methods if any(c.get("method") == m for c in curves)]
    means = {m: binned([c for c in curves if c.get("method") == m]) for m in methods}
    means = {m: pair for m, pair in means.items() if pair[0]}
    if not means:
        return None
    with plot.canvas(5.4, 2.75) as figure:
        axes = plot.panel(figure, 0.085, 0.165, 0.9, 0.7)
        for method, (mean, samples) in means.items():
            index = method_index(run, method)
            colour = plot.series_colour(index)
            for points in samples if len(samples) > 1 else []:
                axes.plot(*zip(*points, strict=True), color=colour, alpha=0.28, linewidth=0.8) if points else None
            dash, marker = plot.series_dash(index), plot.series_marker(index)
            axes.plot(list(mean), list(mean.values()), markersize=4.2, color=colour, linestyle=dash, marker=marker)
        axes.set_title(label, x=0)
        axes.set_xlabel("seconds into the stream", labelpad=3)
        axes.margins(y=0.18)
        axes.locator_params(axis="y", nbins=5)
        axes.set_xlim(left=0)
        drawing = plot.svg(figure, name)
    title = run.datasets[dataset].title if dataset in run.datasets else dataset
    middles = sorted({middle for mean, _ in means.values() for middle in mean})
    header = ["Seconds", *(run.methods[m].title for m in means)]
    rows = [_drift_row(middle, [mean for mean, _ in means.values()], digits) for middle in middles]
    trend = "; ".join(_trend(run.methods[m].title, mean, digits) for m, (mean, _) in means.items())
    return plot.Picture(drawing, f"{label} over time on {title}: {trend}.", f"{label}, {title}", header, rows)


def _drift_row(middle: float, means: list[dict[float, float]], digits: int) -> list[str]:
    span = f"{middle - BIN_S / 2:g} to {middle + BIN_S / 2:g}"
    return [span, *(fmt.decimal(mean.get(middle), digits) for mean in means)]


def _trend(title: str, mean: dict[float, float], digits: int) -> str:
    values = list(mean.values())
    return f"{title} from {fmt.decimal(values[0], digits)} to {fmt.decimal(values[-1], digits)}"


def slope_rows(run: Run) -> list[list[str]]:
    """Drift per minute as a table: what the curves' straight lines say."""
    made = []
    for one in run.slopes:
        metric, slope = run.metrics.get(str(one.get("metric"))), number(one.get("per_minute"))
        if slope is None:
            continue
        digits = 2 + (metric.digits if metric else 2)
        dataset = str(one.get("dataset"))
        method = str(one.get("method"))
        made.append(
            [
                metric.title if metric else str(one.get("metric")),
                run.datasets[dataset].title if dataset in run.datasets else dataset,
                run.methods[method].title if method in run.methods else method,
                fmt.signed(slope, digits),
                fmt.interval(one.get("low"), one.get("high"), digits) or fmt.EN_DASH,
                f"{one.get('n')} {'clips' if one.get('basis') == 'clips' else 'bins of one stream'}",
                str(one.get("reading") or ""),
            ]
        )
    return made


def memory_picture(run: Run) -> plot.Picture | None:
    """Resident memory while a stream runs; None when it was not sampled."""
    curves = [(str(m.get("label") or "memory"), _points(m.get("t_s"), m.get("rss_mib"))) for m in run.memory]
    curves = [(label, points) for label, points in curves if points]
    if not curves:
        return None
    with plot.canvas(WIDTH_IN, 2.4) as figure:
        axes = plot.panel(figure, 0.055, 0.2, 0.93, 0.68)
        for index, (label, points) in enumerate(curves):
            colour, dash = plot.series_colour(index), plot.series_dash(index)
            axes.plot(*zip(*points, strict=True), label=label, color=colour, linestyle=dash)
        axes.set_ylim(0, max(value for _, points in curves for _, value in points) * 1.2)
        axes.set_xlabel("seconds into the stream", labelpad=3)
        axes.set_xlim(left=0)
        axes.set_title("Resident memory, MiB", x=0)
        if len(curves) > 1:
            axes.legend(frameon=False, loc="lower right")
        drawing = plot.svg(figure, "memory")
    rows = [[label, *(f"{value:.0f}" for value in _ends(points))] for label, points in curves]
    words = "; ".join(f"{label}: {first} MiB at the start, {last} at the end" for label, first, _, last in rows)
    header = ["Stream", "First, MiB", "Highest, MiB", "Last, MiB"]
    return plot.Picture(drawing, f"Resident memory over time. {words}.", words, header, rows)


def _ends(points: list[tuple[float, float]]) -> tuple[float, float, float]:
    values = [value for _, value in points]
    return values[0], max(values), values[-1]


def _points(times: object, values: object) -> list[tuple[float, float]]:
    if not isinstance(times, list) or not isinstance(values, list):
        return []
    pairs = zip(times, values, strict=False)
    return [(t, v) for t, v in pairs if number(t) is not None and number(v) is not None]
