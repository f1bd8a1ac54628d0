"""The order in which waiting jobs start: largest first, and small ones never starve a large one.

While the largest waiting job does not fit anywhere, one node is reserved for it: a smaller job may still start there, but
only if what the large one needs stays out of its reach. Engines do not do this: a request for five devices can be overtaken
by sixty requests for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from evalkit.executors.base import Job, Needs, Node


@dataclass
class Load:
    """What runs on a node."""

    node: Node
    running: dict[str, Needs] = field(default_factory=dict)

    @property
    def is_taken_alone(self) -> bool:
        """Whether a job that tolerates no other runs here."""
        return any(needs.is_alone for needs in self.running.values())

    def takes(self, needs: Needs, beside: Needs | None = None) -> bool:
        """Whether a job can start now, leaving room for what is reserved."""
        if self.is_taken_alone or ((needs.is_alone or (beside and beside.is_alone)) and self.running):
            return False
        if beside is not None and beside.is_alone:
            return False
        wanted = [needs, *self.running.values(), *([beside] if beside else [])]
        cpus, gpus = sum(one.cpus for one in wanted), sum(one.gpus for one in wanted)
        memory = sum(one.memory_gb for one in wanted)
        return (
            cpus <= self.node.cpus and gpus <= self.node.gpus and (not self.node.memory_gb or memory <= self.node.memory_gb)
        )


class JobQueue:
    """Jobs that wait, and the choice of the next one and its node."""

    def __init__(self) -> None:
        self.waiting: list[Job] = []

    def add(self, job: Job) -> None:
        """Take a job; equal sizes keep their order."""
        self.waiting.append(job)
        self.waiting.sort(key=_size, reverse=True)

    def remove(self, job_id: str) -> bool:
        """Forget a waiting job; False if it does not wait."""
        kept = [job for job in self.waiting if job.id != job_id]
        found = len(kept) < len(self.waiting)
        self.waiting = kept
        return found

    def next(self, loads: Sequence[Load]) -> tuple[Job, Load] | None:
        """The job to start now and where; None while nothing may."""
        reserved: dict[str, Needs] = {}
        for job in self.waiting:
            fitting = [load for load in loads if load.takes(job.needs, reserved.get(load.node.name))]
            if fitting:
                self.waiting.remove(job)
                # The fullest node that still takes it: large holes stay for large jobs.
                return job, min(fitting, key=lambda load: _left(load, job.needs))
            if not reserved:
                place = _soonest(loads, job.needs)
                if place is not None:
                    reserved[place.node.name] = job.needs
        return None


def _size(job: Job) -> tuple[int, bool, int, float]:
    needs = job.needs
    return needs.gpus, needs.is_alone, needs.cpus, needs.memory_gb


def _left(load: Load, needs: Needs) -> tuple[int, int]:
    running = [*load.running.values(), needs]
    return load.node.gpus - sum(one.gpus for one in running), load.node.cpus - sum(one.cpus for one in running)


def _soonest(loads: Sequence[Load], needs: Needs) -> Load | None:
    """The node that lacks least for a job of this size, among those that could ever run it."""
    able = [load for load in loads if load.node.fits(needs)]
    return max(able, key=lambda load: _left(load, needs), default=None)
