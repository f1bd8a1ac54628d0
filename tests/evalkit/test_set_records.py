"""Set metrics in a run: records, cells, canaries, kept features, and what makes them stale."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from evalkit.definition import load_definition
from evalkit.execution import PHASES
from evalkit.plan import make_plan
from evalkit.plugins import load_plugins
from evalkit.records import SET
from evalkit.store import Store
from tests.evalkit.evalkit_bench import command, environment

pytest.importorskip("espeakng_loader", reason="speech needs: pip install 'live-avatar[speech]'")
PLUGIN = str(Path(__file__).with_name("set_table.py"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sets") / "run"
    words = command("run", "set_table", "--plugin", PLUGIN, "--out", str(out), "--threads", "1")
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def cells(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["method"], one["metric"]): one for one in json.loads((run / "table" / "cells.json").read_text())}


def test_distances_have_cells_with_counts_limits_and_networks(run: Path) -> None:
    found = cells(run)
    late = found["truth_shifted", "fid"]
    assert late["value"] == pytest.approx(0, abs=1e-6)  # the same pictures, another voice
    assert late["n"] == 3
    assert late["status"] == "measured"
    assert "relative only" in late["reason"]
    assert late["backbone"].startswith("nano-image_encoder@")
    assert found["truth_shifted", "kid"]["value"] <= 0  # unbiased: below 0 for a set against itself
    assert found["truth", "fid"]["status"] == "not_applicable"
    assert "evalkit weights get inception" in found["truth_shifted", "fid_clean"]["reason"]
    assert found["truth_shifted", "motion"]["value"] > 0


def test_the_record_says_what_belongs_to_the_number(run: Path) -> None:
    record = json.loads((run / "records/set/fid/truth_shifted/genbench_short.json").read_text())
    assert record["kind"] == "set"
    assert record["details"]["videos"] == record["details"]["real_videos"] == 3
    assert record["details"]["dimensions"] == 256
    assert record["details"]["is_rank_deficient"]
    assert set(record["inputs"]["made"]) == set(record["inputs"]["real"])
    assert record["backbone"]["protocol"]["fps"] == 5


def test_canaries_were_measured_first_and_are_kept(run: Path) -> None:
    found = json.loads((run / "canaries.json").read_text())
    assert {one["metric"] for one in found} >= {"motion", "fid", "kid"}
    assert {one["state"] for one in found} == {"ok"}


def test_a_changed_video_makes_its_distances_stale(run: Path, tmp_path: Path) -> None:
    load_plugins([PLUGIN])
    assert PHASES[-1] == SET
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    store, definition = Store(copy), load_definition(copy)
    assert make_plan(store, definition).counts(SET) == {"done": 2, "missing": 0, "stale": 0, "failed": 0, "invalid": 0}
    path = next(copy.glob("records/generate/truth/genbench_short/*.json"))
    record = json.loads(path.read_text())
    video = next(one for one in record["artefacts"] if one["path"].endswith("video.mp4"))
    (copy / video["path"]).unlink()
    waiting = make_plan(store, definition)
    assert [item.reason for item in waiting.of(SET)] == ["waits for its clips"] * 2
    assert waiting.due(SET) == []


def test_a_broken_canary_stops_scoring(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalkit.jobs import Part, WorkItem
    from evalkit.makers import scores
    from evalkit.makers.sets import SetMaker

    load_plugins([PLUGIN])
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    store = Store(copy)
    item = make_plan(store, load_definition(copy)).of(SET)[0]
    broken = [{"metric": "fid", "canary": "plain", "state": "fail", "message": "fid of the plain clip reads 3, 0 expected"}]
    monkeypatch.setattr("evalkit.metrics.canaries.check_canaries", lambda *_: broken)
    maker = SetMaker(store)
    work = WorkItem("set", (Part(item.key, item.inputs, item.fingerprint),), 1.0, 10.0)
    with pytest.raises(ArithmeticError, match="fid of the plain clip reads 3"):
        maker.make(work)
    assert json.loads((copy / scores.CANARIES).read_text()) == broken
