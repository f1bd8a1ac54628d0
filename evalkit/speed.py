"""Speed from timelines: FPS and TTFF as the paper defines them, and whether a measurement may enter a table.

All times are seconds on one monotonic clock from t0, the moment the pipeline is ready for this clip. Nothing is timed
here; timelines are read.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from evalkit.experiments import OFFLINE, SpeedProtocol
from evalkit.probes import Probe, as_plain, failures
from evalkit.scenarios import quantiles

DENOISE_STAGES, DECODE_STAGES = ("denoise",), ("decode",)
READY_STAGES = ("output", "decode")
VALID, INVALID = "VALID", "INVALID"


@dataclass(frozen=True)
class Span:
    """One stage working on one block."""

    stage: str
    block: int
    begin_s: float
    end_s: float
    frames: int = 0


@dataclass(frozen=True)
class Timeline:
    """A clip's spans and the moment it was finished."""

    spans: tuple[Span, ...]
    done_s: float

    def ready(self) -> list[tuple[float, int]]:
        """(moment in host memory, frames) of each block, in order: after output where that is logged, else decode."""
        for stage in READY_STAGES:
            found = [span for span in self.spans if span.stage == stage and span.frames > 0]
            if found:
                return [(span.end_s, span.frames) for span in sorted(found, key=lambda span: span.block)]
        return []


@dataclass(frozen=True)
class Speed:
    """The numbers of one clip.

    wait: half a frame interval, the mean wait of a random arrival.
    others_share: how much of the processors other processes took meanwhile (`evalkit.busy`); None: not known.
    fps_denoiser, fps_denoiser_vae: the rate that these stages alone would give, by the time in which they were at work.
    latency_*: from block to block, in hand; real_time_factor: time of making over time of playing.
    """

    frames: int
    blocks: int
    fps_end_to_end: float
    fps_steady: float
    latency_first: float
    wait: float
    ttff: float
    ttff_block: float
    others_share: float | None = None
    fps_denoiser: float | None = None
    fps_denoiser_vae: float | None = None
    real_time_factor: float | None = None
    steady_s: float = 0.0
    latency: dict[str, float] = field(default_factory=dict)


def read_timeline(path: Path) -> Timeline:
    """Read timeline.jsonl; a line that breaks off, or a missing end, is an error that names the file."""
    spans: list[Span] = []
    done_s: float | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path.name} line {number} is not JSON: the clip was not finished") from error
        if event.get("event") == "span":
            spans.append(
                Span(event["stage"], int(event["block"]), event["begin_s"], event["end_s"], int(event.get("frames") or 0))
            )
        elif event.get("event") == "end":
            done_s = float(event["t_s"])
    if done_s is None:
        raise ValueError(f"{path.name} has no end: the clip was not finished")
    return Timeline(tuple(spans), done_s)


def measure(timeline: Timeline, playback_fps: float, warmup_blocks: int = 2) -> Speed:
    """FPS and TTFF of one clip, by the formulas of the paper's section 10."""
    ready = timeline.ready()
    if len(ready) <= warmup_blocks:
        raise ValueError(f"{len(ready)} blocks are too few: {warmup_blocks} warm up and at least one more is timed")
    frames = sum(count for _, count in ready)
    steady = steady_fps(ready, warmup_blocks)
    latency = latency_first(timeline)
    wait = expected_wait(steady, playback_fps)
    block_frames = max(count for _, count in ready)
    return Speed(
        frames=frames,
        blocks=len(ready),
        fps_end_to_end=frames / timeline.done_s,
        fps_steady=steady,
        latency_first=latency,
        wait=wait,
        ttff=wait + latency,
        ttff_block=block_frames * wait + latency,
        fps_denoiser=_rate(timeline, frames, DENOISE_STAGES),
        fps_denoiser_vae=_rate(timeline, frames, (*DENOISE_STAGES, *DECODE_STAGES)),
        real_time_factor=timeline.done_s * playback_fps / frames,
        steady_s=ready[-1][0] - (ready[warmup_blocks - 1][0] if warmup_blocks else 0.0),
        latency=quantiles([after[0] - before[0] for before, after in pairwise(ready[warmup_blocks:])] or [0.0]),
    )


def at_work_s(spans: Iterable[Span]) -> float:
    """Time in which at least one of the spans was running: overlapping stages and devices count once."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda one: one.begin_s):
        total += max(0.0, span.end_s - max(span.begin_s, until))
        until = max(until, span.end_s)
    return total


def _rate(timeline: Timeline, frames: int, stages: Sequence[str]) -> float | None:
    """Frames per second of the time in which these stages worked; None where the timeline does not have them."""
    worked_s = at_work_s(span for span in timeline.spans if span.stage in stages)
    return frames / worked_s if worked_s > 0 else None


def steady_fps(ready: Sequence[tuple[float, int]], warmup_blocks: int) -> float:
    """Frames after the first `warmup_blocks` blocks over the time from when the last of those was ready."""
    frames = sum(count for _, count in ready[warmup_blocks:])
    begin_s = ready[warmup_blocks - 1][0] if warmup_blocks else 0.0
    return frames / (ready[-1][0] - begin_s)


def latency_first(timeline: Timeline) -> float:
    """From the start of denoising the first block to the end of its decoding."""
    first = min((span.block for span in timeline.spans if span.stage in DENOISE_STAGES), default=None)
    if first is None:
        raise ValueError("the timeline has no denoise span")
    begin_s = min(span.begin_s for span in timeline.spans if span.stage in DENOISE_STAGES and span.block == first)
    ends = [span.end_s for span in timeline.spans if span.stage == "decode" and span.block == first]
    if not ends:
        raise ValueError(f"the timeline has no decode span of block {first}")
    return max(ends) - begin_s


def expected_wait(fps_steady: float, playback_fps: float) -> float:
    """Half a frame interval at the rate at which frames really reach the viewer."""
    return 1 / (2 * min(fps_steady, playback_fps))


NAMES = (
    *("fps_end_to_end", "fps_steady", "latency_first", "wait", "ttff", "ttff_block"),
    *("fps_denoiser", "fps_denoiser_vae", "real_time_factor"),
)


def summarise(
    repeats: Sequence[Speed],
    protocol: SpeedProtocol,
    playback_fps: float,
    probes: Sequence[Probe] = (),
    wanted: int | None = None,
) -> dict[str, Any]:
    """An offline record's outputs: the median over repeats, their range, the raw repeats and the verdict.

    wanted: repeats that this record should hold; None: all of the protocol's.
    """
    reason = invalid_reason(repeats, protocol, wanted) or failures(probes)
    plain = [asdict(one) for one in repeats]
    return {
        **verdict(reason),
        **medians(plain, NAMES),
        "playback_fps": playback_fps,
        "blocks": sum(one.blocks for one in repeats),
        "frames": sum(one.frames for one in repeats),
        "protocol": {
            "name": protocol.name,
            "dataset": protocol.dataset,
            "discarded_clips": protocol.discarded_clips,
            "repeats": protocol.repeats,
            "clip_s": protocol.clip_s,
            "min_blocks": protocol.min_blocks,
            "warmup_blocks": protocol.warmup_blocks,
            "others_share": protocol.others_share,
            "scope": "end to end: audio, denoising, decoding, encoding and writing the file",
        },
        "repeats": plain,
        "probes": as_plain(probes),
    }


def verdict(reason: str) -> dict[str, Any]:
    """VALID, or INVALID with its reason."""
    return {"verdict": INVALID if reason else VALID, "reason": reason or None}


def medians(repeats: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """Median and range over repeats of each number that they have."""
    values = {name: [one[name] for one in repeats if one.get(name) is not None] for name in names}
    return {
        **{name: statistics.median(found) if found else None for name, found in values.items()},
        "range": {name: [min(found), max(found)] for name, found in values.items() if found},
    }


def merge(records: Sequence[Mapping[str, Any]], protocol: SpeedProtocol, scenario: str) -> dict[str, Any]:
    """Outputs of records of one repeat each, as if they were one record; invalid if any of them is."""
    repeats = [one for record in records for one in record.get("repeats") or []]
    reasons = [str(record["reason"]) for record in records if record.get("reason")]
    if len(repeats) < protocol.repeats:
        reasons.append(f"{len(repeats)} repeats instead of {protocol.repeats}")
    if scenario == OFFLINE and not reasons:
        reasons += [reason for reason in (too_short(repeats, protocol),) if reason]
    names = list(dict.fromkeys(name for one in repeats for name, value in one.items() if isinstance(value, int | float)))
    probes = [one for record in records for one in record.get("probes") or []]
    found = {**records[0], **verdict("; ".join(dict.fromkeys(reasons))), **medians(repeats, names)}
    return {**found, "repeats": repeats, "probes": probes}


def invalid_reason(repeats: Sequence[Speed], protocol: SpeedProtocol, wanted: int | None = None) -> str:
    """Why a measurement may not enter a table; empty when it may."""
    wanted = protocol.repeats if wanted is None else wanted
    if len(repeats) < wanted:
        return f"{len(repeats)} repeats instead of {wanted}"
    short = "" if wanted < protocol.repeats else too_short([asdict(one) for one in repeats], protocol)
    return short or too_busy([one.others_share for one in repeats], protocol)


def too_short(repeats: Sequence[Mapping[str, Any]], protocol: SpeedProtocol) -> str:
    """Blocks and steady seconds over all repeats against what the protocol asks for."""
    blocks = sum(one["blocks"] for one in repeats)
    if blocks < protocol.min_blocks:
        return f"{blocks} blocks in all instead of at least {protocol.min_blocks}"
    steady_s = sum(one.get("steady_s") or 0.0 for one in repeats)
    if steady_s < protocol.min_steady_s:
        return f"{steady_s:.0f} s in steady state instead of at least {protocol.min_steady_s:g} s"
    return ""


def too_busy(found: Iterable[float | None], protocol: SpeedProtocol) -> str:
    """What other processes held of the processors, as the median over repeats."""
    shares = [one for one in found if one is not None]
    if shares and statistics.median(shares) > protocol.others_share:
        return (
            f"other processes held {statistics.median(shares):.0%} of the processors (at most {protocol.others_share:.0%}); "
            "measure again on a quiet machine: the same command with --retry-failed"
        )
    return ""
