"""The driver: hands jobs to an executor, follows what they tell, replaces lost ones, and believes only the store.

Ctrl-C means "finish the records in hand", a second Ctrl-C "stop now". Both leave a valid, resumable run.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import evalkit
from evalkit.errors import DISK_FULL_EXIT
from evalkit.events import Diary
from evalkit.executors import Ended, Executor, Job, Needs
from evalkit.executors.base import EXITED, refuse_if_too_large
from evalkit.job_progress import ProgressReader, ask_to_stop, forget
from evalkit.jobs import JobSpec, Part, WorkItem, log_path, spec_path, split
from evalkit.lock import RunLock
from evalkit.plan import MAX_ATTEMPTS
from evalkit.progress import Console
from evalkit.records import dumps
from evalkit.store import Store, write_text
from evalkit.supervisor import INTERRUPTED_EXIT

POLL_S = 0.1
THREADS_ON_A_CLUSTER = 4  # processor cores that a job asks a cluster for, unless told


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
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals; again after a library took them."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._on_signal)
                self._before.setdefault(number, before)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


@dataclass
class _Following:
    """A job under way: what it was given, which attempt it is, and where it tells of itself."""

    spec: JobSpec
    attempt: int
    reader: ProgressReader
    avoid: tuple[str, ...] = ()


class Driver:
    """Runs jobs through an executor, several at once where it has room for them."""

    def __init__(self, store: Store, console: Console, lock: RunLock, interrupts: Interrupts, executor: Executor) -> None:
        self.store, self.console, self.lock, self.interrupts, self.executor = store, console, lock, interrupts, executor
        self.diary = Diary(store.root)
        self.outcome = Outcome()
        self._following: dict[str, _Following] = {}
        self._seen_interrupts = 0

    def run(self, jobs: Sequence[JobSpec]) -> Outcome:
        """Run jobs until they are done, interrupted, or the disk is full. Raises RefusedError before any has begun."""
        for spec in jobs:
            refuse_if_too_large(self._job(spec), self.executor.nodes())
        if sum(node.cpus for node in self.executor.nodes()) == 1:
            for spec in jobs:
                self._run_together([spec])
        elif jobs:
            self._run_together([part for spec in jobs for part in split(spec, self._room(spec, len(jobs)))])
        return self.outcome

    def _room(self, spec: JobSpec, jobs: int) -> int:
        """Into how many parts a job may be split so that the whole phase fills the executor."""
        needs = self._job(spec).needs
        if needs.is_alone:
            return 1
        nodes = [node for node in self.executor.nodes() if node.fits(needs)]
        places = sum(min(node.cpus // needs.cpus, node.gpus // needs.gpus if needs.gpus else node.cpus) for node in nodes)
        return max(1, places // jobs)

    def _run_together(self, specs: Sequence[JobSpec]) -> None:
        if self.interrupts.count:
            self.outcome.is_interrupted = True
        if self.outcome.is_over:
            return
        items = [item for spec in specs for item in spec.items]
        title = specs[0].title if len(specs) == 1 else f"{specs[0].kind} ({len(specs)} jobs)"
        self.console.begin(title, len(items), sum(item.media_s for item in items))
        try:
            for spec in specs:
                self._submit(spec)
            while self._following:
                self.lock.beat()
                for ended in self.executor.wait(POLL_S):
                    self._on_end(ended)
                for one in self._following.values():
                    self._relay(one)
                self._heed_interrupts()
        finally:
            self.console.end()

    def _submit(self, spec: JobSpec, attempt: int = 1, avoid: tuple[str, ...] = ()) -> None:
        root = self.store.root
        write_text(spec_path(root, spec.id), dumps(spec.to_json()))
        forget(root, spec.id)
        self._following[spec.id] = _Following(spec, attempt, ProgressReader(root, spec.id), avoid)
        self.executor.submit(replace(self._job(spec), avoid=avoid))

    def _job(self, spec: JobSpec) -> Job:
        root = self.store.root.resolve()
        threads = spec.options.get("threads")
        cpus = (threads or THREADS_ON_A_CLUSTER) if self.executor.name == "ray" else 1
        limit_s = sum(item.limit_s for item in spec.items) * MAX_ATTEMPTS
        return Job(
            id=spec.id,
            argv=("-m", "evalkit.supervisor", str(root), spec.id),
            log=log_path(root, spec.id),
            needs=replace(self._needs(spec), cpus=cpus, limit_s=limit_s),
            env=_environment(threads or (cpus if self.executor.name == "ray" else None)),
            keys=tuple(part.key.path for item in spec.items for part in item.parts),
        )

    def _needs(self, spec: JobSpec) -> Needs:
        """What the job asks for; with `or_fewer`, no more devices than the largest node has."""
        needs = Needs(**{name: value for name, value in spec.needs.items() if name != "or_fewer"})
        if not spec.needs.get("or_fewer"):
            return needs
        return replace(needs, gpus=min(needs.gpus, max((node.gpus for node in self.executor.nodes()), default=0)))

    def _on_end(self, ended: Ended) -> None:
        one = self._following.pop(ended.job)
        self._relay(one)
        self.diary.note("job ended", id=ended.job, how=ended.how, code=ended.code, text=ended.text)
        if ended.how == EXITED and ended.code == DISK_FULL_EXIT:
            self.outcome.disk_full = self.outcome.disk_full or f"no space left in {self.store.root}; free some and run again"
            self._wind_up()
        if (ended.how == EXITED and ended.code in (0, DISK_FULL_EXIT, INTERRUPTED_EXIT)) or self.outcome.is_over:
            return
        left = self._unsettled(one.spec)
        how = " ".join([ended.how, *([] if ended.code is None else [f"with code {ended.code}"]), ended.text]).strip()
        if left and one.attempt < MAX_ATTEMPTS:
            self.console.say(f"job {ended.job} ended: {how}; {len(left)} items are left, trying again")
            again = replace(one.spec, id=f"{one.spec.id.partition('~')[0]}~{one.attempt + 1}", items=tuple(left))
            self._submit(again, one.attempt + 1, (*one.avoid, *ended.devices))
        elif left:
            log = log_path(Path(), ended.job)
            self.console.say(f"job {ended.job} was lost {one.attempt} times; {len(left)} items are left out; see {log}")

    def _unsettled(self, spec: JobSpec) -> list[WorkItem]:
        """Items without a record of these very inputs; a failed record is one."""
        return [item for item in spec.items if not all(map(self._is_settled, item.parts))]

    def _is_settled(self, part: Part) -> bool:
        record = self.store.read(part.key)
        return record is not None and record.fingerprint == part.fingerprint

    def _relay(self, one: _Following) -> None:
        for event in one.reader.new():
            if event["event"] == "show":
                self.console.show(event["label"])
            elif event["event"] == "step":
                self.console.step(event["media_s"], event["label"])
            elif event["event"] == "say":
                self.console.say(event["text"])
            elif event["event"] == "stopped":
                self.outcome.stopped_methods.append(event["method"])
            elif event["event"] == "disk_full":
                self.outcome.disk_full = event["text"]

    def _heed_interrupts(self) -> None:
        if self.interrupts.count == self._seen_interrupts:
            return
        first, self._seen_interrupts = self._seen_interrupts == 0, self.interrupts.count
        self.outcome.is_interrupted = True
        if first:
            self.console.say("interrupted: finishing the record in hand; press Ctrl-C again to stop now")
            self._wind_up()
        if self.interrupts.count > 1:
            for job_id in self._following:
                self.executor.cancel(job_id)

    def _wind_up(self) -> None:
        """Start nothing more; let what runs finish its record."""
        self.executor.withdraw()
        for job_id in self._following:
            ask_to_stop(self.store.root, job_id)


def _environment(threads: int | None) -> dict[str, str]:
    """What a job's process gets besides its node's own environment."""
    home = str(Path(evalkit.__file__).resolve().parents[1])
    found = {"PYTHONPATH": os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])}
    if threads:
        found |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return found
