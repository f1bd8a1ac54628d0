"""Three clocks for each sample of a program: the whole process, the pipeline without loading, and the first frames.

The pipeline clock runs from entry to return of the generating call; it is what papers call generation speed. The stream
clock runs to the first decoded frames; where a system shows nothing before the end, it equals the pipeline clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.programs.running import Ended

HOOKS, LINES, PROCESS = "hooks", "printed lines", "process"


@dataclass(frozen=True)
class Event:
    """A call, on the system's monotonic clock."""

    role: str
    target: str
    begin_s: float
    end_s: float
    rank: int = 0


@dataclass(frozen=True)
class Clocks:
    """Seconds. `source`: what the pipeline clock was read from; with "process" it includes loading.

    process_s covers all samples of the process, `shared` of them.
    """

    process_s: float
    pipeline_s: float
    stream_s: float
    source: str
    shared: int = 1


def read_events(path: Path) -> list[Event]:
    """The calls noted in a file, in the order of their beginning; notes of other kinds and torn lines are left out."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            content: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if "begin_s" in content:
            found.append(Event(**content))
    return sorted(found, key=lambda event: event.begin_s)


def read_clocks(
    ended: Ended, events: Sequence[Event], samples: int, skips: Mapping[str, int], start: str = "", end: str = ""
) -> list[Clocks]:
    """The clocks of each of `samples` samples that a process made one after another.

    skips: calls by target that hand over no frame yet, per sample. start, end: patterns of printed lines.
    """
    spans, source = _hooked_spans(events, samples), HOOKS
    if len(spans) < samples:
        spans, source = _printed_spans(ended, samples, start, end), LINES
    if len(spans) < samples:
        whole = ended.wall_s
        return [Clocks(whole, whole / samples, whole, PROCESS, samples)] * samples
    return [
        Clocks(ended.wall_s, end_s - begin_s, _first_frames(events, begin_s, end_s, skips) - begin_s, source, samples)
        for begin_s, end_s in spans
    ]


def _hooked_spans(events: Sequence[Event], samples: int) -> list[tuple[float, float]]:
    """(begin, end) of each sample, by the calls of one process: the first to have seen them all."""
    for rank in sorted({event.rank for event in events}):
        own = [event for event in events if event.rank == rank]
        calls = [(event.begin_s, event.end_s) for event in own if event.role == "generate"]
        if not calls:
            begins = [event.begin_s for event in own if event.role == "start"]
            ends = [event.end_s for event in own if event.role == "end"]
            calls = _paired(begins, ends)
        if len(calls) >= samples:
            return calls[:samples]
    return []


def _paired(begins: Sequence[float], ends: Sequence[float]) -> list[tuple[float, float]]:
    """Each end with the first beginning since the end before it."""
    found, after_s = [], float("-inf")
    for end_s in sorted(ends):
        inside = [begin_s for begin_s in begins if after_s <= begin_s <= end_s]
        if inside:
            found.append((min(inside), end_s))
        after_s = end_s
    return found


def _printed_spans(ended: Ended, samples: int, start: str, end: str) -> list[tuple[float, float]]:
    """The same by printed lines; without a line for the end, a single sample ends with its process."""
    begins = [moment for moment, line in ended.marks if start and re.search(start, line)]
    ends = [moment for moment, line in ended.marks if end and re.search(end, line)]
    if begins and not end and samples == 1:
        ends = [ended.ended_s]
    if len(ends) >= samples and len(begins) == 1:
        begins = [begins[0], *ends[:-1]]  # one line for the whole list: a sample begins when the one before it ends
    return _paired(begins, ends)


def _first_frames(events: Sequence[Event], begin_s: float, end_s: float, skips: Mapping[str, int]) -> float:
    moments = []
    for target in {event.target for event in events if event.role == "frames"}:
        calls = [e for e in events if e.target == target and e.role == "frames" and begin_s <= e.end_s <= end_s]
        for rank in {event.rank for event in calls}:
            own = sorted(event.end_s for event in calls if event.rank == rank)
            moments += own[skips.get(target, 0) :][:1]
    return min(moments, default=end_s)
