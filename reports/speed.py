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
    denoiser: str = ""
    denoiser_vae: str = ""
    probes: str = ""

    @property
    def is_valid(self) -> bool:
        """Only VALID numbers are drawn."""
        return self.verdict == "VALID"


@dataclass
class SpeedView:
    """Everything the speed section shows."""

    playback_fps: float
    rows: list[SpeedRow] = field(default_factory=list)
    scenarios: list[list[str]] = field(default_factory=list)
    pictures: list[plot.Picture] = field(default_factory=list)


def speed_view(run: Run) -> SpeedView:
    """Rows and pictures of the speed section."""
    rate = playback_rate(run)
    timed = [entry for entry in run.speed if entry[2].get("scenario") in (None, "offline")]
    view = SpeedView(rate, [speed_row(run, *entry) for entry in timed], scenario_rows(run))
    candidates = [_rate_picture(view), latency_picture(run), tradeoff_picture(run), _gantt(run, rate), memory_picture(run)]
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
        fmt.decimal(_value(record, "fps_denoiser"), 1),
        fmt.decimal(_value(record, "fps_denoiser_vae"), 1),
        _probe_words(record),
    )


def _probe_words(record: Json) -> str:
    """What the honesty probes of a record found, each outcome once."""
    found: dict[str, list[str]] = {}
    for one in record.get("probes") or []:
        if isinstance(one, dict):
            found.setdefault(str(one.get("state")), []).append(str(one.get("name")))
    return "; ".join(f"{state}: {', '.join(dict.fromkeys(names))}" for state, names in found.items())


SCENARIO_FIELDS = {
    "live": (
        ("first_frame_s", "first frame"),
        ("latency_p50", "latency p50"),
        ("latency_p90", "p90"),
        ("latency_p99", "p99"),
        ("latency_max", "largest"),
        ("longest_freeze_s", "longest freeze"),
    ),
    "switch": (
        ("switch_p50", "speech to frame p50"),
        ("switch_p95", "p95"),
        ("switch_max", "largest"),
        ("stall_max_s", "largest stall"),
    ),
    "cold": (("started_s", "interpreter up"), ("loaded_s", "weights loaded"), ("first_frame_s", "first frame")),
}


def scenario_rows(run: Run) -> list[list[str]]:
    """Live, switch, soak, cold and predicted as sentences: one row per record."""
    made = []
    for method, name, record in run.speed:
        scenario = str(record.get("scenario") or "")
        words = [f"{label} {fmt.seconds(record[field])}" for field, label in SCENARIO_FIELDS.get(scenario, ())
                 if number(record.get(field)) is not None]  # fmt: skip
        if scenario == "soak":
            words = _soak_words(record)
        if scenario == "predicted":
            words = _predicted_words(record)
        if number(record.get("misses")) is not None:
            buffer_s = next((one.get("buffer_s") for one in record.get("repeats") or []), 0.0)
            words.append(f"{fmt.decimal(record['misses'], 0)} deadlines missed with {fmt.seconds(buffer_s)} of buffer")
        if words:
            title = run.methods[method].title if method in run.methods else method
            verdict = str(record.get("verdict") or "")
            made.append([f"{title}, {name}", verdict, "; ".join(words), str(record.get("reason") or "")])
    return made


def _soak_words(record: Json) -> list[str]:
    parts = []
    for field_name, label, unit in (
        ("stream_s", "stream of", "s"),
        ("fps_steady", "", "FPS"),
        ("fps_first_tenth", "first tenth", "FPS"),
        ("fps_last_tenth", "last tenth", "FPS"),
        ("memory_growth_mib", "memory grew by", "MiB"),
    ):
        if number(record.get(field_name)) is not None:
            parts.append(f"{label} {fmt.decimal(record[field_name], 1)} {unit}".strip())
    return parts


def _predicted_words(record: Json) -> list[str]:
    """A rate that was not measured as a whole says so, and how it was come by."""
    if number(record.get("fps_predicted")) is None:
        return []
    told = [one.get("about") for one in record.get("repeats") or [] if isinstance(one, dict)]
    about = next((str(one) for one in told if one), "")
    devices = fmt.decimal(record.get("devices"), 0)
    rate = f"predicted, not measured: {fmt.decimal(record['fps_predicted'], 1)} FPS on {devices} devices"
    return [rate, f"first frame {fmt.seconds(record.get('ttff_predicted'))}", *([about] if about else [])]


def latency_picture(run: Run) -> plot.Picture | None:
    """How late chunks (or first frames after a silence) were: every one of them, from the earliest to the latest."""
    curves = []
    for method, name, record in run.speed:
        late = sorted(
            v for one in record.get("repeats") or [] if isinstance(one, dict) for v in one.get("latencies_s") or []
        )
        late = [value for value in late if number(value) is not None]
        if record.get("verdict") == "VALID" and len(late) > 1:
            curves.append((f"{run.methods[method].title if method in run.methods else method}, {name}", late))
    if not curves:
        return None
    with plot.canvas(WIDTH_IN, 2.6) as figure:
        axes = plot.panel(figure, 0.055, 0.18, 0.93, 0.7)
        for index, (label, late) in enumerate(curves):
            shares = [100 * (place + 1) / len(late) for place in range(len(late))]
            axes.plot(shares, late, label=label, color=plot.series_colour(index), linestyle=plot.series_dash(index))
        axes.set_xlim(0, 100)
        axes.set_ylim(bottom=0)
        axes.set_title("Latency in seconds, by share of chunks", x=0)
        axes.set_xlabel("per cent of chunks that were no later", labelpad=3)
        axes.legend(frameon=False, loc="upper left")
        drawing = plot.svg(figure, "latency")
    marks = (0.5, 0.9, 0.99)
    rows = [[label, *(fmt.seconds(late[round(mark * (len(late) - 1))]) for mark in marks), fmt.seconds(late[-1])]
            for label, late in curves]  # fmt: skip
    words = "; ".join(f"{row[0]}: half within {row[1]}, 99 % within {row[3]}" for row in rows)
    header = ["Stream", "p50", "p90", "p99", "Largest"]
    return plot.Picture(drawing, f"Distribution of latencies. {words}.", words, header, rows)


def tradeoff_picture(run: Run) -> plot.Picture | None:
    """Quality against time to first frame, a dot per method; None for fewer than two methods."""
    from reports.cases import headline

    for dataset in run.datasets:
        metric = headline(run, dataset)
        if metric is None:
            continue
        cells = {(c.get("method"), c.get("metric")): c for c in run.cells if c.get("dataset") == dataset}
        dots = []
        for method in run.methods:
            quality, wait = (cells.get((method, name), {}) for name in (metric.name, "ttff"))
            if number(quality.get("value")) is not None and number(wait.get("value")) is not None:
                dots.append((method, wait["value"], quality))
        if len(dots) < 2:
            continue
        with plot.canvas(WIDTH_IN, 3.0) as figure:
            axes = plot.panel(figure, 0.065, 0.16, 0.92, 0.72)
            for index, (method, wait_s, quality) in enumerate(dots):
                colour, marker = plot.series_colour(index), plot.series_marker(index)
                if number(quality.get("low")) is not None and number(quality.get("high")) is not None:
                    axes.plot([wait_s, wait_s], [quality["low"], quality["high"]], color=colour, linewidth=1.4)
                axes.plot(wait_s, quality["value"], marker, color=colour, markersize=7)
                place = (wait_s, quality["value"])
                axes.annotate(run.methods[method].title, place, (9, 4), textcoords="offset points", fontsize=9)
            axes.set_title(f"{metric.title} against time to first frame, {run.datasets[dataset].title}", x=0)
            axes.set_xlabel("seconds to the first frame", labelpad=3)
            axes.set_xlim(left=0)
            axes.margins(x=0.25, y=0.2)
            drawing = plot.svg(figure, "tradeoff")
        rows = [
            [run.methods[m].title, fmt.seconds(w), fmt.decimal(q["value"], metric.digits),
             fmt.interval(q.get("low"), q.get("high"), metric.digits)] for m, w, q in dots
        ]  # fmt: skip
        words = "; ".join(f"{row[0]}: {row[2]} after {row[1]}" for row in rows)
        header = ["Method", "First frame", metric.title, "95 % interval"]
        return plot.Picture(drawing, f"{metric.title} against time to first frame: {words}.", "", header, rows)
    return None


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
    stages = list(dict.fromkeys(map(_lane, sorted(spans, key=lambda s: s["begin_s"]))))
    height_in = 0.95 + 0.36 * len(stages)
    with plot.canvas(WIDTH_IN, height_in) as figure:
        axes = plot.panel(figure, 0.08, 0.48 / height_in, 0.905, 0.36 * len(stages) / height_in)
        for span in spans:
            _gantt_bar(axes, span, stages.index(_lane(span)))
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
            _lane(s),
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


def _lane(span: Json) -> str:
    """A stage, or a stage on a device where the timeline names devices."""
    device = span.get("device", span.get("rank"))
    return str(span.get("stage")) + ("" if device is None else f", device {device}")


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
