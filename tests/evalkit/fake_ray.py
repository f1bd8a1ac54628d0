"""A stand-in with the part of Ray's interface that the executor uses, run by threads and processes of this machine.

Facts it keeps, each from Ray's documentation or source (2.x):

- `ray.init(address="auto")` raises ConnectionError where no cluster runs; `address="local"` starts one (docs, ray.init).
- `object_store_memory` may not be given when connecting to a cluster: ValueError (`_private/worker.py`, init).
- `ray.init` replaces the driver's SIGTERM handler (docs, ray.init).
- With RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper the driver and every task ignore SIGCHLD, set below
  Python, and their children inherit it: `Popen.poll` then tells 0 for any end (seen with 2.60).
- `ray.remote(...)(function)` gives an object with `.options(...)` and `.remote(...)`; max_retries=0 means never again.
- `ray.wait(refs, num_returns, timeout)` gives (ready, not ready) (docs, ray.wait).
- `ray.get` of a task that raised raises RayTaskError; of one whose worker died, WorkerCrashedError; of a pending one that
  was cancelled, TaskCancelledError; `ray.cancel(ref, force=True)` ends a running task at once, and `ray.get` then raises
  WorkerCrashedError (docs, ray.cancel).
- `ray.nodes()` lists dead nodes too, with `Alive`, `NodeManagerAddress` and `Resources` (docs, ray.nodes).
- A request larger than any node stays pending for ever, without an error.
- Every node has one unit of the resource `node:ADDRESS`; a task that asks for a part of it runs there.
- The driver's environment variables do not reach tasks (docs, "Environment variables aren't passed").
- Devices arrive in CUDA_VISIBLE_DEVICES.

A task here runs as `python -c` in a process of its own, so that killing a worker is what it is on a cluster.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """Super class of all."""


class RayTaskError(RayError):
    """The function raised."""


class WorkerCrashedError(RayError):
    """The worker died."""


class TaskCancelledError(RayError):
    """Cancelled before it ran."""


TASK = """
import ctypes, importlib, json, signal, sys
ctypes.CDLL(None).signal(int(signal.SIGCHLD), ctypes.c_void_p(int(signal.SIG_IGN)))
module, name, content, out = sys.argv[1:]
try:
    value = {"value": getattr(importlib.import_module(module), name)(json.loads(content))}
except BaseException as error:
    value = {"error": f"{type(error).__name__}: {error}"}
with open(out, "w") as file:
    json.dump(value, file)
"""


class FakeRay:
    """The module object that stands for `ray`."""

    exceptions = SimpleNamespace(
        RayError=RayError,
        RayTaskError=RayTaskError,
        WorkerCrashedError=WorkerCrashedError,
        TaskCancelledError=TaskCancelledError,
    )

    def __init__(self, nodes: dict[str, dict[str, float]], is_running: bool = True) -> None:
        self.is_running = is_running
        self.alive = dict.fromkeys(nodes, True)
        self.resources = {name: {**one, f"node:{name}": 1.0} for name, one in nodes.items()}
        self.free = {name: dict(one) for name, one in self.resources.items()}
        self.tasks: list[Reference] = []
        self.inits: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def init(self, address: str, **options: Any) -> None:
        """See the module's facts."""
        if address == "auto" and not self.is_running:
            raise ConnectionError("Could not find any running Ray instance.")
        if address == "auto" and options.get("object_store_memory") is not None:
            raise ValueError("When connecting to an existing cluster, object_store_memory must not be provided.")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).signal(int(signal.SIGCHLD), ctypes.c_void_p(int(signal.SIG_IGN)))
        self.inits.append({"address": address, **options})

    def shutdown(self) -> None:
        """Ends what still runs."""
        for task in self.tasks:
            task.kill()

    def nodes(self) -> list[dict[str, Any]]:
        """Living and dead ones."""
        return [
            {"Alive": self.alive[name], "NodeManagerAddress": name, "Resources": dict(one)}
            for name, one in self.resources.items()
        ]

    def remote(self, **options: Any) -> Any:
        """The decorator with options."""
        assert options.pop("max_retries") == 0, "retries are ours"
        return lambda function: Remote(self, function, options)

    def wait(self, references: list[Reference], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        """(ready, not ready) once enough are ready, or the time is over."""
        until = time.monotonic() + timeout
        while True:
            self.schedule()
            ready = [one for one in references if one.is_ready()][:num_returns]
            if len(ready) >= num_returns or time.monotonic() >= until:
                return ready, [one for one in references if one not in ready]
            time.sleep(0.01)

    def get(self, reference: Reference) -> Any:
        """The value, or the error that tells what happened."""
        return reference.value()

    def cancel(self, reference: Reference, force: bool = False) -> None:
        """Pending: cancelled. Running: ended at once."""
        assert force, "without force a task hears a KeyboardInterrupt, which our tasks do not wait for"
        with self.lock:
            if reference.process is None:
                reference.is_cancelled = True
        reference.kill()

    def schedule(self) -> None:
        """Start what fits; no reservation for large requests, as Ray has none."""
        with self.lock:
            for task in self.tasks:
                task.release_if_done()
            for task in self.tasks:
                if task.process is None and not task.is_cancelled:
                    task.start_if_it_fits()

    def kill_worker(self, name: str) -> None:
        """Kill -9 the worker that runs the task called `name`."""
        (task,) = [one for one in self.tasks if one.options.get("name") == name and one.process is not None]
        task.kill()

    def lose_node(self, name: str) -> None:
        """A machine goes away with all that runs on it."""
        self.alive[name] = False
        for task in self.tasks:
            if task.node == name:
                task.kill()


class Remote:
    """A remote function."""

    def __init__(self, ray: FakeRay, function: Any, options: dict[str, Any]) -> None:
        self.ray, self.function, self.given = ray, function, options

    def options(self, **more: Any) -> Remote:
        """As the decorator's, for one call."""
        return Remote(self.ray, self.function, {**self.given, **more})

    def remote(self, content: Any) -> Reference:
        """Queue a task."""
        reference = Reference(self.ray, self.function, content, self.given)
        self.ray.tasks.append(reference)
        self.ray.schedule()
        return reference


class Reference:
    """The future value of a task."""

    def __init__(self, ray: FakeRay, function: Any, content: Any, options: dict[str, Any]) -> None:
        self.ray, self.function, self.content, self.options = ray, function, json.dumps(content), options
        self.process: subprocess.Popen[bytes] | None = None
        self.node, self.is_cancelled, self.is_released = "", False, False
        self.out = Path(tempfile.mkdtemp()) / "value.json"
        self.wants = {"CPU": options.get("num_cpus", 1), "GPU": options.get("num_gpus", 0), **options.get("resources", {})}

    def start_if_it_fits(self) -> None:
        for name, free in self.ray.free.items():
            if self.ray.alive[name] and all(free.get(kind, 0) >= want for kind, want in self.wants.items() if want):
                for kind, want in self.wants.items():
                    free[kind] = free.get(kind, 0) - want
                self.node = name
                self.process = self._start()
                return

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        root = str(Path(__file__).resolve().parents[2])
        gpus = ",".join(str(number) for number in range(int(self.wants["GPU"])))
        environment |= {"PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": gpus or "0,1"}
        words = [sys.executable, "-c", TASK, self.function.__module__, self.function.__name__, self.content, str(self.out)]
        return subprocess.Popen(words, env=environment, start_new_session=True)

    def is_ready(self) -> bool:
        return self.is_cancelled or (self.process is not None and self.process.poll() is not None)

    def release_if_done(self) -> None:
        if self.process is not None and self.process.poll() is not None and not self.is_released:
            self.is_released = True
            for kind, want in self.wants.items():
                self.ray.free[self.node][kind] += want

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()  # the worker alone: what it started must notice by itself
            self.process.wait()

    def value(self) -> Any:
        if self.is_cancelled:
            raise TaskCancelledError("Task was cancelled")
        assert self.process is not None
        self.process.wait()
        if not self.out.is_file():
            raise WorkerCrashedError("The worker died unexpectedly while executing this task.")
        content = json.loads(self.out.read_text())
        if "error" in content:
            raise RayTaskError(content["error"])
        return content["value"]
