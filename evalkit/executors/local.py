"""Jobs as processes of this machine: slots for devices, a process group and a log per job."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.executors.base import (
    CANCELLED,
    EXITED,
    TIMED_OUT,
    Ended,
    Executor,
    Job,
    Node,
    refuse_if_too_large,
)
from evalkit.executors.job_queue import JobQueue, Load

DEVICES = "CUDA_VISIBLE_DEVICES"
POLL_S = 0.05
TERM_S = 2.0


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    devices: tuple[str, ...]
    begun: float
    how: str = EXITED


class LocalExecutor(Executor):
    """Up to `parallel` jobs at once; each sees only its own devices, or none."""

    name = "local"

    def __init__(self, gpus: Sequence[str] = (), parallel: int = 1) -> None:
        self._load = Load(Node("this machine", max(1, parallel), len(gpus)))
        self._free = list(gpus)
        self._queue = JobQueue()
        self._running: dict[str, _Running] = {}
        self._ended: list[Ended] = []

    def nodes(self) -> list[Node]:
        """This machine."""
        return [self._load.node]

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        refuse_if_too_large(job, self.nodes())
        self._queue.add(job)
        self._start_due()

    def wait(self, timeout_s: float) -> list[Ended]:
        """See `Executor`."""
        until = time.monotonic() + timeout_s
        while True:
            self._start_due()
            self._collect()
            if self._ended or not self._running or time.monotonic() >= until:
                ended, self._ended = self._ended, []
                return ended
            time.sleep(min(POLL_S, max(0.0, until - time.monotonic())))

    def cancel(self, job: str) -> None:
        """See `Executor`."""
        if self._queue.remove(job):
            self._ended.append(Ended(job, CANCELLED))
        elif job in self._running:
            self._running[job].how = CANCELLED
            _end(self._running[job].process)

    def withdraw(self) -> None:
        """See `Executor`."""
        for job in list(self._queue.waiting):
            self.cancel(job.id)

    def close(self) -> None:
        """See `Executor`."""
        self._queue.waiting.clear()
        for one in self._running.values():
            _end(one.process)
        self._running.clear()

    def _start_due(self) -> None:
        while (found := self._queue.next([self._load])) is not None:
            job, _ = found
            devices = self._take(job)
            self._load.running[job.id] = job.needs
            self._running[job.id] = _Running(job, start(job, devices), devices, time.monotonic())

    def _take(self, job: Job) -> tuple[str, ...]:
        """Free devices; those on which this job was lost before come last."""
        ordered = sorted(self._free, key=lambda device: device in job.avoid)
        taken = tuple(ordered[: job.needs.gpus])
        self._free = [device for device in self._free if device not in taken]
        return taken

    def _collect(self) -> None:
        now = time.monotonic()
        for job_id, one in list(self._running.items()):
            limit_s = one.job.needs.limit_s
            if one.process.poll() is None and limit_s is not None and now - one.begun > limit_s:
                one.how = TIMED_OUT
                _end(one.process)
            code = one.process.poll()
            if code is None:
                continue
            if one.process.stdin is not None:
                one.process.stdin.close()
            self._free += one.devices
            del self._running[job_id], self._load.running[job_id]
            self._ended.append(Ended(job_id, one.how, code, devices=one.devices))


def start(job: Job, devices: Sequence[str]) -> subprocess.Popen[bytes]:
    """The job's process: own session, output appended to its log, standard input held open by us."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **job.env, DEVICES: ",".join(devices)}
    if len(devices) > 1:  # a method that spreads over its devices finds a free place to meet
        environment |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    with job.log.open("ab") as log:
        return subprocess.Popen(
            [job.interpreter, *job.argv],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def visible_gpus() -> list[str]:
    """Devices that this process may use: those of the environment, else those that the driver lists."""
    told = os.environ.get(DEVICES)
    if told is not None:
        return [one.strip() for one in told.split(",") if one.strip() and one.strip() != "-1"]
    lister = shutil.which("nvidia-smi")
    if lister is None:
        return []
    try:
        listed = subprocess.run([lister, "-L"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the job to end its own children, then kill its whole group."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended already
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=TERM_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
