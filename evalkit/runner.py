"""The driver: runs jobs in worker processes, feeds them item by item, and believes only the store.

It enforces time limits by killing the worker's process group, stops a method after three failures in a row, and turns
Ctrl-C into "finish the record in hand" and a second Ctrl-C into "stop now". Both leave a valid, resumable run.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

import evalkit
from evalkit.events import Diary
from evalkit.failures import failed_record
from evalkit.jobs import JobSpec, WorkItem, log_path, spec_path
from evalkit.lock import RunLock
from evalkit.plan import MAX_ATTEMPTS
from evalkit.progress import Console
from evalkit.records import FAILED, Failure, dumps
from evalkit.store import Store, write_text
from evalkit.worker import DISK_FULL_EXIT

FAILURES_IN_A_ROW = 3
FINISH_LIMIT_S = 30.0
POLL_S = 0.1
TAIL_LINES = 20


@dataclass
class Outcome:
    """What happened to the jobs of a run; the store knows the rest."""

    is_interrupted: bool = False
    disk_full: str = ""
    stopped_methods: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing more may be started."""
        return self.is_interrupted or bool(self.disk_full)


class Interrupts:
    """Counts Ctrl-C (and a request to terminate) while a run is on, instead of raising in the middle of a write."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


class Driver:
    """Runs jobs one after another; each is one process at a time."""

    def __init__(self, store: Store, console: Console, lock: RunLock, interrupts: Interrupts) -> None:
        self.store, self.console, self.lock, self.interrupts = store, console, lock, interrupts
        self.diary = Diary(store.root)
        self.outcome = Outcome()
        self._failures: dict[str, int] = {}

    def run(self, jobs: list[JobSpec]) -> Outcome:
        """Run jobs until they are done, interrupted, or the disk is full."""
        for spec in jobs:
            if self.interrupts.count:
                self.outcome.is_interrupted = True
            if self.outcome.is_over:
                break
            self._run_job(spec)
        return self.outcome

    def _run_job(self, spec: JobSpec) -> None:
        write_text(spec_path(self.store.root, spec.id), dumps(spec.to_json()))
        self.diary.note("job", id=spec.id, items=len(spec.items))
        self.console.begin(spec.title, len(spec.items), sum(item.media_s for item in spec.items))
        self._failures.clear()  # a method stopped in one job may still have clips to score in another
        waiting = list(range(len(spec.items)))
        try:
            while waiting and not self.outcome.is_over:
                if not self._run_worker(spec, waiting):
                    break
        finally:
            self.console.end()

    def _run_worker(self, spec: JobSpec, waiting: list[int]) -> bool:
        """Feed one worker until it ends or nothing waits; items leave `waiting` as they are settled."""
        with WorkerProcess(self.store.root, spec) as worker:
            while waiting:
                item = spec.items[waiting[0]]
                if self._failures.get(item.method, 0) >= FAILURES_IN_A_ROW:
                    self._stop_method(item.method, spec, waiting)
                    continue
                if self.interrupts.count:
                    self.outcome.is_interrupted = True
                    return False
                ending = self._make(worker, waiting[0], item)
                if ending == "retry":
                    return True
                waiting.pop(0)
                self.console.step(item.media_s, item.label)
                if ending in ("killed", "over"):
                    return ending == "killed"
        return False

    def _make(self, worker: WorkerProcess, index: int, item: WorkItem) -> str:
        """One item. Gives `done`, `retry` (a transient loss), `killed` (a new worker is needed) or `over`."""
        self.console.show(item.label)
        worker.order(index)
        begun, asked_to_stop_at = time.monotonic(), 0.0
        while True:
            self.lock.beat()
            event = worker.next_event(POLL_S)
            now = time.monotonic()
            if event is not None and event["event"] == "end":
                return self._settle(item, event["statuses"])
            if event is not None and event["event"] == "disk_full":
                self.outcome.disk_full = event["message"]
                return "over"
            if event is None and not worker.is_alive():
                return self._lost(worker, item)
            if now - begun > item.limit_s:
                worker.kill()
                self._fail(worker, item, Failure("TimeLimit", f"stopped after {item.limit_s:.0f} s"))
                return "killed"
            if self.interrupts.count and not asked_to_stop_at:
                asked_to_stop_at = now
                self.console.say("interrupted: finishing the record in hand; press Ctrl-C again to stop now")
            if self.interrupts.count > 1 or (asked_to_stop_at and now - asked_to_stop_at > FINISH_LIMIT_S):
                worker.kill()
                self.outcome.is_interrupted = True
                return "over"

    def _settle(self, item: WorkItem, statuses: list[str]) -> str:
        failed = FAILED in statuses
        self._failures[item.method] = self._failures.get(item.method, 0) + 1 if failed else 0
        self.diary.note("item", label=item.label, statuses=statuses)
        if failed:
            errors = [record.error for part in item.parts if (record := self.store.read(part.key)) and record.error]
            why = f": {errors[0].kind}: {errors[0].message}" if errors else ""
            self.console.say(f"failed: {item.label}{why}")
        return "done"

    def _lost(self, worker: WorkerProcess, item: WorkItem) -> str:
        """The worker is gone with an item in hand: a kill may pass, so it is tried again before it counts."""
        code = worker.exit_code()
        if code == DISK_FULL_EXIT:
            self.outcome.disk_full = f"no space left in {self.store.root}; free some and run the same command again"
            return "over"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        attempts = 1 + self._failed_attempts(item)
        message = f"the worker ended with {how} while making this record"
        self._fail(worker, item, Failure("WorkerLost", message, transient=code < 0), attempts)
        if code < 0 and attempts < MAX_ATTEMPTS:
            self.console.say(f"lost: {item.label} ({how}); trying again")
            return "retry"
        return "killed"

    def _failed_attempts(self, item: WorkItem) -> int:
        """How often this very item failed before."""
        records = [(part, self.store.read(part.key)) for part in item.parts]
        same = [one for part, one in records if one and one.status == FAILED and one.fingerprint == part.fingerprint]
        return max((one.attempts for one in same), default=0)

    def _fail(self, worker: WorkerProcess, item: WorkItem, failure: Failure, attempts: int = 1) -> None:
        detailed = Failure(failure.kind, failure.message, worker.tail(), worker.log_name, failure.transient)
        for part in item.parts:
            record = failed_record(part, detailed)
            record.attempts = max(record.attempts, attempts)
            self.store.write(record)
        self._failures[item.method] = self._failures.get(item.method, 0) + 1
        self.diary.note("failed", label=item.label, kind=failure.kind)
        self.console.say(f"failed: {item.label}: {failure.message}; log: {worker.log_name}")

    def _stop_method(self, method: str, spec: JobSpec, waiting: list[int]) -> None:
        kept = [index for index in waiting if spec.items[index].method != method]
        skipped = len(waiting) - len(kept)
        waiting[:] = kept
        self.outcome.stopped_methods.append(method)
        self.console.say(
            f"{method}: {FAILURES_IN_A_ROW} failures in a row, so its other {skipped} items are left out; "
            f"see {log_path(Path(), spec.id)} in the run folder, then run again with --retry-failed"
        )


class WorkerProcess:
    """One `evalkit.worker` process in a process group of its own, with its log."""

    def __init__(self, run: Path, spec: JobSpec) -> None:
        self.run, self.spec = run, spec
        self.log_name = log_path(Path(), spec.id).as_posix()
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def __enter__(self) -> WorkerProcess:
        log = log_path(self.run, self.spec.id)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "evalkit.worker", str(self.run.resolve()), self.spec.id],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
                env=_environment(self.spec.options.get("threads")),
            )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it may have ended already
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()

    def order(self, index: int) -> None:
        """Tell the worker to make an item; a worker that is gone shows in `is_alive`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{index}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return

    def next_event(self, timeout_s: float) -> dict[str, Any] | None:
        """The next thing the worker says, or None."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def is_alive(self) -> bool:
        """False once the process has ended and everything it said was read."""
        if self._process.poll() is None:
            return True
        self._reader.join(timeout=5)
        return not self._events.empty()

    def exit_code(self) -> int:
        """Exit code; negative for a signal."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill the whole process group."""
        with contextlib.suppress(ProcessLookupError):  # it may have ended already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self) -> str:
        """The last lines of the log."""
        try:
            text = log_path(self.run, self.spec.id).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-TAIL_LINES:])

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            try:
                self._events.put(json.loads(line))
            except ValueError:
                continue  # a line cut off by a kill


def _environment(threads: int | None) -> dict[str, str]:
    environment = dict(os.environ)
    home = str(Path(evalkit.__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [environment.get("PYTHONPATH")])])
    if threads:
        environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(threads)
    return environment
