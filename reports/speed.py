"""The speed section: generation FPS against playback, first frame, and who works when."""

from __future__ import annotations

from dataclasses import dataclass, field

from reports import format as fmt
from reports import media, plot
from reports.data import Clip, Json, Run, error_of, number, read_timeline
from reports.figures import NAMES_SHARE, WIDTH_IN, memory_picture

SHOWN_BLOCKS = 6
MIN_LABELLED_S = 0.02
DEFAULT_PLAYBACK_FPS = 25.0


@dataclass
class SpeedRow:
    """One speed record, printed."""

    method: str
    scenario: str
    verdict: str
    reason: str
    end_to_end: str
    steady: str
    ttff: str
    ttff_block: str
    repeats: int
    protocol: str
    fps: float | None = None

    @property
    def is_valid(self) -> bool:
        """Only VALID numbers are drawn."""
        return self.verdict == "VALID"


@dataclass
class SpeedView:
    """Everything the speed section shows."""

    playback_fps: float
    rows: list[SpeedRow] = field(default_factory=list)
    pictures: list[plot.Picture] = field(default_factory=list)


def speed_view(run: Run) -> SpeedView:
    """Rows and pictures of the speed section."""
    rate = playback_rate(run)
    view = SpeedView(rate, [speed_row(run, *entry) for entry in run.speed])
    candidates = [_rate_picture(view), _gantt(run, rate), memory_picture(run)]
    view.pictures = [picture for picture in candidates if picture]
    return view


def playback_rate(run: Run) -> float:
    """Playback FPS: from a speed record, else from a video, else 25."""
    for _, _, record in run.speed:
        declared = number(_value(record, "playback_fps"))
        if declared:
            return declared
    for clip in run.generate:
        declared = media.playback_fps(run.folder(clip) / "video.mp4")
        if declared:
            return declared
    return DEFAULT_PLAYBACK_FPS


def _value(record: Json, name: str) -> object:
    """A field of a speed record, wherever the record keeps it."""
    protocol = record.get("protocol")
    for place in (record, record.get("value"), record.get("details"), protocol):
        if isinstance(place, dict) and name in place:
            return place[name]
    return None


def speed_row(run: Run, method: str, scenario: str, record: Json) -> SpeedRow:
    """One record as text; a failed record reads INVALID with its error."""
    verdict = str(_value(record, "verdict") or ("INVALID" if record.get("status") != "done" else "not stated"))
    protocol = _value(record, "protocol")
    repeats = _value(record, "repeats")
    return SpeedRow(
        run.methods[method].title if method in run.methods else method,
        scenario,
        verdict,
        str(_value(record, "reason") or error_of(record).get("message") or ""),
        fmt.decimal(_value(record, "fps_end_to_end"), 1),
        fmt.decimal(_value(record, "fps_steady"), 1),
        fmt.seconds(_value(record, "ttff")),
        fmt.seconds(_value(record, "ttff_block")),
        len(repeats) if isinstance(repeats, list) else int(number(repeats) or 0),
        describe(protocol),
        number(_value(record, "fps_end_to_end")),
    )


def describe(value: object) -> str:
    """A small JSON value in words: ``name: quick, blocks: 100``."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {describe(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(describe(item) for item in value)
    return "" if value is None else str(value)


def _rate_picture(view: SpeedView) -> plot.Picture | None:
    rows = [(row, row.fps) for row in view.rows if row.is_valid and row.fps is not None]
    if not rows:
        return None
    rate = view.playback_fps
    with plot.canvas(WIDTH_IN, 0.85 + 0.36 * len(rows)) as figure:
        height = 0.36 * len(rows) / (0.85 + 0.36 * len(rows))
        axes = plot.panel(figure, NAMES_SHARE, 1 - height - 0.34 / (0.85 + 0.36 * len(rows)), 0.78, height)
        for position, (_, fps) in enumerate(rows):
            colour = plot.GOOD if fps >= rate else plot.BAD
            axes.barh(position, fps, height=0.46, color=colour, alpha=0.85)
            note = f"{fps:.1f} FPS, {fps / rate:.1f}\N{MULTIPLICATION SIGN} playback"
            axes.annotate(note, (fps, position), (6, 0), textcoords="offset points", va="center", fontsize=9)
        axes.axvline(rate, color=plot.INK, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.text(rate, -0.62, f"playback {rate:g} FPS", ha="center", va="bottom", fontsize=8.5, color=plot.MUTED)
        axes.set_yticks(range(len(rows)), [f"{row.method}, {row.scenario}" for row, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.55)
        axes.set_xlim(0, max([rate, *(fps for _, fps in rows)]) * 1.22)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("generation FPS, end to end", labelpad=3)
        drawing = plot.svg(figure, "rates")
    words = "; ".join(f"{row.method} ({row.scenario}) {row.end_to_end} FPS" for row, _ in rows)
    return plot.Picture(
        drawing,
        f"Generation rate against the playback rate of {rate:g} FPS: {words}.",
        "Generation FPS, end to end, against the playback rate (dashed). Left of the line a viewer would wait.",
    )


def _gantt(run: Run, rate: float) -> plot.Picture | None:
    """First blocks of one stream, a lane per stage, with the moment each block is due on screen."""
    for clip in _clips_with_timeline(run):
        spans = _first_blocks(read_timeline(run.folder(clip) / "timeline.jsonl"))
        if spans:
            return _gantt_picture(run, clip, spans, rate)
    return None


def _clips_with_timeline(run: Run) -> list[Clip]:
    """Clips of the system first, then of the others; controls make no blocks."""
    ranks = {"system": 0, "ablation": 1, "rival": 2}
    known = [clip for clip in run.generate if clip.method in run.methods]
    known = [clip for clip in known if run.methods[clip.method].kind in ranks]
    return sorted(known, key=lambda clip: ranks[run.methods[clip.method].kind])


def _first_blocks(spans: list[Json]) -> list[Json]:
    """Spans of the first blocks, clock zero at the first of them."""
    blocks = sorted({int(s["block"]) for s in spans if number(s.get("block")) is not None})[:SHOWN_BLOCKS]
    chosen = [s for s in spans if number(s.get("block")) is not None and int(s["block"]) in blocks]
    zero = min((s["begin_s"] for s in chosen), default=0.0)
    return [{**s, "begin_s": s["begin_s"] - zero, "end_s": s["end_s"] - zero} for s in chosen]


def _gantt_picture(run: Run, clip: Clip, spans: list[Json], rate: float) -> plot.Picture:
    stages = list(dict.fromkeys(str(s.get("stage")) for s in sorted(spans, key=lambda s: s["begin_s"])))
    height_in = 0.95 + 0.36 * len(stages)
    with plot.canvas(WIDTH_IN, height_in) as figure:
        axes = plot.panel(figure, 0.08, 0.48 / height_in, 0.905, 0.36 * len(stages) / height_in)
        for span in spans:
            _gantt_bar(axes, span, stages.index(str(span.get("stage"))))
        axes.set_yticks(range(len(stages)), stages)
        axes.set_ylim(len(stages) - 0.45, -0.55)
        axes.set_xlim(0, max(s["end_s"] for s in spans) * 1.01)
        axes.set_xlabel("seconds since the stream began", labelpad=3)
        axes.set_title(f"First {len({int(s['block']) for s in spans})} blocks, by stage", x=0, pad=7)
        axes.grid(axis="y", visible=False)
        drawing = plot.svg(figure, "gantt")
    ordered = sorted(spans, key=lambda s: (s["begin_s"], str(s.get("stage"))))
    rows = [
        [
            str(int(s["block"])),
            str(s.get("stage")),
            *(f"{s[k]:.3f}" for k in ("begin_s", "end_s")),
            str(s.get("frames", "")),
        ]
        for s in ordered
    ]
    frames = max((int(number(s.get("frames")) or 0) for s in spans), default=0)
    due = f" A block of {frames} frames plays for {frames / rate * 1000:.0f} ms." if frames else ""
    where = f"{run.methods[clip.method].title}, sample {clip.sample}"
    ended = f"the first block leaves after {fmt.seconds(_first_block_end(spans))}"
    return plot.Picture(
        drawing,
        f"Timeline of the first blocks of {where}: {', '.join(stages)}; {ended}.",
        f"{where}: {ended}.{due} Numbers name the block; shades alternate.",
        ["Block", "Stage", "Begins, s", "Ends, s", "Frames"],
        rows,
    )


def _first_block_end(spans: list[Json]) -> float:
    first = min(int(s["block"]) for s in spans)
    return max(s["end_s"] for s in spans if int(s["block"]) == first)


def _gantt_bar(axes, span: Json, lane: int) -> None:
    width = max(span["end_s"] - span["begin_s"], 0.0)
    block = int(span["block"])
    axes.barh(
        lane,
        width,
        left=span["begin_s"],
        height=0.6,
        color=plot.series_colour(0),
        alpha=0.85 if block % 2 == 0 else 0.45,
        linewidth=0,
    )
    if width > MIN_LABELLED_S:
        colour = plot.PAPER if block % 2 == 0 else plot.INK
        middle = span["begin_s"] + width / 2
        axes.text(middle, lane, str(block), ha="center", va="center", fontsize=7.5, color=colour, clip_on=True)
