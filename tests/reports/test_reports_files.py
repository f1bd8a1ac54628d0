"""Pages as folders, figures as files, an index over runs with its steps: the same bytes each time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

import reports
from reports import data, media, speed, trust
from reports.__main__ import main
from reports.claims import claim_view
from reports.figures import slope_rows
from reports.index import find_runs, find_steps
from reports.positions import position_picture
from reports.tables import summary_tables
from tests.reports.test_reports_page import Reader, build_text, change


@pytest.mark.usefixtures("no_drawing")
def test_a_folder_page_carries_its_videos_with_it(run_folder: Path, tmp_path: Path) -> None:
    written = reports.build(run_folder, out=tmp_path / "page", mode="folder")
    moved = Path(shutil.move(written.parent, tmp_path / "moved"))
    sources = [video["src"] for video in Reader((moved / "index.html").read_text("utf-8")).named("video")]
    assert len(sources) == 12
    assert all(not source.startswith(("data:", "/", "..")) for source in sources)
    assert all((moved / source).is_file() for source in sources)


@pytest.mark.usefixtures("no_drawing")
def test_single_mode_embeds_everything_whatever_the_budget(run_folder: Path) -> None:
    written = reports.build(run_folder, budget_bytes=1000, mode="single")
    assert all(video["src"].startswith("data:") for video in Reader(written.read_text("utf-8")).named("video"))
    with pytest.raises(ValueError, match="choose one of auto, single, folder"):
        reports.build(run_folder, mode="both")


def test_figures_are_vector_files_in_print_colours_and_the_same_each_time(run_folder: Path, tmp_path: Path) -> None:
    written = reports.write_figures(run_folder, tmp_path / "one")
    names = {path.name for path in written}
    assert {"paired0.svg", "paired0.pdf", "drift0.svg", "positions0.pdf", "latency.svg", "memory.pdf"} <= names
    assert "strip-long.png" in names
    again = reports.write_figures(run_folder, tmp_path / "two")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".svg":
            assert b"<text" in content, "text stays text"
            assert b"#b0000" not in content
            assert b"#c0000" not in content, "no marker colour is left"
        if path.suffix == ".pdf":
            assert content.startswith(b"%PDF")
            assert b"CreationDate" not in content


def test_large_videos_are_made_smaller_for_the_page(tmp_path: Path) -> None:
    from fractions import Fraction

    path = tmp_path / "large.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 720, 400, "yuv420p"
        for level in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((400, 720, 3), level * 20, np.uint8), "rgb24")))
        container.mux(stream.encode())
    small = media.page_video(path)
    assert small == media.page_video(path)
    (tmp_path / "small.mp4").write_bytes(small)
    with av.open(str(tmp_path / "small.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.codec_context.pix_fmt) == (648, 360, "yuv420p")
        assert sum(1 for _ in container.decode(video=0)) == 10
    assert small.index(b"moov") < small.index(b"mdat"), "the index stands in front"


def test_bold_and_claims_come_from_the_runs_own_judgement(run_folder: Path) -> None:
    run = data.load(run_folder)
    table = next(one for one in summary_tables(run) if one.dataset == "GenBench short")
    cells = {
        (row.method.name, metric.name): cell
        for _, rows in table.groups
        for row in rows
        for metric, cell in zip(table.columns, row.cells, strict=True)
    }
    assert [key for key, cell in cells.items() if cell.best] == [("live_avatar", "sync_c")]
    assert "Holm" in table.best_rule
    assert {key: cell.claim for key, cell in cells.items() if cell.claim} == {
        ("ditto", "sync_c"): "confirmed",
        ("wan_s2v", "sync_c"): "undecided",
    }
    view = claim_view(run)
    assert view.counts == [("confirmed", 1), ("undecided", 1)]
    assert view.rows[0][2:5] == ["5.69 against 4.09", "+1.20 (0.40–2.00)", "confirmed"]
    assert [row[4] for row in view.unmeasured] == ["undecided"]
    assert "SyncNet nano" in view.backing


def test_slopes_and_scenarios_are_said_in_words(run_folder: Path) -> None:
    run = data.load(run_folder)
    assert slope_rows(run) == [
        [
            "Sync-C",
            "GenBench long",
            "Live Avatar (nano)",
            "−0.0400",
            "−0.3000 to 0.2000",
            "6 bins of one stream",
            "no drift shown",
        ]
    ]
    ((name, verdict, words, _),) = speed.scenario_rows(run)
    assert (name, verdict) == ("Live Avatar (nano), live", "VALID")
    assert "latency p50 210 ms" in words
    assert "0 deadlines missed with 0 ms of buffer" in words


def test_the_sentence_ends_like_one_with_and_without_speed(run_folder: Path) -> None:
    assert trust.verdict(data.load(run_folder)).count(", and generates") == 1
    shutil.rmtree(run_folder / "records/speed")
    said = trust.verdict(data.load(run_folder))
    assert "against" in said
    assert said.endswith(".")
    assert ",." not in said


def test_the_trust_box_speaks_of_a_streams_memory(run_folder: Path) -> None:
    stream = {"t_s": [0, 60, 600], "rss_mib": [600.0, 612.0, 613.0], "label": "live_avatar", "frames": 15000}
    stream |= {"growth_share": 0.0016, "times_playback": 4.2, "highest_position": 12297.0, "starts": 2}
    for growth, level, title in ((0.0016, "pass", "Memory of the stream is flat"), (0.03, "fail", "Memory grows")):
        (run_folder / "stats/memory.json").write_text(json.dumps([{**stream, "growth_share": growth}]), "utf-8")
        (check,) = [one for one in trust.checks(data.load(run_folder)) if "emory" in one.title]
        assert (check.level, check.title) == (level, title)
    assert "4.2 times playback speed" in check.text
    assert "taken up again 1 times" in check.text


def test_positions_need_a_sink() -> None:
    assert position_picture({"blocks": [{"block": 0}]}, "x") is None


def test_index_lists_runs_newest_first_and_draws_what_is_comparable(run_folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for number, day in enumerate(("2026-05-01", "2026-05-02")):
        copy = Path(shutil.copytree(run_folder, runs / f"run{number}"))
        for path in copy.rglob("records/**/*.json"):
            change(
                path,
                finished=f"{day}T10:00:00Z",
                origin={"env_id": "e", "git": {"commit": f"{number}" * 40, "dirty": False}},
            )
    other = json.loads((runs / "run1/table/cells.json").read_text("utf-8"))
    for cell in other:
        if cell["metric"] == "sync_d":
            cell["backbone"] = "another network"
    (runs / "run1/table/cells.json").write_text(json.dumps(other), "utf-8")
    reports.build(runs / "run1")
    first = reports.build_index([runs], runs / "index.html").read_bytes()
    text = first.decode()
    assert reports.build_index([runs], runs / "index.html").read_bytes() == first
    assert text.index("2026-05-02") < text.index("2026-05-01")
    assert 'href="run1/report/index.html"' in text
    assert text.count("no report yet") == 1
    assert "Sync-C, Live Avatar (nano), GenBench short" in text
    assert "Sync-D, Live Avatar (nano), GenBench short" not in text, "two networks are no trend"
    assert "Truth" not in text.partition('id="trends"')[2]


def test_steps_are_changes_of_level_not_noise_or_slow_trends() -> None:
    chance = np.random.default_rng(4)
    noise = chance.normal(0, 1, 20)
    assert find_steps(noise.tolist()) == []
    assert find_steps((np.arange(20) * 0.5).tolist()) == []
    assert find_steps([*noise[:10].tolist(), *(noise[10:] + 20).tolist()]) == [10]
    assert find_steps([1.0, 1.0, 1.0, 5.0, 5.0, 5.0]) == [3]
    assert find_steps([1.0, 1.0, 9.0, 9.0, 9.0, 3.0, 3.0, 3.0]) == [2, 5]
    assert find_steps([1.0, 5.0, 1.0]) == []


def test_runs_are_found_once_and_their_absence_is_said(run_folder: Path, tmp_path: Path) -> None:
    assert find_runs([run_folder, run_folder.parent]) == [run_folder.resolve()]
    with pytest.raises(ValueError, match="no run folder in"):
        reports.build_index([tmp_path / "nothing"], tmp_path / "index.html")


@pytest.mark.usefixtures("no_drawing")
def test_command_line_of_reports(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_folder), "--mode", "folder", "--out", str(tmp_path / "page")]) == 0
    assert main([str(run_folder), "--index", str(tmp_path / "all.html")]) == 0
    assert main([str(tmp_path / "none"), "--index", str(tmp_path / "all.html")]) == 2
    printed = capsys.readouterr()
    assert str(tmp_path / "page/index.html") in printed.out
    assert "no run folder" in printed.err
    assert "quality" in build_text(run_folder).lower()


def test_a_predicted_rate_says_that_it_is_one() -> None:
    record = {"scenario": "predicted", "verdict": "VALID", "fps_predicted": 24.0, "ttff_predicted": 2.52, "devices": 5}
    run = SimpleNamespace(speed=[("live_avatar", "quick-predicted", record)], methods={})
    ((name, verdict, words, _),) = speed.scenario_rows(run)  # type: ignore[arg-type]
    assert (name, verdict) == ("live_avatar, quick-predicted", "VALID")
    assert words.startswith("predicted, not measured: 24.0 FPS on 5 devices; first frame 2.5 s")
