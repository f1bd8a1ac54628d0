"""What lies under the videos of one sample: the voice and the per-frame curves, on one clock."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import format as fmt
from reports import media, plot
from reports.data import Clip, Run, number
from reports.figures import WIDTH_IN, method_index

MAX_POINTS = 240
MAX_PANELS = 4
LEFT, RIGHT = 0.055, 0.99
WAVE_IN, PANEL_IN, GAP_IN, FOOT_IN, HEAD_IN = 0.5, 1.0, 0.36, 0.36, 0.1

Points = list[tuple[float, float]]


@dataclass
class CurveSheet:
    """The drawing and where its time axis lies, for the playhead."""

    picture: plot.Picture
    duration_s: float
    left: float = LEFT
    right: float = RIGHT


def curve_sheet(run: Run, dataset: str, sample: str, voice: media.Envelope | None, name: str) -> CurveSheet | None:
    """Voice outline and up to four per-frame curves; None when there is neither."""
    panels = sample_series(run, dataset, sample)
    if not panels and voice is None:
        return None
    ends = [points[-1][0] for lines in panels.values() for points in lines.values()]
    duration_s = max([*ends, voice.duration_s if voice else 0.0, 0.1])
    height = HEAD_IN + FOOT_IN + (WAVE_IN + GAP_IN if voice else 0) + len(panels) * (PANEL_IN + GAP_IN)
    with plot.canvas(WIDTH_IN, height) as figure:
        top = height - HEAD_IN
        drawn: list[Axes] = []
        if voice is not None:
            drawn.append(_wave(figure, voice, (top, height)))
            top -= WAVE_IN + GAP_IN
        for title, lines in panels.items():
            drawn.append(_panel(run, figure, title, lines, (top, height)))
            top -= PANEL_IN + GAP_IN
        for each in figure.axes:
            each.set_xlim(0, duration_s)
            each.tick_params(labelbottom=each is drawn[-1])
        drawn[-1].set_xlabel("seconds", labelpad=2)
        drawing = plot.svg(figure, name)
    rows = [
        [title, run.methods[m].title, *_summary(points)]
        for title, lines in panels.items()
        for m, points in lines.items()
    ]
    heard = "the outline of the voice" if voice else "no voice file"
    words = "; ".join(f"{row[0]}, {row[1]}: mean {row[3]}" for row in rows) or "no per-frame score was recorded"
    alternative = f"On one time axis: {heard}, and curves per method. {words}."
    header = ["Curve", "Method", "Lowest", "Mean", "Highest"]
    return CurveSheet(plot.Picture(drawing, alternative, "", header, rows), duration_s)


def sample_series(run: Run, dataset: str, sample: str) -> dict[str, dict[str, Points]]:
    """Per-frame curves of one sample: panel title -> method -> points."""
    panels: dict[str, dict[str, Points]] = {}
    order = [*run.methods]
    columns = [*run.metrics]
    ranked = sorted(run.scores.items(), key=lambda item: columns.index(item[0][0]) if item[0][0] in columns else 99)
    for (metric, clip), record in ranked:
        if (clip.dataset, clip.sample, clip.seed) != (dataset, sample, run.seed) or clip.method not in run.methods:
            continue
        series = record.get("series")
        if not isinstance(series, dict):
            continue
        for label, curve in series.items():
            points = _points(curve)
            if points:
                title = run.metrics[metric].title if metric in run.metrics else metric
                titled = title if len(series) == 1 else f"{title}: {str(label).replace('_', ' ')}"
                panels.setdefault(titled, {})[clip.method] = points
    shown = list(panels.items())[:MAX_PANELS]
    return {title: {method: lines[method] for method in order if method in lines} for title, lines in shown}


def _points(curve: object) -> Points:
    """Finite points, thinned by averaging neighbours to at most ``MAX_POINTS``."""
    if not isinstance(curve, dict):
        return []
    times, values = curve.get("t_s") or [], curve.get("value") or []
    pairs = zip(times, values, strict=False)
    points = [(float(t), float(v)) for t, v in pairs if number(t) is not None and number(v) is not None]
    step = -(-len(points) // MAX_POINTS) or 1
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    return [(sum(t for t, _ in g) / len(g), sum(v for _, v in g) / len(g)) for g in groups]


def _summary(points: Points) -> list[str]:
    values = [value for _, value in points]
    return [fmt.decimal(v, 3) for v in (min(values), sum(values) / len(values), max(values))]


def _place(top_in: float, height_in: float, own_in: float) -> tuple[float, float, float, float]:
    return LEFT, (top_in - own_in) / height_in, RIGHT - LEFT, own_in / height_in


def _wave(figure: Figure, voice: media.Envelope, where: tuple[float, float]) -> Axes:
    axes = plot.panel(figure, *_place(*where, WAVE_IN))
    times = [voice.duration_s * (i + 0.5) / len(voice.low) for i in range(len(voice.low))]
    axes.fill_between(times, voice.low.round(3), voice.high.round(3), color=plot.MUTED, linewidth=0, alpha=0.75)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([])
    axes.set_ylabel("voice", labelpad=6)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    return axes


def _panel(run: Run, figure: Figure, title: str, lines: dict[str, Points], where: tuple[float, float]) -> Axes:
    axes = plot.panel(figure, *_place(*where, PANEL_IN))
    for method, points in reversed(lines.items()):
        index = method_index(run, method)
        width = 1.9 if run.methods[method].kind == "system" else 1.1
        colour, dash = plot.series_colour(index), plot.series_dash(index)
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=dash, linewidth=width)
    axes.set_title(title, x=0, pad=4, fontsize=9)
    axes.margins(y=0.12)
    axes.locator_params(axis="y", nbins=4)
    return axes


def clip_of(run: Run, method: str, dataset: str, sample: str) -> Clip:
    """The clip whose video and curves the page shows."""
    return Clip(method, dataset, sample, run.seed)
