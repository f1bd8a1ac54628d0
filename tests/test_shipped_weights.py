"""What the shipped nano weights must do, measured by the harness itself on identities and speech they never saw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

METHODS = "live_avatar,truth,truth_swapped,truth_shifted"
METRICS = "sync_c,sync_d,sync_offset,dino_s,mouth_correlation,lip_closure"


def evalkit(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "evalkit", *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """Table 2's cells of the quick short set, by (method, metric)."""
    out = str(tmp_path_factory.mktemp("road") / "run")
    evalkit("run", "table2", "--methods", METHODS, "--metrics", METRICS, "--out", out)
    made = json.loads(evalkit("table", out, "--json"))
    return {(cell["method"], cell["metric"]): cell for cell in made if cell["dataset"] == "genbench_short"}


def test_lips_follow_the_voice(cells: dict[tuple[str, str], dict[str, Any]]) -> None:
    ours, truth = cells["live_avatar", "mouth_correlation"], cells["truth", "mouth_correlation"]
    assert truth["n"] == ours["n"] == 8
    assert truth["value"] >= 0.9, "the readout itself must be right before it may judge"
    assert ours["value"] >= 0.85


def test_lips_meet_at_p_b_and_m_more_often_than_not(cells: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert cells["truth", "lip_closure"]["value"] >= 0.95
    assert cells["live_avatar", "lip_closure"]["value"] >= 0.6


@pytest.mark.parametrize("method", ["truth", "live_avatar"])
def test_sync_is_clearly_above_that_of_a_swapped_voice(cells: dict[tuple[str, str], dict[str, Any]], method: str) -> None:
    assert cells[method, "sync_c"]["low"] > cells["truth_swapped", "sync_c"]["high"]
    assert cells[method, "sync_d"]["high"] < cells["truth_swapped", "sync_d"]["low"]


def test_a_late_voice_reads_its_five_frames_and_no_less_sync(cells: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert abs(cells["truth", "sync_offset"]["value"]) <= 1
    assert abs(cells["live_avatar", "sync_offset"]["value"]) <= 1
    assert -6 <= cells["truth_shifted", "sync_offset"]["value"] <= -4  # a late voice is negative
    assert cells["truth_shifted", "sync_c"]["value"] > 0.9 * cells["truth", "sync_c"]["value"]


def test_the_picture_stays_the_same_character(cells: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert cells["live_avatar", "dino_s"]["value"] > 0.8


def test_weights_of_the_package_are_the_ones_their_manifest_describes() -> None:
    import liveavatar
    from liveavatar.checkpoints.store import file_digest, open_weights

    folder = open_weights(Path(liveavatar.__file__).parent / "weights" / "nano")
    assert set(folder.manifest["files"]) == {"codec", "generator", "generator-stage1", "light_decoder"}
    for name in folder.manifest["files"]:
        assert file_digest(folder.path / f"{name}.safetensors") == folder.digest(name)
