"""What a timeline is made to say: figures with known answers from events written down by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liveavatar import cli
from liveavatar.tpp.export import perfetto
from liveavatar.tpp.summary import summarise, words
from liveavatar.tpp.timeline import TimelineError, read_timeline

Line = dict[str, Any]
STEP_S, DECODE_S, PLAYBACK = 1.0, 1.3, 25.0
FACTS = {"layout": "0|1|vae", "stages": ["denoise 0", "denoise 1", "decode"], "evaluations": 2, "block_frames": 12}


def span(stage: str, rank: int, block: int, begin_s: float, end_s: float, frames: int = 0) -> Line:
    times = {"begin_s": begin_s, "end_s": end_s}
    return {"event": "span", "stage": stage, "rank": rank, "block": block, **times, "frames": frames}


def pipeline(blocks: int, decode_s: float = DECODE_S) -> list[Line]:
    """Two steps of 1 s and decoding, blocking: every stage hands on when the next is free; a block every slowest stage."""
    lines: list[Line] = [{"event": "pipeline", **FACTS, "playback_fps": PLAYBACK}]
    beat = max(STEP_S, decode_s)
    for block in range(blocks):
        t = beat * block
        lines.append({"event": "sound", "rank": 0, "block": block, "begin_s": t, "end_s": t, "look_ahead_s": 0.1})
        lines.append(span("denoise", 0, block, t, t + STEP_S))
        lines.append(span("denoise", 1, block, t + beat, t + beat + STEP_S))
        lines.append(span("decode", 2, block, t + 2 * beat, t + 2 * beat + decode_s, frames=12))
        lines.append(span("output", 2, block, t + 2 * beat + decode_s, t + 2 * beat + decode_s, frames=12))
        for rank, size in ((0, 1000), (1, 800)):
            sent = t + (rank + 1) * beat
            times = {"begin_s": sent - 0.1, "end_s": sent}
            lines.append({"event": "send", "rank": rank, "block": block, **times, "bytes": size})
    return [*lines, {"event": "end", "t_s": beat * (blocks + 1) + decode_s}]


def written(lines: list[Line], folder: Path) -> Path:
    path = folder / "timeline.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_rates_and_latencies_follow_the_papers_definitions(tmp_path: Path) -> None:
    summary = summarise(read_timeline(written(pipeline(20), tmp_path)))
    assert summary["fps_steady"] == pytest.approx(12 / 1.3)
    assert summary["fps_end_to_end"] == pytest.approx(240 / (21 * 1.3 + 1.3))
    assert summary["latency_first_s"] == pytest.approx(3.9)
    assert summary["wait_s"] == pytest.approx(1.3 / 24)
    assert summary["ttff_s"] == pytest.approx(3.9 + 1.3 / 24)
    assert summary["ttff_block_s"] == pytest.approx(3.9 + 1.3 / 2)
    assert summary["interval_s"] == pytest.approx(1.3)
    assert summary["bytes_per_block"] == {"0": 1000, "1": 800}


def test_mid_stream_is_from_any_moment_to_the_frame_that_shows_it(tmp_path: Path) -> None:
    """Sound is complete every 1.3 s and shown 3.9 s later: on average 0.65 + 3.9, split into its parts."""
    found = summarise(read_timeline(written(pipeline(60), tmp_path)))["ttff_midstream"]
    assert found["arrivals"] >= 20
    assert found["median_s"] == pytest.approx(4.55, abs=0.15)
    assert found["p95_s"] == pytest.approx(3.9 + 0.95 * 1.3, abs=0.15)
    parts = found["mean_components_s"]
    assert parts["denoise"] == pytest.approx(2.0)
    assert parts["decode"] == pytest.approx(1.3)
    assert parts["queue"] == pytest.approx(0.6)
    assert parts["look_ahead"] == pytest.approx(0.1, abs=0.01)
    assert sum(parts.values()) == pytest.approx(4.55, abs=0.15)


def test_a_single_process_timeline_is_read_too(tmp_path: Path) -> None:
    lines: list[Line] = [{"event": "start", "t_s": 0.0}]
    for block in range(9):
        lines.append(
            {"event": "span", "stage": "denoise", "block": block, "begin_s": block, "end_s": block + 0.7, "frames": 12}
        )
        lines.append(
            {"event": "span", "stage": "decode", "block": block, "begin_s": block + 0.7, "end_s": block + 1, "frames": 12}
        )
    summary = summarise(read_timeline(written([*lines, {"event": "end", "t_s": 9.0}], tmp_path)))
    assert summary["fps_steady"] == pytest.approx(12.0)
    assert summary["stages"][0]["busy"] == pytest.approx(1.0)
    assert summary["ttff_midstream"] is None


def test_a_stream_that_broke_off_is_still_read(tmp_path: Path) -> None:
    path = written(pipeline(12)[:-1], tmp_path)
    path.write_text(path.read_text() + '{"event": "span", "stage": "den')
    summary = summarise(read_timeline(path))
    assert not summary["is_whole"]
    assert summary["fps_end_to_end"] is None
    assert "broke off" in words(summary)


def test_what_is_no_timeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TimelineError, match="no line with times"):
        read_timeline(written([{"event": "start"}], tmp_path))
    (tmp_path / "t").write_text("nothing\n{}\n")
    with pytest.raises(TimelineError, match="line 1 is not JSON"):
        read_timeline(tmp_path / "t")
    with pytest.raises(TimelineError, match="too few"):
        summarise(read_timeline(written(pipeline(4), tmp_path)))


def test_perfetto_has_a_process_per_device_and_every_event_once(tmp_path: Path) -> None:
    lines = pipeline(10)
    made = perfetto(read_timeline(written(lines, tmp_path)))["traceEvents"]
    names = [event["args"]["name"] for event in made if event["name"] == "process_name"]
    assert names == ["0: denoise 0", "1: denoise 1", "2: decode"]
    timed = [line for line in lines if "begin_s" in line]
    assert len([event for event in made if event["ph"] in "Xi"]) == len(timed)
    decode = next(event for event in made if event["name"] == "decode 3")
    assert (decode["pid"], decode["ts"], decode["dur"]) == (2, pytest.approx(6.5e6), pytest.approx(1.3e6))


def test_the_verb_writes_chart_and_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(pipeline(10), tmp_path)
    chart, perfetto = str(tmp_path / "c.svg"), str(tmp_path / "p.json")
    command = ["tpp", "trace", str(path), "--chart", chart, "--perfetto", perfetto, "--json"]
    assert cli.main(command) == 0
    assert json.loads(capsys.readouterr().out)["bottleneck_rank"] == 2
    drawing = (tmp_path / "c.svg").read_text()
    assert drawing.count("<path") > 30  # three bars a block
    assert json.loads((tmp_path / "p.json").read_text())["displayTimeUnit"] == "ms"
    assert cli.main(["tpp", "trace", str(tmp_path / "none.jsonl")]) == 2
