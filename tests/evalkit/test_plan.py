"""The plan says what is done, missing, stale (and why), failed or invalid; limits are nested."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evalkit.datasets import shuffled
from evalkit.definition import Definition, load_definition, save_definition
from evalkit.plan import make_plan
from evalkit.progress import Console
from evalkit.records import GENERATE, SCORE, SPEED, Key
from evalkit.resolve import Selection, resolve
from evalkit.store import Store


def define(run: Path, **selection: Any) -> Definition:
    return resolve("fake_table", Selection(**selection), run, Console(is_silent=True))


@pytest.fixture(autouse=True)
def _loaded(fakes: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_FAKE", "{}")


def test_an_empty_folder_misses_everything(tmp_path: Path) -> None:
    plan = make_plan(Store(tmp_path), define(tmp_path))
    assert plan.counts(GENERATE)["missing"] == 24
    assert plan.counts(SPEED)["missing"] == 2
    assert plan.counts(SCORE)["missing"] == 24
    assert len(plan.due(SCORE)) == 0, "scores wait for their clips"


def test_a_finished_run_has_nothing_due(finished: Path) -> None:
    plan = make_plan(Store(finished), define(finished))
    assert plan.is_complete()
    assert not plan.due()


@pytest.mark.parametrize(
    ("fake", "field", "stale"),
    [({"version": "2"}, "version", 8), ({"weights": "w2"}, "identity.weights", 24)],
)
def test_stale_records_name_the_differing_field(
    copied: Path, monkeypatch: pytest.MonkeyPatch, fake: dict[str, str], field: str, stale: int
) -> None:
    monkeypatch.setenv("EVALKIT_FAKE", json.dumps(fake))
    items = [item for item in make_plan(Store(copied), define(copied)).of(GENERATE) if item.state == "stale"]
    assert len(items) == stale
    assert {item.reason for item in items} == {f"differs in {field}"}


def test_a_changed_backbone_makes_only_scores_stale(
    copied: Path, fakes: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes().FakeMetric, "backbone", {"name": "fake-net", "digest": "f" * 64, "kind": "nano"})
    plan = make_plan(Store(copied), define(copied))
    assert plan.counts(GENERATE)["done"] == 24
    assert {item.reason for item in plan.of(SCORE)} == {"differs in backbone.digest"}


@pytest.mark.parametrize("spoil", ["truncate", "tamper", "delete"])
def test_a_spoilt_artefact_counts_as_missing(copied: Path, spoil: str) -> None:
    key = Key(GENERATE, "fake", "fake_short", "s1")
    video = copied / key.artefact_dir / "video.mp4"
    data = video.read_bytes()
    if spoil == "delete":
        video.unlink()
    else:
        video.write_bytes(data[:-3] if spoil == "truncate" else data[:-1] + b"!")
    plan = make_plan(Store(copied), define(copied))
    assert [item.key for item in plan.due(GENERATE)] == [key]


def test_a_record_on_other_inputs_is_stale_but_host_path_and_time_are_not_inputs(copied: Path) -> None:
    key = Key(GENERATE, "fake", "fake_short", "s1")
    path = copied / key.path
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "started": "1999", "duration_s": 9e9, "origin": {"env_id": "other"}}))
    assert make_plan(Store(copied), define(copied)).is_complete()


def test_a_larger_limit_contains_a_smaller_one(tmp_path: Path) -> None:
    chosen = []
    for limit in range(1, 7):
        definition = define(tmp_path, limit=limit)
        assert definition.partial == (limit < 6)
        chosen.append({sample.id for sample in definition.datasets[0].samples})
        assert len(chosen[-1]) == limit
    assert all(smaller < larger for smaller, larger in pairwise(chosen))
    assert shuffled([f"s{index}" for index in range(50)]) != [f"s{index}" for index in range(50)]


def test_the_definition_survives_its_file(tmp_path: Path) -> None:
    definition = define(tmp_path, limit=2, seeds=("0", "3"))
    save_definition(tmp_path, definition)
    assert load_definition(tmp_path) == definition
    assert make_plan(Store(tmp_path), definition).counts(GENERATE)["missing"] == 3 * 4 * 2


def test_speed_is_planned_only_when_a_speed_column_is(tmp_path: Path) -> None:
    assert make_plan(Store(tmp_path), define(tmp_path, metrics=("fake_quality",))).of(SPEED) == []
