"""Where jobs run: on this machine, or on a Ray cluster, behind one contract. Neither is needed for correct results."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.executors.base import Ended, Executor, Job, Needs, Node, RefusedError
from evalkit.names import unknown

__all__ = ["EXECUTORS", "Ended", "Executor", "Job", "Needs", "Node", "RefusedError", "make_executor"]

EXECUTORS = ("local", "ray")


def make_executor(name: str = "local", gpus: Sequence[str] | None = None, parallel: int = 1) -> Executor:
    """The executor called `name`.

    gpus: devices that local jobs may use; None: those that this process sees. parallel: jobs that run at once on this
    machine (a cluster brings its own count). Raises EvalkitError for an unknown name or a missing package.
    """
    if name == "local":
        from evalkit.executors.local import LocalExecutor, visible_gpus

        return LocalExecutor(visible_gpus() if gpus is None else gpus, parallel)
    if name == "ray":
        from evalkit.executors.ray_cluster import RayExecutor

        return RayExecutor()
    raise unknown("executor", name, EXECUTORS)
