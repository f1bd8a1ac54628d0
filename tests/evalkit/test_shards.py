"""Shards split a run by its keys alone, stand in nobody's way, and give the tables of an undivided run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.errors import RunLockedError
from evalkit.jobs import JobSpec, WorkItem, split
from evalkit.lock import RunLock, held_shards, is_held
from evalkit.plan import MISSING, Item, Plan, shard_of
from evalkit.records import GENERATE, SCORE, Key
from tests.evalkit.evalkit_bench import derived_bytes, evalkit, run_fakes


def keys() -> list[Key]:
    return [
        Key(kind, method, "set", f"s{sample}", seed, metric)
        for kind, metric in ((GENERATE, ""), (SCORE, "q"))
        for method in ("a", "b", "c")
        for sample in range(40)
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_every_record_is_in_one_shard_and_a_clip_with_its_scores(count: int) -> None:
    plan = Plan([Item(key, {}, MISSING) for key in keys()])
    shares = [plan.shard(number, count) for number in range(1, count + 1)]
    assert sum(len(share.items) for share in shares) == len(plan.items)
    for key in keys():
        clip = Key(GENERATE, key.method, key.dataset, key.sample, key.seed)
        assert shard_of(key, count) == shard_of(clip, count)
    sizes = [len(share.items) for share in shares]
    assert max(sizes) < 2 * len(plan.items) / count


def test_shards_exclude_the_whole_run_and_their_like_but_not_each_other(tmp_path: Path) -> None:
    with RunLock(tmp_path, "first", (1, 2)), RunLock(tmp_path, "second", (2, 2)):
        assert held_shards(tmp_path) == ["1/2", "2/2"]
        with pytest.raises(RunLockedError, match=r"2 shards \(1/2, 2/2\); wait for them"), RunLock(tmp_path, "whole"):
            pass
        with pytest.raises(RunLockedError, match="second"), RunLock(tmp_path, "again", (2, 2)):
            pass
    with RunLock(tmp_path, "whole"):
        assert is_held(tmp_path)
        with pytest.raises(RunLockedError, match="whole"), RunLock(tmp_path, "late", (1, 2)):
            pass
    assert held_shards(tmp_path) == []


def test_a_job_is_split_evenly_and_keeps_its_order() -> None:
    items = tuple(WorkItem(f"i{index}", (), float(index % 4 + 1), 1.0) for index in range(10))
    parts = split(JobSpec("generate-a", GENERATE, items), 3)
    assert [part.id for part in parts] == ["generate-a-1of3", "generate-a-2of3", "generate-a-3of3"]
    assert sorted(item.label for part in parts for item in part.items) == sorted(item.label for item in items)
    lengths = [sum(item.media_s for item in part.items) for part in parts]
    assert max(lengths) - min(lengths) <= 4
    for part in parts:
        assert [items.index(item) for item in part.items] == sorted(items.index(item) for item in part.items)
    assert split(JobSpec("stress-a", "stress", items), 3)[0].items == items


def test_two_shards_then_the_whole_give_the_tables_of_one_run(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for number in (2, 1):
        done = run_fakes(out, "--shard", f"{number}/2")
        assert done.code == 0, done.out + done.err
        assert f"shard {number}/2 is done" in done.out
        assert not (out / "table").exists()
    made = {path: path.stat().st_mtime_ns for path in (out / "records").rglob("*.json")}
    assert json.loads(evalkit("status", str(out), "--json").out)["complete"]
    last = run_fakes(out)
    assert last.code == 0, last.out + last.err
    assert {path: path.stat().st_mtime_ns for path in (out / "records").rglob("*.json")} == made, "nothing was made twice"
    assert derived_bytes(out) == derived_bytes(finished)


def test_several_jobs_at_once_give_the_tables_of_one_after_another(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run_fakes(out, "--parallel", "3")
    assert done.code == 0, done.out + done.err
    assert derived_bytes(out) == derived_bytes(finished)
    assert len(list((out / "logs").glob("score-*of*.json"))) > 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/"])
def test_a_shard_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    done = run_fakes(tmp_path / "run", "--shard", text)
    assert done.code == 2
    assert "i from 1 to n" in done.err
