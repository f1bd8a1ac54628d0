"""The process that starts a program, watches its limits and outlives neither it nor the one who asked for it.

Run as `python -m evalkit.programs.guard TASK.json`. It is a process of its own because a thread would die with a
worker that is killed, and leave the program running. Its standard input is the leash: when that closes, the program ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.programs.bounded_log import BoundedLog, Marks
from evalkit.programs.process_tree import MARK, ProcessTree

POLL_S = 0.1
MEMORY_EVERY_S = 1.0
DRAIN_S = 2.0
READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Task:
    """What to run. limit_s, memory_bytes: 0 is no limit. marks: patterns of lines whose moments are wanted.

    environment: changes to the guard's own; None removes a variable.
    """

    command: list[str]
    folder: str
    environment: dict[str, str | None]
    log: str
    result: str
    limit_s: float = 0.0
    memory_bytes: int = 0
    head_bytes: int = 1 << 18
    tail_bytes: int = 1 << 20
    marks: list[str] = field(default_factory=list)


class Guard:
    """Runs one task to its end."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.is_leash_gone = threading.Event()
        self.peak_bytes = 0

    def run(self) -> dict[str, Any]:
        """Start, watch, end; gives what the asker wants to know."""
        task, mark = self.task, f"{os.getpid()}-{time.monotonic_ns()}"
        begun_s = time.monotonic()
        try:
            process = subprocess.Popen(
                task.command,
                cwd=task.folder,
                env=_environment(task.environment, mark),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            Path(task.log).write_text(f"{error}\n", encoding="utf-8")
            return self._result(None, f"could not be started: {error}", begun_s, 0, [])
        tree = ProcessTree(process.pid, mark)
        with Path(task.log).open("wb") as file:
            log, marks = BoundedLog(file, task.head_bytes, task.tail_bytes), Marks(task.marks)
            reader = threading.Thread(target=_drain, args=(process, log, marks), daemon=True)
            reader.start()
            threading.Thread(target=self._hold_leash, daemon=True).start()
            reason = self._watch(process, tree, begun_s)
            ended_s = time.monotonic()
            if not reason:
                reader.join(DRAIN_S)
            # Also after a good end: what it left running would hold memory, devices and our pipe.
            tree.end()
            code = process.wait()
            reader.join(DRAIN_S)
            log.close()
        return self._result(code, reason, begun_s, log.seen, marks.found, ended_s)

    def _watch(self, process: subprocess.Popen[bytes], tree: ProcessTree, begun_s: float) -> str:
        """Wait for the end; gives why it was not the program's own."""
        task, next_look_s = self.task, begun_s
        while not has_ended(process):
            now_s = time.monotonic()
            if self.is_leash_gone.is_set():
                return "the one who asked for it is gone"
            if task.limit_s and now_s - begun_s > task.limit_s:
                return f"stopped after its limit of {task.limit_s:.0f} s"
            if now_s >= next_look_s:
                next_look_s = now_s + MEMORY_EVERY_S
                self.peak_bytes = max(self.peak_bytes, tree.resident_bytes())
                if task.memory_bytes and self.peak_bytes > task.memory_bytes:
                    return (
                        f"stopped at {self.peak_bytes / 2**30:.2f} GiB of memory, "
                        f"its limit is {task.memory_bytes / 2**30:.2f}"
                    )
            time.sleep(POLL_S)
        return ""

    def _hold_leash(self) -> None:
        while os.read(sys.stdin.fileno(), READ_BYTES):
            pass
        self.is_leash_gone.set()

    def _result(
        self, code: int | None, reason: str, begun_s: float, output_bytes: int, marks: list[tuple[float, str]],
        ended_s: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        return {
            "code": code,
            "reason": reason,
            "begun_s": begun_s,
            "ended_s": time.monotonic() if ended_s is None else ended_s,
            "peak_bytes": self.peak_bytes,
            "output_bytes": output_bytes,
            "marks": marks,
        }


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has, without asking for its exit code: until then the system gives its number to no other process."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _environment(changes: dict[str, str | None], mark: str) -> dict[str, str]:
    found = {**os.environ, **changes, MARK: mark}
    return {name: value for name, value in found.items() if value is not None}


def _drain(process: subprocess.Popen[bytes], log: BoundedLog, marks: Marks) -> None:
    assert process.stdout is not None
    while data := os.read(process.stdout.fileno(), READ_BYTES):
        log.write(data)
        marks.write(data, time.monotonic())


def main(arguments: list[str]) -> None:
    """Run the task of a file and write its result beside it."""
    task = Task(**json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    result = Guard(task).run()
    partial = Path(task.result + ".partial")
    partial.write_text(json.dumps(result), encoding="utf-8")
    os.replace(partial, task.result)


if __name__ == "__main__":
    main(sys.argv[1:])
