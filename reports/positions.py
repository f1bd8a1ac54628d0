"""Figure 7 of the paper, drawn from a stream's own records: rotary positions of each block, its past and the sink."""

from __future__ import annotations

from matplotlib.axes import Axes

from reports import plot
from reports.data import Json, Run, number
from reports.figures import WIDTH_IN

CAPTION = (
    "Squares: the block in hand; pale: blocks in its cache; diamond: the sink, filled once it is the model's own frame."
)
LANE_IN, HEAD_IN, FOOT_IN = 0.3, 0.4, 0.44


def position_pictures(run: Run) -> list[plot.Picture]:
    """One picture per recorded stream."""
    return [picture for index, one in enumerate(run.positions) if (picture := position_picture(one, f"positions{index}"))]


def position_picture(record: Json, name: str) -> plot.Picture | None:
    """One lane per block: the positions of its past, of itself and of the sink; None for a record without them."""
    lanes = [one for one in record.get("blocks") or [] if isinstance(one, dict) and number(one.get("sink")) is not None]
    if not lanes:
        return None
    height = HEAD_IN + LANE_IN * len(lanes) + FOOT_IN
    with plot.canvas(WIDTH_IN, height) as figure:
        axes = plot.panel(figure, 0.07, FOOT_IN / height, 0.92, LANE_IN * len(lanes) / height)
        for place, lane in enumerate(lanes):
            _lane(axes, lane, place)
        axes.set_yticks(range(len(lanes)), [f"block {lane.get('block')}" for lane in lanes])
        axes.set_ylim(len(lanes) - 0.4, -0.6)
        axes.set_xlabel("rotary position, latent frames", labelpad=3)
        axes.set_title(str(record.get("title") or "Positions"), x=0, pad=8)
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", integer=True)
        drawing = plot.svg(figure, name)
    header = ["Block", "Past blocks", "Their positions", "Own positions", "Sink at", "Sink is"]
    rows = [_row(lane) for lane in lanes]
    ends = [f"at {lane['sink']:g} for block {lane.get('block')}" for lane in (lanes[0], lanes[-1])]
    words = f"Positions block by block: the sink stands {' and '.join(ends)}."
    return plot.Picture(drawing, words, f"{record.get('title') or 'Positions'}. {CAPTION}", header, rows)


def _lane(axes: Axes, lane: Json, place: int) -> None:
    colour = plot.series_colour(0)
    for past in lane.get("past") or []:
        for position in past.get("positions") or []:
            axes.plot(position, place, "s", markersize=7, color=colour, alpha=0.35)
    for position in lane.get("own") or []:
        axes.plot(position, place, "s", markersize=7, color=colour)
    sink = plot.series_colour(2)
    face = sink if lane.get("sink_is") == "adapted" else plot.PAPER
    axes.plot(lane["sink"], place, "D", markersize=7, color=sink, markerfacecolor=face, markeredgewidth=1.6)


def _row(lane: Json) -> list[str]:
    past = lane.get("past") or []
    held = ", ".join(str(one.get("block")) for one in past)
    positions = ", ".join(f"{value:g}" for one in past for value in one.get("positions") or [])
    own = ", ".join(f"{value:g}" for value in lane.get("own") or [])
    return [
        str(lane.get("block")),
        held or "none",
        positions or "none",
        own,
        f"{lane['sink']:g}",
        str(lane.get("sink_is") or ""),
    ]
