"""The contract of an executor: it takes commands with needs, runs them somewhere, and says when they have ended.

The command writes its results itself, into the run folder. An executor never says that work succeeded: the store does.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evalkit.errors import EvalkitError

EXITED, LOST, CANCELLED, TIMED_OUT = "exited", "lost", "cancelled", "timed out"


class RefusedError(EvalkitError):
    """A job that needs more than any node has; it would wait for ever."""


@dataclass(frozen=True)
class Needs:
    """What a job occupies on one node while it runs. is_alone: nothing else may run there (timings)."""

    gpus: int = 0
    cpus: int = 1
    memory_gb: float = 0.0
    limit_s: float | None = None
    is_alone: bool = False

    def text(self) -> str:
        """In words, for messages."""
        parts = [f"{self.gpus} GPUs" if self.gpus else "", f"{self.cpus} job slots" if self.cpus > 1 else ""]
        parts.append(f"{self.memory_gb:g} GB of memory" if self.memory_gb else "")
        return ", ".join(part for part in parts if part) or "one job slot"


@dataclass(frozen=True)
class Job:
    """A command. argv follows the interpreter; `env` is added to the node's own environment; output goes to `log`.

    The command's standard input stays open as long as its owner lives: at its end the command must leave.
    avoid: devices on which an earlier attempt was lost, to be taken last.
    """

    id: str
    argv: tuple[str, ...]
    log: Path
    needs: Needs = field(default_factory=Needs)
    env: Mapping[str, str] = field(default_factory=dict)
    interpreter: str = sys.executable
    keys: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """A job that is over. code: exit status, negative for a signal, None where the node was lost."""

    job: str
    how: str
    code: int | None = None
    text: str = ""
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """A machine's capacity: slots for jobs, named devices, memory (0: not counted)."""

    name: str
    cpus: int
    gpus: int = 0
    memory_gb: float = 0.0

    def fits(self, needs: Needs) -> bool:
        """Whether a job could ever run here."""
        has_memory = not self.memory_gb or needs.memory_gb <= self.memory_gb
        return needs.cpus <= self.cpus and needs.gpus <= self.gpus and has_memory


class Executor(ABC):
    """Runs jobs. Not thread-safe: one driver calls it."""

    name: str

    @abstractmethod
    def nodes(self) -> list[Node]:
        """The machines that live now."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Take a job. Raises RefusedError at once where no node could ever run it."""

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Ended]:
        """Let jobs start and give those that have ended, as soon as there is one or the time is over."""

    @abstractmethod
    def cancel(self, job: str) -> None:
        """Stop a job now, with all its processes; one that has not begun is forgotten. `wait` tells of it."""

    @abstractmethod
    def withdraw(self) -> None:
        """Forget all jobs that have not begun; `wait` tells of them."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything and let go."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def refuse_if_too_large(job: Job, nodes: list[Node]) -> None:
    """Raise RefusedError, with the reason, where no node could ever run the job."""
    if any(node.fits(job.needs) for node in nodes):
        return
    if not nodes:
        raise RefusedError(f"{job.id} needs {job.needs.text()}, but no node is alive")
    largest = max(nodes, key=lambda node: (node.gpus, node.cpus, node.memory_gb))
    memory = f", {largest.memory_gb:.0f} GB of memory" if largest.memory_gb else ""
    raise RefusedError(
        f"{job.id} needs {job.needs.text()} on one node; the largest node here, {largest.name}, has {largest.gpus} GPUs, "
        f"{largest.cpus} job slots{memory}: add a larger node, or choose devices with --gpus"
    )
