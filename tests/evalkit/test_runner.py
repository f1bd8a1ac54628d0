"""The driver: failures are recorded, hangs are killed, lost workers are replaced, a full disk stops the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.definition import save_definition
from evalkit.errors import RunLockedError
from evalkit.executors.local import LocalExecutor
from evalkit.jobs import JobSpec, phase_jobs
from evalkit.lock import RunLock, is_held
from evalkit.plan import Plan, make_plan
from evalkit.progress import Console
from evalkit.records import GENERATE, Key
from evalkit.resolve import Selection, resolve
from evalkit.runner import Driver, Interrupts, Outcome
from evalkit.store import Store
from tests.evalkit.evalkit_bench import PLUGIN, ROOT

SILENT = Console(is_silent=True)


class Bench:
    """A run folder on which generate jobs can be driven in this process."""

    def __init__(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run, self.monkeypatch = run, monkeypatch
        self.store = Store(run)

    def drive(self, limit_s: float | None = None, **fake: Any) -> tuple[Outcome, Plan]:
        """Generate with the method `fake` on the short set."""
        self.monkeypatch.setenv("EVALKIT_FAKE", json.dumps(fake))
        selection = Selection(methods=("fake",), metrics=("fake_quality",), plugins=(str(PLUGIN),))
        definition = resolve("fake_table", selection, self.run, SILENT)
        definition = replace(definition, datasets=definition.datasets[:1])
        save_definition(self.run, definition)
        jobs = phase_jobs(make_plan(self.store, definition), definition, GENERATE, retry_failed=False)
        if limit_s is not None:
            jobs = [with_limit(job, limit_s) for job in jobs]
        with Interrupts() as interrupts, RunLock(self.run, "test") as lock, LocalExecutor() as executor:
            outcome = Driver(self.store, SILENT, lock, interrupts, executor).run(jobs)
        return outcome, make_plan(self.store, definition)


def with_limit(job: JobSpec, limit_s: float) -> JobSpec:
    return replace(job, items=tuple(replace(item, limit_s=limit_s) for item in job.items))


@pytest.fixture
def bench(tmp_path: Path, fakes: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Bench(tmp_path / "run", monkeypatch)


def record_of(bench: Bench, sample: str) -> Any:
    return bench.store.read(Key(GENERATE, "fake", "fake_short", sample))


def test_a_failure_is_recorded_with_its_log_and_the_rest_goes_on(bench: Bench) -> None:
    outcome, plan = bench.drive(fail=["fake/s2"])
    assert not outcome.is_over
    assert plan.counts(GENERATE)["done"] == 5
    error = record_of(bench, "s2").error
    assert (error.kind, error.message) == ("ValueError", "told to fail on fake/s2")
    assert "ValueError" in error.tail
    assert str(ROOT) not in error.tail
    assert "told to fail" in (bench.run / error.log).read_text()
    assert not plan.due(GENERATE)
    assert len(plan.due(GENERATE, retry_failed=True)) == 1
    _, plan = bench.drive()
    assert record_of(bench, "s2").status == "failed", "not tried again unless asked"


def test_three_failures_in_a_row_stop_the_method(bench: Bench) -> None:
    outcome, plan = bench.drive(fail=[f"fake/s{index}" for index in range(6)])
    assert outcome.stopped_methods == ["fake"]
    assert plan.counts(GENERATE) == {"done": 0, "missing": 3, "stale": 0, "failed": 3, "invalid": 0}


def test_a_hang_is_killed_and_the_next_record_made(bench: Bench) -> None:
    _, plan = bench.drive(limit_s=6.0, hang=["fake/s1"])
    assert record_of(bench, "s1").error.kind == "TimeLimit"
    assert plan.counts(GENERATE)["done"] == 5


def test_a_killed_worker_is_replaced_and_its_record_tried_again(bench: Bench, tmp_path: Path) -> None:
    _, plan = bench.drive(die=["fake/s1"], once=str(tmp_path))
    assert plan.counts(GENERATE)["done"] == 6


def test_a_record_that_always_kills_its_worker_is_given_up_after_three_attempts(bench: Bench) -> None:
    _, plan = bench.drive(die=["fake/s5"])
    record = record_of(bench, "s5")
    assert record.error.transient
    assert record.attempts == 3
    assert "SIGKILL" in record.error.message
    assert plan.counts(GENERATE)["done"] == 5
    assert not plan.due(GENERATE)


def test_a_full_disk_stops_the_run_and_keeps_what_is_recorded(bench: Bench) -> None:
    outcome, plan = bench.drive(full=["fake/s3"])
    assert "no space left" in outcome.disk_full
    assert "same command again" in outcome.disk_full
    assert plan.counts(GENERATE)["done"] == 3
    assert record_of(bench, "s3") is None
    _, plan = bench.drive()
    assert plan.counts(GENERATE)["done"] == 6


def test_a_clip_that_is_too_short_is_invalid_not_done(bench: Bench) -> None:
    _, plan = bench.drive(short=["fake/s0"])
    assert plan.counts(GENERATE)["invalid"] == 1
    assert "0.12 s instead of 4.80 s" in record_of(bench, "s0").outputs["reason"]


def test_one_driver_per_run_and_the_message_says_who_holds_it(tmp_path: Path) -> None:
    with RunLock(tmp_path, "evalkit run first"):
        assert is_held(tmp_path)
        with pytest.raises(RunLockedError, match=r"evalkit run first.*wait for it, or stop it"), RunLock(tmp_path, "second"):
            pass
    with RunLock(tmp_path, "third") as lock:
        assert not lock.taken_over, "the first ended in order"


def test_a_lock_left_by_a_dead_driver_is_taken_over_with_a_word(tmp_path: Path) -> None:
    (tmp_path / "driver.lock").write_text('{"pid": 1, "command": "evalkit run x", "heartbeat": "2025-01-01T00:00:00+00:00"}')
    assert not is_held(tmp_path)
    with RunLock(tmp_path, "next") as lock:
        assert "evalkit run x" in lock.taken_over
        assert "taking over" in lock.taken_over
