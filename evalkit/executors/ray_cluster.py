"""Jobs as tasks of a Ray cluster: an optional engine for several nodes or a shared pool (`pip install live-avatar[ray]`).

Ray places and watches processes; it carries no videos, retries nothing and chooses no interpreters. The run folder must
lie on a file system that all nodes see. The order of jobs is ours (`job_queue`): each is pinned to the node chosen for it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from evalkit.errors import PrerequisiteMissingError
from evalkit.executors.base import CANCELLED, EXITED, LOST, TIMED_OUT, Ended, Executor, Job, Needs, Node, refuse_if_too_large
from evalkit.executors.job_queue import JobQueue, Load
from evalkit.executors.local import DEVICES, start

OBJECT_STORE_BYTES = 100 * 2**20  # nothing of ours goes through it
NODE_CHECK_S = 5.0
IDLE_S = 0.1
PIN = 0.001  # of the resource "node:ADDRESS", which every node has once
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "1",
}


class RayExecutor(Executor):
    """A cluster that runs already (RAY_ADDRESS, or one started on this machine), else one made of this machine alone."""

    name = "ray"

    def __init__(self, ray: ModuleType | None = None) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        self._ray = ray or _import_ray()
        _connect(self._ray)
        _hear_of_children()
        self._queue = JobQueue()
        self._loads: dict[str, Load] = {}
        self._tasks: dict[Any, tuple[Job, str]] = {}  # reference -> job, node
        self._begun: dict[str, float] = {}
        self._stopped: dict[str, str] = {}
        self._ended: list[Ended] = []
        self._checked_at = 0.0
        self._look_at_nodes()

    def nodes(self) -> list[Node]:
        """Nodes of the cluster that live."""
        return [load.node for load in self._loads.values()]

    def submit(self, job: Job) -> None:
        """See `Executor`. Ray itself would keep an impossible request waiting without a word."""
        self._look_at_nodes()
        refuse_if_too_large(job, self.nodes())
        self._queue.add(job)
        self._start_due()

    def wait(self, timeout_s: float) -> list[Ended]:
        """See `Executor`."""
        self._start_due()
        references = list(self._tasks)
        if references and not self._ended:
            ready, _ = self._ray.wait(references, num_returns=1, timeout=timeout_s)
            for reference in ready:
                self._ended.append(self._outcome(reference))
        elif not self._ended:
            time.sleep(min(timeout_s, IDLE_S))
        if time.monotonic() - self._checked_at > NODE_CHECK_S:
            self._look_at_nodes()
            self._give_up_lost()
        self._stop_overdue()
        self._start_due()
        ended, self._ended = self._ended, []
        return ended

    def cancel(self, job: str) -> None:
        """See `Executor`."""
        if self._queue.remove(job):
            self._ended.append(Ended(job, CANCELLED))
        else:
            self._stop(job, CANCELLED)

    def withdraw(self) -> None:
        """See `Executor`."""
        for job in list(self._queue.waiting):
            self.cancel(job.id)

    def close(self) -> None:
        """Stop our tasks and leave the cluster; one that we started ends."""
        self._queue.waiting.clear()
        for reference in list(self._tasks):
            self._ray.cancel(reference, force=True)
        self._tasks.clear()
        self._ray.shutdown()

    def _start_due(self) -> None:
        while (found := self._queue.next(list(self._loads.values()))) is not None:
            job, load = found
            task = self._ray.remote(num_cpus=job.needs.cpus, max_retries=0)(run_job)
            options = {"num_gpus": job.needs.gpus, "name": job.id, "resources": {f"node:{load.node.name}": PIN}}
            reference = task.options(**options).remote(as_plain(job))
            load.running[job.id] = job.needs
            self._tasks[reference] = (job, load.node.name)
            self._begun[job.id] = time.monotonic()

    def _outcome(self, reference: Any) -> Ended:
        job, node = self._tasks.pop(reference)
        if node in self._loads:
            self._loads[node].running.pop(job.id, None)
        told = self._stopped.pop(job.id, "")
        errors = self._ray.exceptions
        try:
            code = int(self._ray.get(reference))
        except errors.TaskCancelledError:
            return Ended(job.id, told or CANCELLED)
        except errors.RayTaskError as error:  # our own function raised, on its node
            return Ended(job.id, told or LOST, text=_first_line(error))
        except errors.RayError as error:  # the worker was killed, or its node is gone
            return Ended(job.id, told or LOST, text=f"{type(error).__name__}: {_first_line(error)}")
        return Ended(job.id, told or EXITED, code)

    def _stop(self, job_id: str, how: str) -> None:
        for reference, (job, _) in self._tasks.items():
            if job.id == job_id and job_id not in self._stopped:
                self._stopped[job_id] = how
                self._ray.cancel(reference, force=True)

    def _stop_overdue(self) -> None:
        now = time.monotonic()
        for job, _ in list(self._tasks.values()):
            if job.needs.limit_s is not None and now - self._begun[job.id] > job.needs.limit_s:
                self._stop(job.id, TIMED_OUT)

    def _look_at_nodes(self) -> None:
        """Take new nodes in and let dead ones go; what ran there is found by `_give_up_lost`."""
        self._checked_at = time.monotonic()
        alive = {node.name: node for node in map(_node, self._ray.nodes()) if node is not None}
        self._loads = {name: self._loads.get(name) or Load(node) for name, node in alive.items()}

    def _give_up_lost(self) -> None:
        """A task pinned to a node that died would wait for ever, as would a job for which no living node is large enough."""
        for job in [one for one in self._queue.waiting if not any(node.fits(one.needs) for node in self.nodes())]:
            self._queue.remove(job.id)
            self._ended.append(Ended(job.id, LOST, text="no living node is large enough for it any more"))
        for reference, (job, node) in list(self._tasks.items()):
            if node not in self._loads and job.id not in self._stopped:
                self._stopped[job.id] = LOST
                self._ray.cancel(reference, force=True)


def run_job(content: Mapping[str, Any]) -> int:
    """On a node: run the command as a process of its own and give its exit code. Ray sets the devices it may see."""
    needs = Needs(**content["needs"])
    job = Job(content["id"], tuple(content["argv"]), Path(content["log"]), needs, content["env"], content["interpreter"])
    # Asked for none, Ray leaves all devices visible; the others must not see them.
    devices = [one for one in os.environ.get(DEVICES, "").split(",") if one] if needs.gpus else []
    _hear_of_children()
    process = start(job, devices)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)


def _hear_of_children() -> None:
    """Undo what Ray does with `SETTINGS`: its processes, and all that they start, ignore the end of their children.

    An exit code then reads 0, whatever it was. Ray does so below Python, which still knows the handler from before.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL)


def as_plain(job: Job) -> dict[str, Any]:
    """A job as data that needs no class of ours on its way."""
    needs = {name: getattr(job.needs, name) for name in ("gpus", "cpus", "memory_gb", "limit_s", "is_alone")}
    plain = {"id": job.id, "argv": list(job.argv), "log": str(job.log), "needs": needs}
    return {**plain, "env": dict(job.env), "interpreter": job.interpreter}


def _import_ray() -> ModuleType:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise PrerequisiteMissingError(
            "--executor ray needs Ray: pip install 'live-avatar[ray]'; without it use --executor local, "
            "or --shard i/n on each node"
        ) from error


def _connect(ray: ModuleType) -> None:
    quiet = {"include_dashboard": False, "log_to_driver": False}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:  # no cluster: one of this machine, for as long as we live
        ray.init(address="local", object_store_memory=OBJECT_STORE_BYTES, **quiet)


def _node(content: Mapping[str, Any]) -> Node | None:
    """A living node by its address, or None."""
    if not content.get("Alive"):
        return None
    resources = content.get("Resources") or {}
    gigabytes = float(resources.get("memory", 0.0)) / 2**30
    address = str(content.get("NodeManagerAddress"))
    return Node(address, int(resources.get("CPU", 0)), int(resources.get("GPU", 0)), gigabytes)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
