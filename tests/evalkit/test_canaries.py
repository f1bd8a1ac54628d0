"""Canaries: every metric reads what it must on the shipped clip, and a broken one is caught before it scores."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evalkit.doctor import FAIL, OK, examine
from evalkit.experiments import Column, Experiment, Table
from evalkit.folder_scores import FolderJob, score_folder
from evalkit.metric_setup import NANO, MetricSetup
from evalkit.metrics import canaries, get_extractor, metric_names, official_canaries
from evalkit.metrics.canaries import EXPECTED, check_canaries, measure
from evalkit.metrics.training.canary import WANTED
from evalkit.metrics.training.coded import write_video
from evalkit.resolve import Selection
from tests.evalkit.official_files import forget_published_digests, put

WITHOUT = {
    *("mouth_correlation", "lip_closure", "sharpness_drift", "colour_shift"),
    *("fvd_one_clip", "fvd_long", "fid_clean", "fid_tf", "fvd_cd", "dino_s_full"),
}
"""Metrics that need a truth, more pictures than the clip has, or official weights."""


def nano_names() -> list[str]:
    names = [name for name in metric_names() if name not in WITHOUT]
    return [name for name in names if not name.endswith(("_reference", "_wholeframe"))]


def test_every_nano_metric_has_a_canary_and_reads_it() -> None:
    found = check_canaries(nano_names())
    assert {one["metric"] for one in found} == set(nano_names())
    assert [one["message"] for one in found if one["state"] != "ok"] == []
    assert len(found) == sum(map(len, WANTED.values()))


def test_the_changes_show_what_they_were_made_to_show() -> None:
    values = json.loads(EXPECTED.read_text())["values"]
    assert values["plain"]["sync_offset"][0] == 0
    assert values["late"]["sync_offset"][0] == -5
    assert values["late"]["sync_offset_ms"][0] == -200
    assert values["still"]["motion"][0] == 0
    assert values["black"]["face_coverage"][0] == 0 < values["plain"]["face_coverage"][0]
    assert values["blurred"]["iqa"][0] < values["plain"]["iqa"][0] - 0.8
    assert values["dark"]["ase"][0] < values["plain"]["ase"][0] - 0.8
    assert values["plain"]["fid"][0] == pytest.approx(0, abs=1e-6)
    assert values["blurred"]["fid"][0] > 10


@pytest.fixture
def broken_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rating network with its answers upside down."""
    extractor = get_extractor("quality")
    network = extractor._network
    monkeypatch.setattr(extractor, "_network", Inverted(network))
    for cached in (canaries._of_metric, canaries._extracted):
        cached.cache_clear()
    yield
    for cached in (canaries._of_metric, canaries._extracted):
        cached.cache_clear()


class Inverted:
    def __init__(self, network):
        self.network, self.config = network, network.config

    def __call__(self, pictures):
        return self.network(pictures).flip(-1)


def test_a_broken_network_is_caught_and_nothing_is_scored(broken_network: None, tmp_path: Path) -> None:
    found = [one for one in check_canaries(["iqa", "motion"]) if one["state"] == "fail"]
    assert {one["metric"] for one in found} == {"iqa"}
    assert "expected" in found[0]["message"]
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "one.mp4", np.zeros((10, 64, 48, 3), np.uint8))
    with pytest.raises(Exception, match="nothing was scored"):
        score_folder(FolderJob(tmp_path / "videos", tmp_path / "out", metrics=("iqa",)))
    table = Table("t", "t", (Column("iqa", "IQA", "up"), Column("motion", "Motion", "none")), (), ())
    experiment = Experiment("e", "e", (), (), (), (table,))
    checks = {one.name: one for one in examine(experiment, Selection(), tmp_path)}
    assert checks["canary iqa (plain)"].state == FAIL
    assert checks["canary motion (plain)"].state == OK


def test_a_metric_of_a_plug_in_has_no_canary_here() -> None:
    assert check_canaries(["somebody_elses_metric"]) == []


def test_a_missing_value_is_not_the_expected_one() -> None:
    assert measure("jerk", "still") is None
    assert canaries._compared("jerk", "still", None, 2.0, 0.1).state == "fail"


def test_published_values_are_compared_where_their_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_published_digests(monkeypatch)
    setup = MetricSetup("official", str(tmp_path))
    assert official_canaries.published("sync_c", setup) == [
        "example.avi is not among the weights, so its published values were not checked"
    ]
    assert "singapore_flyer.jpg" in official_canaries.published("iqa", setup)[0]
    embed = SimpleNamespace(embed=lambda clip: np.full(4, clip.mean() / 255 * np.sqrt(151.26 / 4)))
    monkeypatch.setattr("evalkit.metrics.registry.get_extractor", lambda *_: embed)
    _, value, expected, tolerance = official_canaries.published("fvd", setup)[0]
    assert abs(value - expected) < tolerance
    monkeypatch.undo()
    forget_published_digests(monkeypatch)
    put(tmp_path, "inception", "pt_inception-2015-12-05-6726825d.pth", {})
    found = check_canaries(["fid"], setup)[0]  # an unreadable network is a failing canary, with its cause
    assert found["state"] == "fail"
    assert "Inception" in found["message"]
    assert NANO.backbones == "nano"
