"""Who did what when: spans of every process of a pipeline, brought together in one `timeline.jsonl`.

Work on a block is a "span" line, as a single process writes it, with the device and steps besides; sending, receiving and
waiting have lines of their own kind. Times are readings of one clock: processes on other machines are set to the end's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from liveavatar.output import Timeline
from liveavatar.tpp.board import Board

Event = dict[str, Any]
FLUSH_S = 1.0  # how often a process hands its lines on
LAST_LINES_S = 3.0  # how long the end of a stream waits for lines of others


class Trace:
    """A process's lines of the stream in hand; safe to use from several threads."""

    def __init__(self, rank: int, stage: str, shift_s: float = 0.0) -> None:
        """shift_s: what makes this process's clock that of the process that writes the file."""
        self.rank, self.stage, self.shift_s = rank, stage, shift_s
        self.is_on = False
        self._lines: list[Event] = []
        self._lock = threading.Lock()

    def add(self, event: str, begin: float, end: float, block: int, **more: object) -> None:
        """One line; begin and end are readings of time.perf_counter."""
        if not self.is_on:
            return
        line = {"event": event, "block": block, "begin": begin + self.shift_s, "end": end + self.shift_s}
        with self._lock:
            self._lines.append(line | {"rank": self.rank} | more)

    def work(self, stage: str, begin: float, end: float, block: int, frames: int = 0, **more: object) -> None:
        """Work on a block: "denoise", "decode", "prefill", "voice" or "output"."""
        self.add("span", begin, end, block, stage=stage, frames=frames, place=self.stage, **more)

    @contextmanager
    def waiting(self, reason: str, block: int) -> Iterator[None]:
        """A wait, for `reason`: "block", "room", "sound", "sink" or "viewer"."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add("wait", begin, time.perf_counter(), block, reason=reason, place=self.stage)

    def take(self) -> list[Event]:
        """The lines since the last call."""
        with self._lock:
            lines, self._lines = self._lines, []
        return lines


class TraceOutlet:
    """Where a process's lines of one stream go. Two threads call it: the watch from time to time, the stage at the end."""

    def __init__(self, trace: Trace, stream: int) -> None:
        self.trace, self.stream = trace, stream
        self._lock = threading.Lock()
        self._is_open, self._next_s = True, time.monotonic() + FLUSH_S
        trace.is_on = True

    def beat(self, board: Board) -> None:
        """Hand on what there is, if it is time."""
        if time.monotonic() < self._next_s:
            return
        with self._lock:
            self._next_s = time.monotonic() + FLUSH_S
            if self._is_open:
                self._hand_on(board)

    def finish(self, board: Board, *, is_done: bool = True) -> None:
        """The stream is over, or has broken off."""
        self.trace.is_on = False
        with self._lock:
            if self._is_open:
                self._is_open = False
                self._last(board, is_done)

    def _hand_on(self, board: Board) -> None:
        raise NotImplementedError

    def _last(self, board: Board, is_done: bool) -> None:
        raise NotImplementedError


class TraceSender(TraceOutlet):
    """Puts lines on the board for the process that writes the file."""

    _sent = 0

    def _hand_on(self, board: Board) -> None:
        lines = self.trace.take()
        if lines:
            board.put(_part(self.stream, self.trace.rank, self._sent), lines)
            self._sent += 1

    def _last(self, board: Board, is_done: bool) -> None:
        self._hand_on(board)
        board.put(_count(self.stream, self.trace.rank), self._sent)


class TraceWriter(TraceOutlet):
    """Collects the lines of all processes and writes them, each at once, so that a broken stream's file tells what was."""

    def __init__(self, trace: Trace, stream: int, path: Path, ranks: int, facts: Mapping[str, object]) -> None:
        """facts: what the pipeline is, for those who read the file later."""
        super().__init__(trace, stream)
        self._others = {rank: 0 for rank in range(ranks) if rank != trace.rank}  # parts read of each
        self.timeline = Timeline(path)
        self.timeline.note("pipeline", **facts)

    def _hand_on(self, board: Board) -> None:
        self._write(self.trace.take())
        for rank, part in self._others.items():
            while board.has(name := _part(self.stream, rank, part)):
                self._write(board.get(name))
                board.forget(name)
                part += 1
            self._others[rank] = part

    def _last(self, board: Board, is_done: bool) -> None:
        """Wait for everyone's last lines, but not for ever; an unfinished file has no end."""
        if not is_done:
            self._write(self.trace.take())
            self.timeline.close(is_done=False)
            return
        counts = [_count(self.stream, rank) for rank in self._others]
        deadline = time.monotonic() + LAST_LINES_S
        while not all(map(board.has, counts)) and time.monotonic() < deadline:
            time.sleep(0.005)
        self._hand_on(board)
        board.forget(*counts)
        self.timeline.close()

    def _write(self, lines: list[Event]) -> None:
        for line in lines:
            event, begin, end = line.pop("event"), line.pop("begin"), line.pop("end")
            if event == "span":
                block, frames = line.pop("block"), line.pop("frames")
                self.timeline.span(line.pop("stage"), begin, end, block=block, frames=frames, **line)
            else:
                self.timeline.note(event, begin_s=self.timeline.moment(begin), end_s=self.timeline.moment(end), **line)


def clock() -> dict[str, object]:
    """What tells two processes apart whose clocks differ: the machine's boot, and its wall clock less the fast one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return {"boot": boot, "wall_s": time.time() - time.perf_counter()}


def clock_shift(own: Mapping[str, Any], writer: Mapping[str, Any]) -> float:
    """Seconds to add to a reading here to have the writer's: none on one machine, else by wall clocks."""
    return 0.0 if own["boot"] and own["boot"] == writer["boot"] else float(own["wall_s"] - writer["wall_s"])


def _part(stream: int, rank: int, number: int) -> str:
    return f"trace/{stream}/{rank}/{number}"


def _count(stream: int, rank: int) -> str:
    return f"trace/{stream}/{rank}/count"
