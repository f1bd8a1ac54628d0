"""One suite for every executor: what is promised of jobs holds on this machine and on a cluster's interface alike.

Ray itself is tested where it is installed (`EVALKIT_TEST_RAY=1`); its stand-in keeps the documented facts (`fake_ray`).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit import execution
from evalkit.errors import EvalkitError, PrerequisiteMissingError
from evalkit.executors import Ended, Executor, Job, Needs, Node, RefusedError, make_executor
from evalkit.executors.job_queue import JobQueue, Load
from evalkit.executors.local import LocalExecutor
from evalkit.executors.ray_cluster import RayExecutor
from evalkit.plugins import load_plugins
from evalkit.progress import Console
from evalkit.resolve import Selection
from tests.evalkit.evalkit_bench import PLUGIN, derived_bytes
from tests.evalkit.fake_ray import FakeRay

Make = Callable[[int, int], Executor]  # slots, devices


@pytest.fixture(params=["local", "stand-in", "ray"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    opened: list[Executor] = []
    before = signal.getsignal(signal.SIGTERM)

    def build(slots: int, gpus: int) -> Executor:
        if request.param == "local":
            made: Executor = LocalExecutor([str(number) for number in range(gpus)], slots)
        elif request.param == "stand-in":
            made = RayExecutor(FakeRay({"10.0.0.1": {"CPU": float(slots), "GPU": float(gpus)}}))  # type: ignore[arg-type]
        else:
            if not os.environ.get("EVALKIT_TEST_RAY"):
                pytest.skip("Ray is tested where EVALKIT_TEST_RAY is set")
            ray = pytest.importorskip("ray")
            ray.init(address="local", num_cpus=slots, num_gpus=gpus, include_dashboard=False, log_to_driver=False)
            monkeypatch.setattr(ray, "init", lambda **_: None)
            made = RayExecutor(ray)
        opened.append(made)
        return made

    yield build
    for one in opened:
        one.close()
    signal.signal(signal.SIGTERM, before)


def job(folder: Path, name: str, code: str, **needs: float) -> Job:
    """A job that runs a line of Python; it leaves when its owner does."""
    return Job(name, ("-c", code), folder / f"{name}.log", Needs(**needs))  # type: ignore[arg-type]


def run_out(executor: Executor, count: int, limit_s: float = 60.0) -> dict[str, Ended]:
    """Wait until `count` jobs have ended."""
    found: dict[str, Ended] = {}
    until = time.monotonic() + limit_s
    while len(found) < count:
        assert time.monotonic() < until, f"only {sorted(found)} ended"
        found |= {one.job: one for one in executor.wait(0.2)}
    return found


def appears(path: Path, limit_s: float = 30.0) -> str:
    until = time.monotonic() + limit_s
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < until, f"{path.name} did not appear"
        time.sleep(0.01)
    return path.read_text()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def gone(pid: int, limit_s: float = 20.0) -> bool:
    until = time.monotonic() + limit_s
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_alive(pid)


SLEEPER = (
    "import os, pathlib, sys, threading\n"
    "threading.Thread(target=lambda: (os.read(0, 1), os._exit(9)), daemon=True).start()\n"
    "pathlib.Path({mark!r}).write_text(str(os.getpid()))\n"
    "import time; time.sleep(60)"
)


def test_jobs_end_with_their_exit_code_and_their_log(make: Make, tmp_path: Path) -> None:
    executor = make(2, 0)
    executor.submit(job(tmp_path, "good", "print('all is well')"))
    executor.submit(job(tmp_path, "bad", "import sys; print('it broke', file=sys.stderr); sys.exit(3)"))
    ended = run_out(executor, 2)
    assert {name: (one.how, one.code) for name, one in ended.items()} == {"good": ("exited", 0), "bad": ("exited", 3)}
    assert "all is well" in (tmp_path / "good.log").read_text()
    assert "it broke" in (tmp_path / "bad.log").read_text()


def test_a_job_sees_its_own_devices_or_none(make: Make, tmp_path: Path) -> None:
    executor = make(4, 3)
    code = "import os; print(sorted(filter(None, os.environ['CUDA_VISIBLE_DEVICES'].split(','))))"
    executor.submit(job(tmp_path, "two", code, gpus=2))
    executor.submit(job(tmp_path, "none", code))
    run_out(executor, 2)
    assert len(eval((tmp_path / "two.log").read_text())) == 2
    assert (tmp_path / "none.log").read_text().strip() == "[]"


def test_a_request_larger_than_any_node_is_refused_at_once_with_the_reason(make: Make, tmp_path: Path) -> None:
    executor = make(2, 2)
    with pytest.raises(RefusedError, match=r"huge needs 5 GPUs on one node; the largest node here, .* has 2 GPUs"):
        executor.submit(job(tmp_path, "huge", "", gpus=5))
    assert executor.wait(0.0) == []


def test_a_cancelled_job_leaves_no_process(make: Make, tmp_path: Path) -> None:
    executor = make(1, 0)
    mark = tmp_path / "pid"
    executor.submit(job(tmp_path, "long", SLEEPER.format(mark=str(mark))))
    executor.submit(job(tmp_path, "next", "print('never')"))
    pid = int(appears(mark))
    executor.cancel("next")
    executor.cancel("long")
    ended = run_out(executor, 2)
    assert {one.how for one in ended.values()} == {"cancelled"}
    assert gone(pid)
    assert not (tmp_path / "next.log").exists()


def test_a_job_that_takes_too_long_is_stopped(make: Make, tmp_path: Path) -> None:
    executor = make(1, 0)
    executor.submit(job(tmp_path, "slow", SLEEPER.format(mark=str(tmp_path / "pid")), limit_s=3.0))
    assert run_out(executor, 1)["slow"].how == "timed out"


def test_a_killed_job_is_told_not_hidden(make: Make, tmp_path: Path) -> None:
    executor = make(1, 0)
    executor.submit(job(tmp_path, "dies", "import os; os.kill(os.getpid(), 9)"))
    ended = run_out(executor, 1)["dies"]
    assert ended.code == -9 or ended.how == "lost"


def test_what_waits_can_be_withdrawn(make: Make, tmp_path: Path) -> None:
    executor = make(1, 0)
    mark = tmp_path / "pid"
    executor.submit(job(tmp_path, "first", SLEEPER.format(mark=str(mark))))
    executor.submit(job(tmp_path, "second", "print('never')"))
    pid = int(appears(mark))
    executor.withdraw()
    assert run_out(executor, 1)["second"].how == "cancelled"
    assert is_alive(pid), "what runs goes on"


def names(queue: JobQueue, loads: list[Load]) -> list[str]:
    """Start all that may start now; the names in order."""
    started = []
    while (found := queue.next(loads)) is not None:
        one, load = found
        load.running[one.id] = one.needs
        started.append(one.id)
    return started


def waiting(*jobs: tuple[str, int]) -> JobQueue:
    queue = JobQueue()
    for name, gpus in jobs:
        queue.add(Job(name, (), Path(), Needs(gpus=gpus)))
    return queue


def test_the_largest_job_starts_first_and_equal_ones_keep_their_order() -> None:
    queue = waiting(("a", 1), ("big", 5), ("b", 1))
    assert names(queue, [Load(Node("n", 16, 8))]) == ["big", "a", "b"]


def test_small_jobs_never_starve_a_large_one() -> None:
    load = Load(Node("n", 16, 8))
    queue = waiting(*((f"early{index}", 1) for index in range(8)))
    assert len(names(queue, [load])) == 8
    queue.add(Job("big", (), Path(), Needs(gpus=5)))
    for index in range(60):
        queue.add(Job(f"late{index}", (), Path(), Needs(gpus=1)))
    finished = 0
    while "big" not in load.running:
        load.running.pop(next(name for name in load.running if name.startswith("early")))
        finished += 1
        started = names(queue, [load])
        assert not [name for name in started if name.startswith("late")] or finished > 3
    assert finished == 5, "it starts as soon as five devices are free"


def test_what_the_large_job_does_not_need_is_used_meanwhile() -> None:
    load = Load(Node("n", 16, 8), {"x": Needs(gpus=4)})
    queue = waiting(("big", 6), ("small1", 1), ("small2", 1), ("small3", 1))
    # 8 devices, 4 busy: big (6) waits for x. Beside x only 8 - 6 - 4 < 0 devices are not its own, so nothing else starts.
    assert names(queue, [load]) == []
    load.running["x"] = Needs(gpus=1)
    queue.add(Job("bigger", (), Path(), Needs(gpus=7)))
    assert names(queue, [load]) == ["bigger"]
    other = Load(Node("m", 16, 2))
    assert names(queue, [load, other]) == ["small1", "small2"], "the other node is free for them"


def test_a_timing_runs_alone() -> None:
    load = Load(Node("n", 4, 0))
    queue = JobQueue()
    queue.add(Job("plain", (), Path(), Needs()))
    queue.add(Job("timing", (), Path(), Needs(is_alone=True)))
    assert names(queue, [load]) == ["timing"]
    del load.running["timing"]
    assert names(queue, [load]) == ["plain"]
    queue.add(Job("timing", (), Path(), Needs(is_alone=True)))
    queue.add(Job("another", (), Path(), Needs()))
    assert names(queue, [load]) == [], "a waiting timing holds the others back"


def test_lost_devices_are_taken_last(tmp_path: Path) -> None:
    with LocalExecutor(["0", "1", "2"], 3) as executor:
        one = job(tmp_path, "again", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", gpus=1)
        executor.submit(Job(one.id, one.argv, one.log, one.needs, avoid=("0", "1")))
        assert run_out(executor, 1)["again"].devices == ("2",)


def test_the_cluster_is_joined_or_started(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    for is_running, address in ((True, "auto"), (False, "local")):
        ray = FakeRay({"n": {"CPU": 1.0}}, is_running)
        RayExecutor(ray).close()  # type: ignore[arg-type]
        (used,) = ray.inits
        assert used["address"] == address
        assert ("object_store_memory" in used) == (not is_running)
        assert used["include_dashboard"] is used["log_to_driver"] is False
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    signal.signal(signal.SIGTERM, before)


def test_a_lost_worker_and_a_lost_node_are_told(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ray = FakeRay({"a": {"CPU": 1.0}, "b": {"CPU": 1.0}})
    with RayExecutor(ray) as executor:  # type: ignore[arg-type]
        pids = []
        for name in ("first", "second"):
            mark = tmp_path / name
            executor.submit(job(tmp_path, name, SLEEPER.format(mark=str(mark))))
            pids.append(int(appears(mark)))
        ray.kill_worker("first")
        ended = run_out(executor, 1)
        assert ended["first"].how == "lost"
        assert "WorkerCrashedError" in ended["first"].text
        assert gone(pids[0]), "the command notices that its owner is gone"
        ray.lose_node({task.options["name"]: task.node for task in ray.tasks}["second"])
        assert run_out(executor, 1)["second"].how == "lost"
        executor.submit(job(tmp_path, "third", SLEEPER.format(mark=str(tmp_path / "third"))))
        executor.submit(job(tmp_path, "waits", "print('never')"))
        appears(tmp_path / "third")
        assert len(executor.nodes()) == 1
        ray.alive = dict.fromkeys(ray.alive, False)
        executor._checked_at = 0.0
        found = run_out(executor, 1)
        assert found["waits"].text == "no living node is large enough for it any more"
    signal.signal(signal.SIGTERM, before)


class KillingRay(FakeRay):
    """Kills the first worker that runs the named job, once it has begun to work."""

    def __init__(self, run: Path, victim: str) -> None:
        super().__init__({"10.0.0.1": {"CPU": 2.0}, "10.0.0.2": {"CPU": 2.0}})
        self.mark, self.victim, self.killed = run / f"logs/{victim}.progress", victim, 0

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        running = [task for task in self.tasks if task.options["name"] == self.victim and task.process is not None]
        if running and not self.killed and self.mark.is_file() and "step" in self.mark.read_text():
            self.killed += 1
            running[0].kill()
        return super().wait(references, num_returns, min(timeout, 0.02))


def test_a_run_on_the_clusters_interface_gives_the_records_of_this_machine(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    out = tmp_path / "run"
    ray = KillingRay(out, "generate-fake")
    monkeypatch.setattr(execution, "make_executor", lambda *_: RayExecutor(ray))  # type: ignore[arg-type]
    selection, options = Selection(plugins=(str(PLUGIN),)), execution.Options(executor="ray", threads=2)
    load_plugins(selection.plugins)
    done = execution.run_experiment("fake_table", selection, out, options, Console(is_silent=True))
    signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 0
    assert ray.killed == 1
    assert (out / "logs/generate-fake~2.json").is_file(), "what the killed worker left was handed out again"
    assert derived_bytes(out) == derived_bytes(finished)


def test_unknown_and_missing_engines_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvalkitError, match="did you mean 'local'"):
        make_executor("locla")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PrerequisiteMissingError, match=r"live-avatar\[ray\].*--shard"):
        make_executor("ray")
