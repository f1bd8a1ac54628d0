"""Run a program and learn how it ended: the asker's side of the guard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import evalkit

LOG, TASK, RESULT = "program.log", "program.task.json", "program.result.json"
TAIL_LINES, TAIL_CHARS = 30, 4000


class ProgramError(RuntimeError):
    """A program that did not do what was asked; `log_tail` is the end of what it printed."""

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.log_tail = log_tail


@dataclass(frozen=True)
class Program:
    """A command as a list of words, where it runs and what it may use. Limits of 0 are none.

    environment: added to this process's own. marks: regular expressions of lines whose moments are wanted.
    """

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    limit_s: float = 0.0
    memory_bytes: int = 0
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Ended:
    """How a program ended. Moments are seconds of the system's monotonic clock; `reason` is empty if nobody stopped it."""

    code: int | None
    reason: str
    begun_s: float
    ended_s: float
    peak_bytes: int
    output_bytes: int
    marks: tuple[tuple[float, str], ...]
    log: str

    @property
    def wall_s(self) -> float:
        """From start to end: the process clock."""
        return self.ended_s - self.begun_s

    @property
    def tail(self) -> str:
        """The last lines that the program printed."""
        lines = [line.rsplit("\r", 1)[-1] for line in self.log.splitlines()]
        return "\n".join(lines[-TAIL_LINES:])[-TAIL_CHARS:]

    @property
    def problem(self) -> str:
        """What went wrong with it as a process; empty for a good end."""
        if self.reason:
            return self.reason
        if self.code is None:
            return "it could not be started"
        if self.code < 0:
            return f"it was ended by signal {-self.code}"
        return f"it ended with exit code {self.code}" if self.code else ""

    def check(self, name: str) -> None:
        """Raise ProgramError unless the program ended well."""
        if self.problem:
            raise ProgramError(f"{name}: {self.problem}", self.tail)


def run_program(program: Program, scratch: Path) -> Ended:
    """Run to the end, however it comes; `scratch` keeps the log and what passes between us and the guard.

    The program gets a session of its own. It ends with this process, also when that is killed.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    log, task, result = scratch / LOG, scratch / TASK, scratch / RESULT
    result.unlink(missing_ok=True)
    content = {
        "command": [str(word) for word in program.command],
        "folder": str(program.folder),
        "environment": {"PYTHONPATH": os.environ.get("PYTHONPATH"), **program.environment},
        "log": str(log),
        "result": str(result),
        "limit_s": program.limit_s,
        "memory_bytes": program.memory_bytes,
        "marks": list(program.marks),
    }
    task.write_text(json.dumps(content), encoding="utf-8")
    home = str(Path(evalkit.__file__).resolve().parents[1])
    paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    guard = subprocess.Popen(
        [sys.executable, "-m", "evalkit.programs.guard", str(task)],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )
    try:
        guard.wait()
    finally:
        assert guard.stdin is not None
        guard.stdin.close()  # on an exception here the guard ends the program
        guard.wait()
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    try:
        found = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProgramError(f"the guard of {program.command[0]} ended with code {guard.returncode}", text) from error
    marks = tuple((float(moment), str(line)) for moment, line in found.pop("marks"))
    return Ended(**found, marks=marks, log=text)
