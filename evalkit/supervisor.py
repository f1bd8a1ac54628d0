"""One job on the spot: a supervisor feeds a worker process item by item, and believes only the store.

It enforces time limits by killing the worker's process group, stops a method after three failures in a row, and replaces
a worker that was lost. What it does is told in a file of lines, `logs/JOB.progress`, which any driver can follow; a file
`logs/JOB.stop` asks it to finish the record in hand. When its standard input ends, its driver is gone, and it leaves.
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
from pathlib import Path
from typing import IO, Any

from evalkit.errors import DISK_FULL_EXIT, is_disk_full
from evalkit.events import Diary
from evalkit.job_progress import ProgressWriter, is_asked_to_stop
from evalkit.jobs import JobSpec, WorkItem, failed_record, log_path, spec_path
from evalkit.plan import MAX_ATTEMPTS
from evalkit.records import FAILED, Failure
from evalkit.store import Store, full_message

FAILURES_IN_A_ROW = 3
FINISH_LIMIT_S = 30.0
POLL_S = 0.1
TAIL_LINES = 20
INTERRUPTED_EXIT = 130


class Supervisor:
    """Runs the items of one job."""

    def __init__(self, store: Store, spec: JobSpec) -> None:
        self.store, self.spec = store, spec
        self.diary = Diary(store.root)
        self.tell = ProgressWriter(store.root, spec.id)
        self.disk_full = ""
        self.is_interrupted = False
        self._failures: dict[str, int] = {}
        self._worker: WorkerProcess | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more may be started."""
        return self.is_interrupted or bool(self.disk_full)

    def run(self) -> int:
        """Make all items; gives the process's exit code, which says why it ended and nothing of the results."""
        self.diary.note("job", id=self.spec.id, items=len(self.spec.items))
        waiting = list(range(len(self.spec.items)))
        while waiting and not self.is_over:
            if is_asked_to_stop(self.store.root, self.spec.id):
                self.is_interrupted = True
            elif not self._run_worker(waiting):
                break
        if self.disk_full:
            self.tell.disk_full(self.disk_full)
            return DISK_FULL_EXIT
        return INTERRUPTED_EXIT if self.is_interrupted else 0

    def stop_now(self, *_: object) -> None:
        """End at once, the worker's process group first: what it was writing does not count."""
        if self._worker is not None:
            self._worker.kill_group()
        os._exit(INTERRUPTED_EXIT)

    def _run_worker(self, waiting: list[int]) -> bool:
        """Feed one worker until it ends or nothing waits; items leave `waiting` as they are settled."""
        with WorkerProcess(self.store.root, self.spec) as worker:
            self._worker = worker
            while waiting:
                item = self.spec.items[waiting[0]]
                if self._failures.get(item.method, 0) >= FAILURES_IN_A_ROW:
                    self._stop_method(item.method, waiting)
                    continue
                if is_asked_to_stop(self.store.root, self.spec.id):
                    self.is_interrupted = True
                    return False
                ending = self._make(worker, waiting[0], item)
                if ending in ("retry", "over"):
                    return ending == "retry"
                waiting.pop(0)
                self.tell.step(item.media_s, item.label)
                if ending == "killed":
                    return True
        return False

    def _make(self, worker: WorkerProcess, index: int, item: WorkItem) -> str:
        """One item. Gives `done`, `retry` (a transient loss), `killed` (a new worker is needed) or `over`."""
        self.tell.show(item.label)
        worker.order(index)
        begun, asked_to_stop_at = time.monotonic(), 0.0
        while True:
            event = worker.next_event(POLL_S)
            now = time.monotonic()
            if event is not None and event["event"] == "end":
                return self._settle(item, event["statuses"])
            if event is not None and event["event"] == "disk_full":
                self.disk_full = event["message"]
                return "over"
            if event is None and not worker.is_alive():
                return self._lost(worker, item)
            if now - begun > item.limit_s:
                worker.kill()
                self._fail(worker, item, Failure("TimeLimit", f"stopped after {item.limit_s:.0f} s"))
                return "killed"
            if not asked_to_stop_at and is_asked_to_stop(self.store.root, self.spec.id):
                asked_to_stop_at = now
            if asked_to_stop_at and now - asked_to_stop_at > FINISH_LIMIT_S:
                worker.kill()
                self.is_interrupted = True
                return "over"

    def _settle(self, item: WorkItem, statuses: list[str]) -> str:
        failed = FAILED in statuses
        self._failures[item.method] = self._failures.get(item.method, 0) + 1 if failed else 0
        self.diary.note("item", label=item.label, statuses=statuses)
        if failed:
            errors = [record.error for part in item.parts if (record := self.store.read(part.key)) and record.error]
            why = f": {errors[0].kind}: {errors[0].message}" if errors else ""
            self.tell.say(f"failed: {item.label}{why}")
        return "done"

    def _lost(self, worker: WorkerProcess, item: WorkItem) -> str:
        """The worker is gone with an item in hand: a kill may pass, so it is tried again before it counts."""
        code = worker.exit_code()
        if code == DISK_FULL_EXIT:
            self.disk_full = str(full_message(self.store.path("records")))
            return "over"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        attempts = 1 + self._failed_attempts(item)
        message = f"the worker ended with {how} while making this record"
        self._fail(worker, item, Failure("WorkerLost", message, transient=code < 0), attempts)
        if code < 0 and attempts < MAX_ATTEMPTS:
            self.tell.say(f"lost: {item.label} ({how}); trying again")
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
        self.tell.say(f"failed: {item.label}: {failure.message}; log: {worker.log_name}")

    def _stop_method(self, method: str, waiting: list[int]) -> None:
        kept = [index for index in waiting if self.spec.items[index].method != method]
        skipped = len(waiting) - len(kept)
        waiting[:] = kept
        self.tell.stopped(method)
        self.tell.say(
            f"{method}: {FAILURES_IN_A_ROW} failures in a row, so its other {skipped} items are left out; "
            f"see {log_path(Path(), self.spec.id)} in the run folder, then run again with --retry-failed"
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
        self.kill_group()
        self._process.wait()

    def kill_group(self) -> None:
        """As `kill`, without waiting: safe in a signal handler."""
        with contextlib.suppress(ProcessLookupError):  # it may have ended already
            os.killpg(self._process.pid, signal.SIGKILL)

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


def _leave_with_the_driver(supervisor: Supervisor) -> None:
    """Standard input is held open by whoever started us; its end means that nobody is left to work for."""
    while os.read(0, 4096):  # not through sys.stdin, whose lock would hold up the end of the program
        pass
    supervisor.stop_now()


def main(arguments: list[str]) -> int:
    """Entry point: `python -m evalkit.supervisor RUN JOB`."""
    run = Path(arguments[0])
    spec = JobSpec.from_json(json.loads(spec_path(run, arguments[1]).read_text(encoding="utf-8")))
    supervisor = Supervisor(Store(run), spec)
    signal.signal(signal.SIGTERM, supervisor.stop_now)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to hear
    threading.Thread(target=_leave_with_the_driver, args=(supervisor,), daemon=True).start()
    try:
        return supervisor.run()
    except Exception as error:
        if not is_disk_full(error):
            raise
        supervisor.tell.disk_full(str(full_message(run / "records")))
        return DISK_FULL_EXIT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
