"""Runs as they are in life: partial, failed, half-written, from several machines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from reports import data, trust
from tests.reports.test_reports_page import Reader, build_text, change


def levels(run: Path) -> dict[str, str]:
    return {check.title: check.level for check in trust.checks(data.load(run))}


def words(text: str) -> str:
    return " ".join("".join(Reader(text).text).split())


def edit_cells(run: Path, method: str, metric: str, **fields: object) -> None:
    path = run / "table/cells.json"
    cells = json.loads(path.read_text("utf-8"))
    for cell in cells:
        if (cell["method"], cell["metric"]) == (method, metric):
            cell.update(fields)
    path.write_text(json.dumps(cells), "utf-8")


@pytest.mark.parametrize(
    "absent",
    [("table", "env"), ("stats", "datasets"), ("records",), ("records/score", "stats/drift.json"), ("artefacts",)],
    ids=" and ".join,
)
def test_any_optional_part_may_be_absent(run_folder: Path, absent: tuple[str, ...]) -> None:
    for name in absent:
        path = run_folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    Reader(build_text(run_folder))


def test_definition_alone_gives_a_page_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text('{"name": "empty"}', "utf-8")
    text = words(build_text(tmp_path))
    assert "nothing to conclude" in text
    assert "No records" in text
    assert "table/cells.json" in text


def test_unreadable_definition_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match=r"experiment\.json"):
        data.load(tmp_path)


@pytest.mark.usefixtures("no_drawing")
def test_half_written_files_are_named_not_fatal(run_folder: Path) -> None:
    (run_folder / "stats/drift.json").write_text('[{"method": ', "utf-8")
    record = next(run_folder.glob("records/score/sync_c/live_avatar/short/*.json"))
    record.write_bytes(b"\xff\x00")
    (run_folder / "artefacts/live_avatar/short/short-00.s0/video.mp4").write_bytes(b"no video at all")
    (run_folder / "artefacts/live_avatar/short/short-00.s0/timeline.jsonl").write_text("{nonsense\n[]\n", "utf-8")
    text = words(build_text(run_folder))
    assert "stats/drift.json could not be read as JSON" in text
    assert record.relative_to(run_folder).as_posix() in text


@pytest.mark.usefixtures("no_drawing")
def test_failed_and_partial_run_says_both(run_folder: Path) -> None:
    change(run_folder / "experiment.json", partial=True, limit=2)
    record = run_folder / "records/generate/live_avatar/short/short-01.s0.json"
    error = {"class": "MemoryError", "message": "the block did not fit", "tail": "line one\nlast line"}
    change(record, status="failed", error=error, artefacts=[])
    shutil.rmtree(run_folder / "artefacts/live_avatar/short/short-01.s0")
    text = words(build_text(run_folder))
    assert "Partial run" in text
    assert "only the first 2 samples" in text.lower()
    assert "MemoryError: the block did not fit" in text
    assert "last line" in text
    assert "1 of" in text
    assert "Failed records" in text
    assert "--limit 2" in text


def test_trust_box_of_a_healthy_run(run_folder: Path) -> None:
    found = levels(run_folder)
    assert found["Swapped voice is caught"] == found["Voice 200 ms late is read"] == "pass"
    for title in ("Complete run", "No failures", "One environment", "Speed is valid"):
        assert found[title] == "pass"
    assert found["Nano measuring networks"] == "note"


def test_trust_box_catches_controls_that_misbehave(run_folder: Path) -> None:
    edit_cells(run_folder, "truth_swapped", "sync_c", value=9.0, low=8.5, high=9.5)
    edit_cells(run_folder, "truth_shifted", "sync_offset", value=0.4)
    found = levels(run_folder)
    assert found["Swapped voice is not caught"] == found["Voice 200 ms late is misread"] == "fail"


@pytest.mark.usefixtures("no_drawing")
def test_mixed_environments_and_invalid_speed_are_said(run_folder: Path) -> None:
    change(next(run_folder.glob("records/score/dino_s/truth/long/*.json")), origin={"env_id": "env-other"})
    change(run_folder / "records/speed/live_avatar/live.json", verdict="INVALID", reason="another process was running")
    found = levels(run_folder)
    assert found["Mixed environments"] == found["Speed figures left out"] == "warn"
    assert "another process was running" in words(build_text(run_folder))


def test_a_process_that_says_no_threads_is_no_other_environment(run_folder: Path) -> None:
    block = json.loads((run_folder / "env/env-3f2a.json").read_text("utf-8"))
    (run_folder / "env/env-other.json").write_text(json.dumps({**block, "torch_threads": None}), "utf-8")
    (run_folder / "env/env-3f2a.json").write_text(json.dumps({**block, "torch_threads": 2}), "utf-8")
    change(next(run_folder.glob("records/score/dino_s/truth/long/*.json")), origin={"env_id": "env-other"})
    assert levels(run_folder)["One environment"] == "pass"
    (run_folder / "env/env-other.json").write_text(json.dumps({**block, "torch_threads": 1}), "utf-8")
    assert levels(run_folder)["Mixed environments"] == "warn"
    (run_folder / "env/env-other.json").write_text(json.dumps({**block, "python": "3.12.1", "torch_threads": None}), "utf-8")
    assert levels(run_folder)["Mixed environments"] == "warn"


def test_values_of_the_wrong_kind_do_not_break_the_page(run_folder: Path) -> None:
    edit_cells(run_folder, "live_avatar", "sync_c", value="high", low=None, n=None, reason=None)
    change(next(run_folder.glob("records/score/sync_c/live_avatar/short/*.json")), series={"x": None}, value=True)
    (run_folder / "stats/memory.json").write_text('{"t_s": 3, "rss_mib": "x"}', "utf-8")
    (run_folder / "stats/paired.json").write_text('[{"metric": "sync_c"}, {"metric": "gone", "mean": 1}, 5]', "utf-8")
    (run_folder / "stats/drift.json").write_text('[{"metric": "sync_c", "method": "truth", "t_s": [null]}]', "utf-8")
    Reader(build_text(run_folder))
