"""One progress line with rate and time left on a terminal; a quiet line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

QUIET_INTERVAL_S = 30.0


class Console:
    """Where a run talks to its user: messages, and the progress of the phase at hand. Everything goes to stderr."""

    def __init__(self, stream: TextIO | None = None, is_silent: bool = False) -> None:
        self.stream = stream or sys.stderr
        self.is_silent = is_silent
        self.is_terminal = self.stream.isatty() and not is_silent
        self._bar: Any = None
        self._phase: Phase | None = None

    def say(self, text: str) -> None:
        """One line of its own."""
        if self.is_silent:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=self.stream, flush=True)

    def begin(self, title: str, items: int, work: float) -> Phase:
        """Start a phase of `items` records; `work` is their media time, which the time left is reckoned by."""
        self.end()
        self._phase = Phase(title, items, max(work, 1e-9))
        if self.is_terminal:
            self._bar = _terminal_line(self.stream)
        if self._bar is not None:
            self._bar.start()
            self._bar.add_task(self._phase.line(), total=None)
        return self._phase

    def step(self, work: float, label: str = "") -> None:
        """Count one finished item."""
        phase = self._phase
        if phase is None:
            return
        phase.step(work)
        self.show(label)

    def show(self, label: str) -> None:
        """Redraw the line, naming the item in hand."""
        phase = self._phase
        if phase is None or self.is_silent:
            return
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=f"{phase.line()}  {label}")
        elif phase.is_line_due():
            self.say(phase.line())

    def end(self) -> None:
        """End the phase."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._phase is not None and self._phase.finished:
            self.say(self._phase.line())
        self._phase = None


class Phase:
    """Counts finished items and reckons the time left from the work they held."""

    def __init__(self, title: str, items: int, work: float) -> None:
        self.title, self.items, self.work = title, items, work
        self.finished, self.work_done = 0, 0.0
        self._started = self._last_line = time.monotonic()

    def step(self, work: float) -> None:
        """Count one item."""
        self.finished += 1
        self.work_done += work

    def line(self) -> str:
        """E.g. `generate 3/8, 12.5 items/min, about 40 s left`."""
        text = f"{self.title} {self.finished}/{self.items}"
        elapsed_s = time.monotonic() - self._started
        if not self.finished or self.finished >= self.items:
            return f"{text}, {elapsed_s:.1f} s"
        left_s = elapsed_s * max(self.work - self.work_done, 0.0) / max(self.work_done, 1e-9)
        return f"{text}, {60 * self.finished / max(elapsed_s, 1e-9):.1f} items/min, about {duration_text(left_s)} left"

    def is_line_due(self) -> bool:
        """Whether a quiet run should print a line now."""
        now = time.monotonic()
        if now - self._last_line < QUIET_INTERVAL_S:
            return False
        self._last_line = now
        return True


def duration_text(seconds: float) -> str:
    """`40 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _terminal_line(stream: TextIO) -> Any:
    try:
        from rich.console import Console as RichConsole
        from rich.progress import Progress, SpinnerColumn, TextColumn
    except ImportError:
        return None
    return Progress(SpinnerColumn(), TextColumn("{task.description}"), console=RichConsole(file=stream), transient=True)
