"""Timelines of methods that are timed from outside, or clip by clip, in the form that `evalkit.speed` reads."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


def write_whole(path: Path, frames: int, first_s: float, done_s: float) -> None:
    """All that two clocks know: when the first frames had left the decoder, and when everything was done."""
    spans = [("denoise", 0.0, first_s, 0), ("decode", first_s, first_s, 0), ("output", first_s, done_s, frames)]
    lines: list[dict[str, Any]] = [{"event": "start", "t_s": 0.0}]
    lines += [
        {"event": "span", "stage": stage, "block": 0, "begin_s": begin_s, "end_s": end_s, "frames": count}
        for stage, begin_s, end_s, count in spans
    ]
    lines.append({"event": "end", "t_s": done_s})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


class Stopwatch:
    """Spans of a clip in the making, in seconds from the stopwatch's beginning."""

    def __init__(self) -> None:
        self._begun_s = time.perf_counter()
        self._lines: list[dict[str, Any]] = [{"event": "start", "t_s": 0.0}]

    def now_s(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._begun_s

    def span(self, stage: str, block: int, begin_s: float, frames: int = 0) -> None:
        """A stage that began at `begin_s` and ends now."""
        self._lines.append(
            {"event": "span", "stage": stage, "block": block, "begin_s": begin_s, "end_s": self.now_s(), "frames": frames}
        )

    def write(self, path: Path) -> float:
        """End the timeline and write it; gives the moment of the end."""
        done_s = self.now_s()
        lines = [*self._lines, {"event": "end", "t_s": done_s}]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return done_s
