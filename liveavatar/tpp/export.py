"""A timeline as pictures: the paper's Figure 8 (who works when), and a trace for Perfetto or chrome://tracing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from liveavatar.tpp.timeline import WORK, Event, Timeline

COLOURS = {"denoise": "#c0392b", "decode": "#2e6da4", "prefill": "#e08e0b", "voice": "#4b8b3b"}
HATCHES = {"denoise": "", "decode": "///", "prefill": "xxx", "voice": "..."}  # not by colour alone
SINK_COLOUR = "#d9d9d9"
LANES = {"span": 0, "wait": 1, "receive": 2, "send": 3, "output": 4}


def chart(timeline: Timeline, path: Path, from_s: float = 0.0, to_s: float | None = None) -> None:
    """One lane per device: work in colour, waiting white, the wait for the new sink grey. Format by the path's suffix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    stages = timeline.stages
    end_s = to_s if to_s is not None else max(event.end_s for event in timeline.events)
    figure = Figure(figsize=(10, 1.1 + 0.45 * len(stages)), layout="constrained")
    (FigureCanvasSVG if path.suffix.lower() == ".svg" else FigureCanvasAgg)(figure)
    axes = figure.add_subplot()
    for event in timeline.events:
        if event.end_s < from_s or event.begin_s > end_s:
            continue
        if event.kind == "span" and event.what in WORK:
            axes.barh(
                event.rank, event.seconds, left=event.begin_s, height=0.7,
                color=COLOURS[event.what], hatch=HATCHES[event.what], edgecolor="white", linewidth=0.4,
            )  # fmt: skip
        elif event.kind == "wait" and event.what == "sink":
            axes.barh(event.rank, event.seconds, left=event.begin_s, height=0.7, color=SINK_COLOUR)
    axes.set_yticks(range(len(stages)), [f"{rank}: {name}" for rank, name in enumerate(stages)])
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.set_xlim(from_s, end_s)
    axes.set_xlabel("seconds")
    seen = [what for what in WORK if timeline.spans(what)]
    marks = [Patch(facecolor=COLOURS[what], hatch=HATCHES[what], edgecolor="white", label=what) for what in seen]
    if any(event.what == "sink" for event in timeline.of_kind("wait")):
        marks.append(Patch(facecolor=SINK_COLOUR, label="waits for the new sink"))
    axes.legend(handles=marks, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=len(marks), frameon=False)
    axes.set_title(f"layout {timeline.facts.get('layout') or 'one process'}: who works when", fontsize=10)
    figure.savefig(path)


def perfetto(timeline: Timeline) -> dict[str, Any]:
    """The Trace Event Format: a process per device, tracks for work, waiting, receiving, sending and delivery."""
    events: list[dict[str, Any]] = []
    for rank, stage in enumerate(timeline.stages):
        events.append({"ph": "M", "name": "process_name", "pid": rank, "args": {"name": f"{rank}: {stage}"}})
        events += [
            {"ph": "M", "name": "thread_name", "pid": rank, "tid": lane, "args": {"name": name}}
            for name, lane in (("work", 0), ("wait", 1), ("receive", 2), ("send", 3), ("deliver", 4))
        ]
    events += [_trace_event(event) for event in timeline.events]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"layout": timeline.facts.get("layout", "")}}


def _trace_event(event: Event) -> dict[str, Any]:
    common = {"pid": event.rank, "ts": 1e6 * event.begin_s, "args": {"block": event.block, **event.more}}
    if event.kind == "sound":
        return common | {"ph": "i", "name": "sound complete", "tid": 0, "s": "p"}
    lane = LANES["output"] if event.what == "output" else LANES.get(event.kind, 0)
    name = f"{event.what or event.kind} {event.block}" if event.block >= 0 else event.what or event.kind
    return common | {"ph": "X", "name": name, "cat": event.kind, "tid": lane, "dur": 1e6 * event.seconds}
