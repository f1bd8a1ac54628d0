"""Starts a pipeline's processes on this machine and ends them together: what torchrun does, with one message when it fails.

Processes find each other by the variables that torchrun sets, so either may start them.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from liveavatar.tpp.layout import Layout
from liveavatar.tpp.watch import Fault

STARTER = "LIVEAVATAR_TPP_STARTER"  # whose end is the end of all
REPORT = "LIVEAVATAR_TPP_REPORT"  # the file descriptor on which a process tells its launcher of a fault
LOOK_S = 0.05
TELL_AFTER_S = 1.0  # by then the other processes have noticed by themselves, or are told
KILL_AFTER_S = 5.0


class Worker(Protocol):
    """A process that was started: `subprocess.Popen`, or the like."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Its exit code once it has ended, negative for a signal."""


Start = Callable[[Mapping[str, str], int], Worker]  # variables, descriptor for reports


@dataclass(frozen=True)
class Outcome:
    """How it ended: a fault, or interrupted by the user, or neither."""

    fault: Fault | None = None
    is_interrupted: bool = False
    kept: str = ""


def popen_start(command: Sequence[str]) -> Start:
    """Starts `command` in a session of its own, which is ended as a whole. Only the first process reads standard input."""

    def start(variables: Mapping[str, str], descriptor: int) -> Worker:
        return subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=None if variables["RANK"] == "0" else subprocess.DEVNULL,
            pass_fds=(descriptor,),
            start_new_session=True,
        )

    return start


def supervise(layout: Layout, start: Start) -> Outcome:
    """Start a process per device, wait for all, and leave none behind, however this function is left."""
    with _started(layout, start) as workers, _terminations() as asked:
        return _Supervision(layout, workers).run(asked)


def report_to(descriptor: int) -> Callable[[Fault, bool], None]:
    """In a process: tells its launcher of a fault."""

    def report(fault: Fault, claimed: bool) -> None:
        line = json.dumps({"fault": asdict(fault), "claimed": claimed}) + "\n"
        with contextlib.suppress(OSError):
            os.write(descriptor, line.encode())

    return report


# ----------------------------------------------------------------------------------------------------------- processes


@dataclass
class _Started:
    worker: Worker
    reports: int  # where its reports are read
    code: int | None = None
    was_told: bool = False


@contextlib.contextmanager
def _started(layout: Layout, start: Start) -> Iterator[list[_Started]]:
    workers: list[_Started] = []
    try:
        for variables in _environments(layout.devices):
            reading, writing = os.pipe()
            try:
                worker = start({**variables, REPORT: str(writing)}, writing)
            finally:
                os.close(writing)
            os.set_blocking(reading, False)
            workers.append(_Started(worker, reading))
        yield workers
    finally:
        for started in workers:
            _kill(started)
            os.close(started.reports)


def _environments(devices: int) -> Iterator[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    # When a stage dies, the launcher says so in one message; torch's traces of lost connections would bury it.
    quiet = {"TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")}
    # All on one machine: no name has to be resolved, and nothing outside can be reached by mistake.
    loopback = {} if "GLOO_SOCKET_IFNAME" in os.environ or sys.platform != "linux" else {"GLOO_SOCKET_IFNAME": "lo"}
    for rank in range(devices):
        yield {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(devices),
            "LOCAL_WORLD_SIZE": str(devices),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": threads,
            STARTER: str(os.getpid()),
            **quiet,
            **loopback,
        }


def _kill(started: _Started) -> None:
    """The process and whatever it started, at once."""
    if started.worker.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(started.worker.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(started.worker.pid, signal.SIGKILL)
        while started.worker.poll() is None:
            time.sleep(0.005)


@contextlib.contextmanager
def _terminations() -> Iterator[list[int]]:
    """Signals that ask this program to end are noted instead of ending it; the list grows."""
    asked: list[int] = []
    before = {}
    with contextlib.suppress(ValueError):  # not the main thread: its caller has the signals
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda given, frame: asked.append(given))
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --------------------------------------------------------------------------------------------------------- supervision


class _Supervision:
    """Waits, notices the first thing that goes wrong, and ends the rest in stages: by themselves, told, killed."""

    def __init__(self, layout: Layout, workers: list[_Started]) -> None:
        self.names = [role.name for role in layout.roles]
        self.workers = workers
        self.fault: Fault | None = None
        self.reported: list[tuple[Fault, bool]] = []
        self.wrong_since: float | None = None
        self.readers = selectors.DefaultSelector()
        for started in workers:
            self.readers.register(started.reports, selectors.EVENT_READ)

    def run(self, asked: list[int]) -> Outcome:
        try:
            while any(started.code is None for started in self.workers):
                self._read()
                self._note_ends()
                if asked and self.wrong_since is None:
                    self.wrong_since = time.monotonic() - TELL_AFTER_S
                if self.wrong_since is not None:
                    self._end_others(time.monotonic() - self.wrong_since)
            self._read()
        finally:
            self.readers.close()
        kept = next((fault.kept for fault, _ in self.reported if fault.kept), "")
        if asked:
            return Outcome(is_interrupted=True, kept=kept)
        fault = self._cause()
        return Outcome(fault=None if fault is None else replace(fault, kept=kept), kept=kept)

    def _read(self) -> None:
        for key, _ in self.readers.select(LOOK_S):
            data = os.read(key.fd, 65_536)
            if not data:
                self.readers.unregister(key.fd)
                if not self.readers.get_map():
                    time.sleep(LOOK_S)
            for line in data.decode().splitlines():
                told = json.loads(line)
                self.reported.append((Fault(**told["fault"]), told["claimed"]))
                self.wrong_since = self.wrong_since or time.monotonic()
        if not self.readers.get_map():
            time.sleep(LOOK_S)

    def _note_ends(self) -> None:
        for rank, started in enumerate(self.workers):
            if started.code is not None:
                continue
            started.code = started.worker.poll()
            if started.code not in (None, 0):
                self.wrong_since = self.wrong_since or time.monotonic()
                if started.code is not None and started.code < 0 and not started.was_told:
                    cause = f"was killed by signal {-started.code} ({signal.Signals(-started.code).name})"
                    self.fault = self.fault or Fault(self.names[rank], rank, cause)

    def _end_others(self, passed_s: float) -> None:
        for started in self.workers:
            if started.code is None and passed_s > KILL_AFTER_S:
                started.was_told = True
                _kill(started)
            elif started.code is None and passed_s > TELL_AFTER_S and not started.was_told:
                started.was_told = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(started.worker.pid, signal.SIGTERM)

    def _cause(self) -> Fault | None:
        """A process that was killed, else what was found first, else an exit code that nobody has explained."""
        claimed = [fault for fault, was_first in self.reported if was_first]
        told = [fault for fault, _ in self.reported]
        codes = [
            Fault(self.names[rank], rank, f"ended with exit code {started.code}")
            for rank, started in enumerate(self.workers)
            if started.code
        ]
        return next(iter([*([self.fault] if self.fault else []), *claimed, *told, *codes]), None)
