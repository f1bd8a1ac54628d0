"""Cells: their schema, reasons, denominators and the paper's numbers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from evalkit.catalogue import ablations, stress, table2
from evalkit.catalogue_supplement import table3, table8
from evalkit.paper import PAPER_ROWS, paper_value
from tests.evalkit.evalkit_bench import PLUGIN, evalkit, run_fakes

FIELDS = [
    "table",
    "method",
    "dataset",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "unit",
    "backbone",
    "status",
    "reason",
    "paper",
]


@pytest.fixture(scope="module")
def cells(finished: Path) -> list[dict]:
    return evalkit("table", str(finished), "--json").json()


def cell(cells: list[dict], method: str, metric: str, dataset: str = "fake_short") -> dict:
    (found,) = [one for one in cells if (one["method"], one["metric"], one["dataset"]) == (method, metric, dataset)]
    return found


def test_every_cell_has_exactly_the_promised_fields_and_a_number_or_a_reason(cells: list[dict]) -> None:
    assert len(cells) == 4 * 4 * 2
    for one in cells:
        assert list(one) == FIELDS
        assert one["value"] is not None or one["reason"]


def test_table_json_is_what_cells_json_holds(finished: Path, cells: list[dict]) -> None:
    assert json.loads((finished / "table/cells.json").read_text()) == cells


def test_measured_cells_have_value_interval_and_backbone(cells: list[dict]) -> None:
    found = cell(cells, "fake", "fake_quality")
    assert found["status"] == "measured"
    assert found["n"] == 6
    assert found["low"] < found["value"] < found["high"]
    assert found["backbone"] == "fake-net@0123456789ab"


def test_empty_cells_say_why(cells: list[dict]) -> None:
    assert cell(cells, "ditto", "fake_quality")["reason"] == "no adapter"
    assert cell(cells, "fake", "no_such_metric")["status"] == "not_measured"
    assert "no metric of this name is registered" in cell(cells, "fake", "no_such_metric")["reason"]
    assert cell(cells, "fake_control", "fps")["status"] == "not_applicable"


def test_speed_cells_are_closed_forms_and_name_their_protocol(cells: list[dict]) -> None:
    fps, ttff = cell(cells, "fake", "fps"), cell(cells, "fake", "ttff")
    # 40 blocks of 12 frames: 0.02 s start, 0.15 s a block, 0.01 s end; playback 25 gives a wait of 0.02 s.
    assert fps["value"] == pytest.approx(480 / 6.03)
    assert fps["n"] == 3
    assert ttff["value"] == pytest.approx(0.15 + 0.02)
    assert "speed: quick" in fps["reason"]


def test_markdown_csv_and_latex_agree_with_the_cells(finished: Path, cells: list[dict]) -> None:
    text = evalkit("table", str(finished)).out
    assert "fake-net@0123456789ab" in text
    assert "speed: quick" in text
    assert f"{cell(cells, 'fake', 'fake_quality')['value']:.3f} [" in text
    rows = list(csv.DictReader(io.StringIO((finished / "table/fake.csv").read_text())))
    assert [row["method"] for row in rows] == [one["method"] for one in cells]
    tex = (finished / "table/fake.tex").read_text()
    assert tex.count(r"\\") == 2 * (1 + 4)
    assert "fake\\_short" in tex


def test_missing_records_show_in_the_denominator(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run_fakes(out, "--methods", "fake", "--metrics", "fake_quality", fail=["fake/s2"], unscored=["s4"])
    assert result.code == 1
    found = cell(evalkit("table", str(out), "--json").json(), "fake", "fake_quality")
    assert found["status"] == "partial"
    assert found["n"] == 4
    assert found["reason"].startswith("4/6 records")
    assert "too_short" in found["reason"]
    assert "failed" in found["reason"]
    assert "(4/6)" in (out / "table/fake.md").read_text()
    status = evalkit("status", str(out))
    assert status.code == 1
    assert "told to fail on fake/s2" in status.out


def test_a_limited_run_is_stamped_partial_and_grows_without_rework(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--methods", "fake", "--metrics", "fake_quality")
    assert run_fakes(out, *words, "--limit", "2").code == 0
    assert json.loads((out / "experiment.json").read_text())["partial"] is True
    assert "**Partial**: 2 of 6 samples of fake_short" in (out / "table/fake.md").read_text()
    found = cell(evalkit("table", str(out), "--json").json(), "fake", "fake_quality")
    assert found["status"] == "partial"
    assert found["n"] == 2
    first = {path: path.stat().st_mtime_ns for path in (out / "records").rglob("*.json")}
    assert run_fakes(out, *words, "--limit", "4").code == 0
    assert all(path.stat().st_mtime_ns == before for path, before in first.items())


def test_table2_has_the_papers_columns_in_order_then_our_own() -> None:
    (table,) = table2().tables
    assert [one.title for one in table.columns if one.in_paper] == ["ASE", "IQA", "Sync-C", "Sync-D", "Dino-S", "FPS"]
    ours = ["ttff", "sync_offset", "mouth_correlation", "lip_closure", "motion", "fid", "kid", "fvd"]
    assert [one.metric for one in table.columns if not one.in_paper] == ours
    assert [one.direction for one in table.columns[:6]] == ["up", "up", "up", "down", "up", "up"]
    assert [row.method for row in table.rows if row.kind == "rival"] == [
        "ditto",
        "echomimic_v2",
        "hallo3",
        "stableavatar",
        "omniavatar",
        "wan_s2v",
    ]


def test_paper_numbers_belong_to_rows_and_columns_that_exist() -> None:
    known = {
        (table.paper_table, dataset, row.method, column.metric)
        for make in (table2, table3, ablations, stress, table8)
        for table in make().tables
        for dataset in table.datasets
        for row in table.rows
        for column in table.columns
    }
    for row in PAPER_ROWS:
        for metric in row.metrics:
            assert (row.table, row.dataset, row.method, metric) in known
    assert paper_value("Table 2", "genbench_short", "live_avatar", "fps") == 20.88
    assert paper_value("Table 2", "genbench_long", "echomimic_v2", "fps") is None


def test_plugin_of_a_run_is_remembered(finished: Path) -> None:
    assert json.loads((finished / "experiment.json").read_text())["plugins"] == [str(PLUGIN)]
