"""Reads `timeline.jsonl`: what every process of a pipeline, or a single one, wrote of who did what when."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

READY_STAGES = ("output", "decode", "denoise")  # the last of these that a block passes is when a viewer has it
WORK = ("voice", "prefill", "denoise", "decode")  # what keeps a stage's device busy


class TimelineError(ValueError):
    """A file that is no timeline; the message says where it breaks off."""


@dataclass(frozen=True)
class Event:
    """A line with a time. kind: "span", "wait", "send", "receive" or "sound"; what: a span's stage, a wait's reason."""

    kind: str
    what: str
    rank: int
    block: int
    begin_s: float
    end_s: float
    frames: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end_s - self.begin_s


@dataclass(frozen=True)
class Timeline:
    """All of it. facts: what the pipeline was; done_s: when the stream was finished, None if it broke off."""

    events: tuple[Event, ...]
    facts: Mapping[str, Any]
    done_s: float | None

    def spans(self, what: str, block: int | None = None) -> list[Event]:
        """Work of one kind, of one block or of all."""
        if block is not None:
            return self._by_block.get((what, block), [])
        return [event for event in self.events if event.kind == "span" and event.what == what]

    def of_kind(self, kind: str) -> list[Event]:
        """Events of one kind."""
        return [event for event in self.events if event.kind == kind]

    @cached_property
    def _by_block(self) -> dict[tuple[str, int], list[Event]]:
        found: dict[tuple[str, int], list[Event]] = {}
        for event in self.of_kind("span"):
            found.setdefault((event.what, event.block), []).append(event)
        return found

    @cached_property
    def ready(self) -> dict[int, tuple[float, int]]:
        """By block: when it was in the viewer's hands, and its frames."""
        for stage in READY_STAGES:
            found = [event for event in self.spans(stage) if event.block >= 0]
            if found:
                last: dict[int, tuple[float, int]] = {}
                for event in sorted(found, key=lambda e: e.end_s):
                    last[event.block] = (event.end_s, event.frames or int(self.facts.get("block_frames", 0)))
                return dict(sorted(last.items()))
        return {}

    @cached_property
    def stages(self) -> list[str]:
        """Names by rank; a single process's spans are of one stage."""
        ranks = 1 + max((event.rank for event in self.events), default=0)
        return list(self.facts.get("stages", ["one process"] * ranks))


def read_timeline(path: Path) -> Timeline:
    """All whole lines; a last one that broke off is left out. Raises TimelineError."""
    events: list[Event] = []
    facts: dict[str, Any] = {}
    done_s: float | None = None
    for line in _lines(path):
        kind = line.get("event")
        if kind == "pipeline":
            facts = line
        elif kind == "end":
            done_s = float(line["t_s"])
        elif "begin_s" in line and isinstance(kind, str):
            events.append(_event(kind, line))
    if not events:
        raise TimelineError(f"{path} has no line with times; give a timeline.jsonl, such as tpp run --timeline writes")
    return Timeline(tuple(sorted(events, key=lambda event: event.begin_s)), facts, done_s)


def _event(kind: str, line: dict[str, Any]) -> Event:
    known = {"event", "stage", "reason", "rank", "block", "begin_s", "end_s", "frames"}
    return Event(
        kind=kind,
        what=str(line.get("stage") or line.get("reason") or ""),
        rank=int(line.get("rank", 0)),
        block=int(line.get("block", -1)),
        begin_s=float(line["begin_s"]),
        end_s=float(line["end_s"]),
        frames=int(line.get("frames") or 0),
        more={name: value for name, value in line.items() if name not in known},
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TimelineError(f"timeline {path}: {error.strerror}") from error
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise TimelineError(f"{path} line {number} is not JSON") from error
        if isinstance(value, dict):
            yield value
