"""Tables, figures, cases and strips: the numbers on the page are the numbers of the run."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from reports import cases, data, figures, strips, tables
from reports import format as fmt
from tests.reports.test_reports_page import Reader, build_text


def test_every_cell_is_on_the_page_with_interval_paper_and_reason(run_folder: Path, page: str) -> None:
    text = " ".join("".join(Reader(page).text).split())
    digits = {m["name"]: m["digits"] for m in json.loads((run_folder / "experiment.json").read_text())["metrics"]}
    for cell in json.loads((run_folder / "table/cells.json").read_text("utf-8")):
        if cell["value"] is None:
            assert f"not measured: {cell['reason']}" in text
        else:
            places = digits[cell["metric"]]
            assert fmt.decimal(cell["value"], places) in text
            assert fmt.interval(cell["low"], cell["high"], places) in text
        if cell["paper"] is not None:
            assert f"paper {cell['paper']:.2f}" in text


def test_downloads_hold_all_cells(run_folder: Path, page: str) -> None:
    links = {a["download"]: a["href"] for a in Reader(page).named("a") if a.get("download")}
    cells = json.loads((run_folder / "table/cells.json").read_text("utf-8"))
    assert json.loads(base64.b64decode(links["table2-cells.json"].partition(",")[2])) == cells
    lines = base64.b64decode(links["table2-cells.csv"].partition(",")[2]).decode().splitlines()
    assert len(lines) == len(cells) + 1
    assert lines[0].startswith("table,method,dataset,metric,value,low,high,n")


def test_controls_stand_apart_and_rivals_without_adapter_are_grey(run_folder: Path) -> None:
    table = tables.summary_tables(data.load(run_folder))[0]
    groups = {label: [row.method.name for row in rows] for label, rows in table.groups}
    measured, controls, *_ = groups.values()
    assert measured == ["live_avatar"]
    assert controls == ["truth", "truth_swapped", "truth_shifted"]
    assert all(row.is_ghost for row in table.groups[2][1])


def _cell(method: str, value: float, half: float | None) -> dict:
    bounds = {} if half is None else {"low": value - half, "high": value + half}
    return {"table": "t", "dataset": "d", "metric": "m", "method": method, "value": value, **bounds}


def _best(tmp_path: Path, direction: str, *cells: dict) -> list[str]:
    methods = [{"name": name, "kind": "control" if name == "truth" else "system"} for name in ("a", "b", "truth")]
    metrics = [{"name": "m", "direction": direction}]
    definition = {"name": "x", "methods": methods, "metrics": metrics, "datasets": [{"name": "d"}]}
    (tmp_path / "table").mkdir(exist_ok=True)
    (tmp_path / "experiment.json").write_text(json.dumps(definition), "utf-8")
    (tmp_path / "table/cells.json").write_text(json.dumps(cells), "utf-8")
    (table,) = tables.summary_tables(data.load(tmp_path))
    return [row.method.name for _, rows in table.groups for row in rows if row.cells[0].best]


def test_best_is_marked_only_where_intervals_separate(tmp_path: Path) -> None:
    assert _best(tmp_path, "up", _cell("a", 5, 0.4), _cell("b", 6, 0.4)) == ["b"]
    assert _best(tmp_path, "down", _cell("a", 5, 0.4), _cell("b", 6, 0.4)) == ["a"]
    assert _best(tmp_path, "up", _cell("a", 5, 0.6), _cell("b", 6, 0.6)) == []
    assert _best(tmp_path, "none", _cell("a", 5, 0.4), _cell("b", 6, 0.4)) == []
    assert _best(tmp_path, "up", _cell("a", 5, 0.4), _cell("b", 6, None)) == []
    assert _best(tmp_path, "up", _cell("a", 5, 0.4), _cell("truth", 9, 0.4)) == []


def test_speed_cell_without_dataset_stands_in_every_table(tmp_path: Path) -> None:
    definition = {"name": "x", "methods": [{"name": "a"}], "metrics": [{"name": "m"}, {"name": "fps"}]}
    (tmp_path / "experiment.json").write_text(json.dumps(definition), "utf-8")
    (tmp_path / "table").mkdir()
    general = {"table": "t", "dataset": None, "metric": "fps", "method": "a", "value": 61.25}
    (tmp_path / "table/cells.json").write_text(json.dumps([_cell("a", 5, 0.4), general]), "utf-8")
    (table,) = tables.summary_tables(data.load(tmp_path))
    assert [cell.value for cell in table.groups[0][1][0].cells] == ["5.00", "61.25"]


def test_drift_is_averaged_in_bins_of_ten_seconds() -> None:
    curve = {"t_s": [1, 9, 11, None, 25], "value": [1.0, 3.0, 5.0, 7.0, float("nan")]}
    mean, samples = figures.binned([curve, {"t_s": [2], "value": [4.0]}])
    assert mean == {5.0: 3.0, 15.0: 5.0}
    assert samples == [[(5.0, 2.0), (15.0, 5.0)], [(5.0, 4.0)]]


def test_paired_reading_follows_the_direction(run_folder: Path) -> None:
    rows = tables.paired_rows(data.load(run_folder))
    swapped = {row["metric"].name: row["verdict"] for row in rows if "swapped" in row["against"]}
    assert swapped["sync_c"] == swapped["sync_d"] == "better"


def test_worst_median_and_best_come_from_the_scores(run_folder: Path) -> None:
    run = data.load(run_folder)
    scores = {s.name: run.score("sync_c", "live_avatar", "short", s.name) for s in run.datasets["short"].samples}
    ranks = cases.ranked_names(run, "short")
    assert ranks["worst"] == min(scores, key=scores.get)
    assert ranks["best"] == max(scores, key=scores.get)


def test_sample_table_lists_every_scored_sample_and_method(page: str) -> None:
    rows = re.findall(r'<tr data-dataset="[^"]*" data-style="(\w+)"', page)
    assert len(rows) == 3 * 4
    assert set(rows) == {"photo", "cartoon"}


@pytest.mark.usefixtures("no_drawing")
def test_more_samples_than_the_viewer_holds_are_announced(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MAX_CASES", 2)
    text = " ".join(build_text(run_folder).split())
    assert text.count('<details class="case"') == 2
    assert "Shown: 2 of 3 samples" in text


def test_strips_of_frames(run_folder: Path, tmp_path: Path) -> None:
    videos = sorted(run_folder.glob("artefacts/live_avatar/*/*/video.mp4"))
    found = strips.stills(videos[0], 5)
    assert len(found) == 5
    assert [still.time_s for still in found] == sorted(still.time_s for still in found)
    out = tmp_path / "strip.png"
    assert strips.main([str(out), *map(str, videos), "--count", "4", "--height", "64"]) == 0
    with Image.open(out) as picture:
        assert picture.size == (4 * (48 + 6) + 6, len(videos) * (64 + 6) + 6)
    assert strips.main([str(out), str(tmp_path / "absent.mp4")]) == 2


def test_numbers_read_well() -> None:
    assert fmt.decimal(-0.5, 1) == "\N{MINUS SIGN}0.5"
    assert fmt.decimal(-0.01, 1) == "0.0", "nothing is not negative"
    assert fmt.interval(1, 2, 1) == "1.0\N{EN DASH}2.0"
    assert fmt.interval(-1, 2, 0) == "\N{MINUS SIGN}1 to 2"
    assert (fmt.seconds(0.41), fmt.seconds(5), fmt.seconds(312)) == ("410 ms", "5.0 s", "5 min 12 s")
    assert fmt.quoted(0.95) == "0.95"
    assert fmt.quoted(0.957) == "0.957"
