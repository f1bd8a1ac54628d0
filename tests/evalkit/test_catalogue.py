"""Experiments by the paper's names; everything in one run without anything made twice; tables in the paper's layout."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evalkit import commands
from evalkit.catalogue import ALL, FULL_STREAM, QUICK_STREAM, everything, table2, table4, table6, table7
from evalkit.cli import build_parser
from evalkit.commands import make_plan_nowhere
from evalkit.execution import COMPLETE, WITH_FAILURES
from evalkit.experiments import experiment_names, get_experiment
from evalkit.measures import metric_names
from evalkit.paper_layout import paper_table
from evalkit.progress import Console
from evalkit.records import SPEED
from evalkit.resolve import Selection, resolve
from tests.evalkit.test_compare import definition


def test_the_papers_names_are_registered() -> None:
    names = experiment_names()
    assert {"table2", "table3", "table4", "table6", "table7", "table8"} <= set(names)
    assert {"figure4", "figure7", "figure8", "figure9"} <= set(names)
    assert {"ablations", "stress", "speed", ALL} <= set(names)
    for name in names:
        assert get_experiment(name).name == name


def test_everything_holds_each_table_once_and_no_stream() -> None:
    made = everything()
    assert {table.name for table in made.tables} >= {"table2", "table3", "table4", "table6", "table8"}
    assert len({table.name for table in made.tables}) == len(made.tables)
    assert set(made.methods) >= {*table2().methods, *table4().methods, *table6().methods}
    assert len(set(made.methods)) == len(made.methods)
    assert made.stress is None
    assert made.positions == get_experiment("figure7").positions > 0
    assert made.speed is not None
    assert made.speed.scenarios == ("offline", "predicted")


def test_rows_that_are_predicted_make_no_clips_and_are_measured_in_no_process(tmp_path: Path) -> None:
    made = resolve("table3", Selection(), tmp_path, Console(is_silent=True), build=False)
    only = {"live_avatar_sp4", "live_avatar_no_vae_parallel", "live_avatar_no_dmd"}
    assert {one.name for one in made.runnable() if one.only_scenarios} == only
    assert {one.name for one in made.clip_makers()} == {"live_avatar", "live_avatar_clean_kv"}
    speeds = [item.key for item in make_plan_nowhere(tmp_path / "none", made).of(SPEED)]
    assert {key.method for key in speeds if key.scenario == "quick"} == {"live_avatar", "live_avatar_clean_kv"}
    assert len([key for key in speeds if key.scenario == "quick-predicted"]) == 5


def test_a_distance_that_no_metric_gives_says_so(tmp_path: Path) -> None:
    made = resolve("table8", Selection(), tmp_path, Console(is_silent=True), build=False)
    registered = set(metric_names())
    for name in ("fid", "fvd"):
        metric = made.metric(name)
        assert metric is not None
        assert metric.reason == "" if name in registered else "no metric of this name" in metric.reason
    assert {one.name for one in made.datasets} == {"genbench_in_domain"}


@pytest.mark.parametrize(
    ("suite", "seconds", "expected"),
    [("quick", None, QUICK_STREAM.stream_s), ("full", None, FULL_STREAM.stream_s), ("quick", 50.0, 50.0)],
)
def test_the_quick_stream_lasts_ten_minutes_unless_told(tmp_path: Path, suite: str, seconds: Any, expected: float) -> None:
    selection = Selection(suite=suite, seconds=seconds)
    made = resolve("table7", selection, tmp_path, Console(is_silent=True), build=False)
    assert made.stress is not None
    assert made.stress.stream_s == expected
    assert made.tables[0].datasets == tuple(one.name for one in made.datasets if one.name != "stress_windows")
    assert f"{expected:g} s" in made.title
    assert table7().quick_form is not None


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), COMPLETE), ((0, 1), WITH_FAILURES)])
def test_run_all_makes_two_runs_and_a_page_over_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    codes: tuple[int, int],
    expected: int,
) -> None:
    seen: list[tuple[str, Path, Selection]] = []

    def fake(name: str, selection: Selection, folder: Path, *_: Any) -> Any:
        seen.append((name, folder, selection))
        return SimpleNamespace(exit_code=codes[len(seen) - 1])

    monkeypatch.setattr(commands, "run_experiment", fake)
    monkeypatch.setattr("evalkit.derived.build_index", lambda places, out: (out, ""))
    options = build_parser().parse_args(["run", "all", "--out", str(tmp_path), "--limit", "1", "--metrics", "sync_c"])
    assert commands.run(options) == expected
    assert [(name, folder.name) for name, folder, _ in seen] == [("all", "tables"), ("table7", "stream")]
    assert [selection.metrics for _, _, selection in seen] == [("sync_c",), ()]
    assert [selection.limit for _, _, selection in seen] == [1, 1]
    assert str(tmp_path / "index.html") in capsys.readouterr().out


CELLS = [
    {"table": "table2", "dataset": "genbench_short", "method": "live_avatar", "metric": "sync_c", "value": 6.531},
    {"table": "table2", "dataset": "genbench_short", "method": "truth", "metric": "sync_c", "value": 10.1},
    {"table": "table2", "dataset": "genbench_long", "method": "live_avatar", "metric": "dino_s", "value": 0.9764},
]
BEST = [{"table": "table2", "dataset": "genbench_short", "metric": "sync_c", "bold": ["live_avatar"]}]


def test_the_papers_layout_has_its_columns_rows_and_dashes() -> None:
    (table,) = table2().tables
    rows = list(csv.reader(io.StringIO(paper_table(definition(), table, CELLS, BEST, "paper.csv"))))
    assert rows[0] == ["Dataset", "Model", "ASE", "IQA", "Sync-C", "Sync-D", "Dino-S", "FPS"]
    assert rows[7] == ["GenBench-ShortVideo", "Live Avatar (ours)", "", "", "6.53", "", "", ""]
    assert rows[14] == ["GenBench-LongVideo", "Live Avatar (ours)", "", "", "", "", "0.976", ""]
    assert len(rows) == 1 + 2 * 7, "control rows are not in the paper's table"
    tex = paper_table(definition(), table, CELLS, BEST, "paper.tex")
    assert r" & Live Avatar (ours) & -- & -- & \textbf{6.53} & -- & -- & -- \\" in tex
    assert tex.count(r"\multirow{7}{*}") == 2
    assert "10.1" not in tex


def test_a_stream_has_its_segments_as_rows() -> None:
    (table,) = table7().tables
    rows = list(csv.reader(io.StringIO(paper_table(definition(), table, [], [], "paper.csv"))))
    assert rows[0] == ["Segment", "ASE", "IQA", "Sync-C", "Dino-S"]
    assert len(rows) == 5
