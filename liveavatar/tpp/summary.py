"""What a pipeline's timeline means: rates, time to first frame, who was busy, who held the others up, what would help."""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from liveavatar.tpp.timeline import WORK, Event, Timeline, TimelineError

ARRIVALS = 100  # sounds that come at random moments, for the time to first frame in mid-stream
MANY_ARRIVALS = 20
CLEARLY = 1.05  # what is less than this times as slow is as fast
DEFAULT_PLAYBACK_FPS = 25.0
Json = dict[str, Any]


def summarise(timeline: Timeline) -> Json:
    """Figures of one stream, with seconds and shares. Raises TimelineError where there are too few blocks.

    steady: after two blocks, one per stage, and those that waited for the new sink. fps: frames per second of wall time.
    """
    ready, stages = timeline.ready, timeline.stages
    blocks = sorted(ready)
    warm = _warm_blocks(timeline)
    if len(blocks) <= warm:
        raise TimelineError(f"{len(blocks)} blocks are too few: {warm} warm up, and at least one more is counted")
    window = (ready[blocks[warm - 1]][0], ready[blocks[-1]][0])
    steady_blocks = blocks[warm:]
    fps = sum(ready[b][1] for b in steady_blocks) / (window[1] - window[0])
    playback = float(timeline.facts.get("playback_fps") or DEFAULT_PLAYBACK_FPS)
    frames = sum(count for _, count in ready.values())
    first, wait = _latency_first(timeline), 1 / (2 * min(fps, playback))
    rows = [_stage_row(timeline, rank, name, window, len(steady_blocks)) for rank, name in enumerate(stages)]
    block_frames = max(count for _, count in ready.values())
    summary: Json = {
        "layout": timeline.facts.get("layout", ""),
        "evaluations": timeline.facts.get("evaluations"),
        "blocks": len(blocks),
        "frames": frames,
        "warm_up_blocks": warm,
        "fps_steady": fps,
        "fps_end_to_end": None if timeline.done_s is None else frames / timeline.done_s,
        "interval_s": (window[1] - window[0]) / len(steady_blocks),
        "latency_first_s": first,
        "wait_s": wait,
        "ttff_s": None if first is None else first + wait,
        "ttff_block_s": None if first is None else first + block_frames * wait,
        "ttff_midstream": _midstream(timeline, steady_blocks),
        "stages": rows,
        "bytes_per_block": _bytes_per_block(timeline),
        "message_bytes": timeline.facts.get("message_bytes"),
        "second_warm_up_s": max((e.seconds for e in timeline.of_kind("wait") if e.what == "sink"), default=0.0),
        "is_whole": timeline.done_s is not None,
    }
    return summary | _verdict(rows, summary, block_frames)


def words(summary: Json) -> str:
    """The summary for reading."""
    lines = [
        f"layout {summary['layout'] or 'one process'}: {summary['blocks']} blocks, {summary['frames']} frames"
        + ("" if summary["is_whole"] else "; the stream broke off"),
        f"generation FPS {summary['fps_steady']:.2f} steady"
        + (f", {summary['fps_end_to_end']:.2f} end to end" if summary["fps_end_to_end"] else "")
        + f"; a block every {summary['interval_s']:.3f} s",
    ]
    if summary["ttff_s"] is not None:
        lines.append(
            f"time to first frame {summary['ttff_s']:.3f} s (half a frame, and {summary['latency_first_s']:.3f} s of "
            f"denoising and decoding), {summary['ttff_block_s']:.3f} s where sound waits for a block's end"
        )
    lines += _midstream_words(summary["ttff_midstream"])
    lines.append("rank  stage                 busy  work/block s  idle: for blocks, room, sound, sink, viewer")
    for row in summary["stages"]:
        idle = ", ".join(f"{row['idle'].get(why, 0.0):.0%}" for why in ("block", "room", "sound", "sink", "viewer"))
        lines.append(f"{row['rank']:4}  {row['stage']:20} {row['busy']:5.1%}  {row['work_s']:12.4f}  {idle}")
    if summary["bytes_per_block"]:
        sent = ", ".join(f"rank {rank} {count:,.0f} B" for rank, count in summary["bytes_per_block"].items())
        lines.append(f"sent per block: {sent}")
    if summary["second_warm_up_s"]:
        lines.append(f"second warm-up: the first stages waited {summary['second_warm_up_s']:.3f} s for the new sink")
    return "\n".join([*lines, f"bottleneck: {summary['bottleneck']}", *summary["advice"]])


# ------------------------------------------------------------------------------------------------------------- figures


def _warm_blocks(timeline: Timeline) -> int:
    """Two blocks, one per stage; or those until nobody waits for the new sink any more, if they are more."""
    stages = len(set(timeline.stages))
    waited = [event for event in timeline.of_kind("wait") if event.what == "sink"]
    served = [event.block for event in timeline.spans("prefill") if event.block >= 0]
    return max(2 + stages, (max(served, default=-1) + 1 + stages) if waited or served else 0)


def _latency_first(timeline: Timeline) -> float | None:
    begun = [event.begin_s for event in timeline.spans("denoise", 0)]
    ended = [event.end_s for event in timeline.spans("decode", 0)]
    return max(ended) - min(begun) if begun and ended else None


def _stage_row(timeline: Timeline, rank: int, name: str, window: tuple[float, float], blocks: int) -> Json:
    own = [event for event in timeline.events if event.rank == rank]
    busy_s = sum(_within(e, window) for e in own if e.kind == "span" and e.what in WORK)
    idle: dict[str, float] = defaultdict(float)
    for event in own:
        if event.kind == "wait":
            idle[event.what] += _within(event, window) / (window[1] - window[0])
    work: dict[str, float] = defaultdict(float)
    for event in own:
        if event.kind == "span" and event.what in WORK:
            work[event.what] += _within(event, window) / blocks
    return {
        "rank": rank,
        "stage": name,
        "busy": busy_s / (window[1] - window[0]),
        "work_s": busy_s / blocks,
        "work": dict(work),
        "idle": dict(idle),
    }


def _within(event: Event, window: tuple[float, float]) -> float:
    return max(0.0, min(event.end_s, window[1]) - max(event.begin_s, window[0]))


def _bytes_per_block(timeline: Timeline) -> dict[str, float]:
    """What each process sent, per block."""
    sent: dict[int, list[int]] = defaultdict(list)
    for event in timeline.of_kind("send"):
        sent[event.rank].append(int(event.more.get("bytes", 0)))
    blocks = len(timeline.ready)
    return {str(rank): sum(each) / blocks for rank, each in sorted(sent.items())}


# ----------------------------------------------------------------------------------------------------------- mid-stream


def _midstream(timeline: Timeline, blocks: Sequence[int]) -> Json | None:
    """From a sound that comes at a random moment to the first frame that shows it, in the viewer's hands.

    A block shows all sound that arrived before its own last sample did; look-ahead is part of what it waits for.
    """
    arrived = {e.block: (e.end_s, float(e.more.get("look_ahead_s", 0.0))) for e in timeline.of_kind("sound")}
    known = [b for b in blocks if b in arrived and b - 1 in arrived]
    begin_s, end_s = (arrived[known[0] - 1][0], arrived[known[-1]][0]) if known else (0.0, 0.0)
    if end_s <= begin_s:
        return None
    draw = random.Random(0)
    rows = []
    for _ in range(ARRIVALS):
        moment = draw.uniform(begin_s, end_s)
        block = next(b for b in known if arrived[b][0] >= moment)
        rows.append(_components(timeline, block, moment, *arrived[block]))
    totals = sorted(row["total"] for row in rows)
    names = ("wait", "look_ahead", "queue", "denoise", "decode", "output")
    return {
        "median_s": statistics.median(totals),
        "p95_s": totals[int(0.95 * (len(totals) - 1))],
        "arrivals": len(rows),
        "blocks": len(known),
        "mean_components_s": {name: statistics.fmean(row[name] for row in rows) for name in names},
    }


def _components(timeline: Timeline, block: int, moment: float, arrived: float, look_ahead: float) -> dict[str, float]:
    own_s = max(0.0, arrived - look_ahead - moment)
    work = {what: sum(e.seconds for e in timeline.spans(what, block)) for what in (*WORK, "output")}
    denoise = work["voice"] + work["prefill"] + work["denoise"]
    total = timeline.ready[block][0] - moment
    waited = arrived - moment
    return {
        "total": total,
        "wait": own_s,
        "look_ahead": waited - own_s,
        "queue": total - waited - denoise - work["decode"] - work["output"],
        "denoise": denoise,
        "decode": work["decode"],
        "output": work["output"],
    }


def _midstream_words(found: Json | None) -> list[str]:
    if found is None:
        return []
    parts = ", ".join(f"{name.replace('_', '-')} {value:.3f}" for name, value in found["mean_components_s"].items())
    few = "" if found["blocks"] >= MANY_ARRIVALS else f" (only {found['blocks']} blocks)"
    return [
        f"from a sound in mid-stream to the frame that shows it: median {found['median_s']:.3f} s, "
        f"p95 {found['p95_s']:.3f} s{few}",
        f"  of which on average: {parts}",
    ]


# -------------------------------------------------------------------------------------------------------------- verdict


def _verdict(rows: list[Json], summary: Json, block_frames: int) -> Json:
    """The stage that holds the others up, how idle those are, and what would change that."""
    by_work = sorted(rows, key=lambda row: row["work_s"], reverse=True)
    slowest, rest = by_work[0], by_work[1:]
    others = [row for row in rest if row["stage"] != slowest["stage"]]
    text = f"rank {slowest['rank']} '{slowest['stage']}', busy {slowest['busy']:.1%}"
    if others:
        text += f", {slowest['work_s'] / max(others[0]['work_s'], 1e-9):.2f} x the next slowest ('{others[0]['stage']}')"
    bubble = 1 - statistics.fmean(row["busy"] for row in rows)
    advice = [f"bubble: devices stand idle {bubble:.1%} of the time on average"]
    advice += _advice(slowest, others, summary, block_frames)
    return {"bottleneck": text, "bottleneck_rank": slowest["rank"], "bubble": bubble, "advice": advice}


def _advice(slowest: Json, others: list[Json], summary: Json, block_frames: int) -> list[str]:
    """Sentences that say what would help, with the rate that it would give."""
    made: list[str] = []
    if slowest["busy"] < 0.9:
        outside = max(slowest["idle"].items(), key=lambda item: item[1], default=("", 0.0))[0]
        reasons = {"sound": "the sound comes no faster", "viewer": "the viewer takes no more", "sink": "of the new sink"}
        if outside in reasons:
            made.append(f"no stage limits the rate: {reasons[outside]}")
    work, second = slowest["work"], max((row["work_s"] for row in others), default=0.0)
    decode, denoise = work.get("decode", 0.0), work.get("denoise", 0.0)
    if decode and denoise:
        alone = max(decode, slowest["work_s"] - decode, second)
        made.append(_would("decoding on a device of its own", block_frames / alone, summary))
    elif decode and second and decode > CLEARLY * second:
        made.append(
            f"decode stage is {decode / second:.2f} x the slowest step: "
            + _would("a decoder as fast as a step (a lighter one, or two devices)", block_frames / second, summary)
        )
    elif "-" in slowest["stage"] and denoise:
        first, last = map(int, slowest["stage"].split()[1].split("-"))
        steps = last - first + 1
        better = max(second, slowest["work_s"] * (steps - steps // 2) / steps)
        made.append(_would(f"one device more for its {steps} steps", block_frames / better, summary))
    elif denoise and second and slowest["work_s"] > CLEARLY * second:
        made.append(
            f"its step takes {slowest['work_s'] / second:.2f} x the next: look for other programs or a slower device there; "
            + _would("as fast as the others", block_frames / second, summary)
        )
    elif slowest["busy"] >= 0.9:
        made.append("stages are even: only a faster step, and decoder, would raise the rate")
    return made


def _would(what: str, fps: float, summary: Json) -> str:
    return f"{what} would give about {fps:.1f} generation FPS in place of {summary['fps_steady']:.1f}"
