"""FPS and TTFF in closed form, among them the paper's own 20.88 FPS and 2.89 s."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.experiments import SpeedProtocol
from evalkit.speed import INVALID, VALID, Span, Timeline, measure, read_timeline, summarise


def pipelined(stages: int, stage_s: float, blocks: int = 60, block_frames: int = 12) -> Timeline:
    """`stages` in a row, each busy with one block: the last of them decodes."""
    spans = []
    for block in range(blocks):
        begin = block * stage_s
        decode = begin + (stages - 1) * stage_s
        spans += [
            Span("denoise", block, begin, decode),
            Span("decode", block, decode, decode + stage_s, block_frames),
        ]
    return Timeline(tuple(spans), spans[-1].end_s)


def test_the_papers_pipeline_reads_20_88_fps_and_2_89_s() -> None:
    # Five stages (4 denoise + VAE) of a block of 12 frames each: half a frame of waiting, not half a block.
    found = measure(pipelined(5, 12 / 20.88), playback_fps=25)
    assert found.fps_steady == pytest.approx(20.88)
    assert found.latency_first == pytest.approx(2.874, abs=1e-3)
    assert found.wait == pytest.approx(0.0239, abs=1e-4)
    assert found.ttff == pytest.approx(2.898, abs=1e-3)
    assert found.ttff_block == pytest.approx(3.16, abs=5e-3)


def test_decode_sharing_a_stage_reads_10_16_fps_and_4_77_s() -> None:
    found = measure(pipelined(4, 12 / 10.16), playback_fps=25)
    assert found.fps_steady == pytest.approx(10.16)
    assert found.ttff == pytest.approx(4.774, abs=1e-3)
    assert found.ttff_block == pytest.approx(5.32, abs=1e-2)


def test_a_fast_method_waits_for_playback_not_for_itself() -> None:
    found = measure(pipelined(2, 0.1), playback_fps=25)
    assert found.fps_steady == pytest.approx(120)
    assert found.wait == pytest.approx(1 / 50)


def test_end_to_end_counts_everything_from_the_start() -> None:
    line = pipelined(1, 0.12, blocks=10)
    late = Timeline(tuple(replace(span, begin_s=span.begin_s + 3, end_s=span.end_s + 3) for span in line.spans), 5.0)
    found = measure(late, playback_fps=25)
    assert found.fps_end_to_end == pytest.approx(120 / 5)
    assert found.fps_steady == pytest.approx(100)
    assert found.frames == 120
    assert found.blocks == 10


def test_output_spans_are_what_a_viewer_waits_for() -> None:
    line = pipelined(1, 0.1, blocks=5)
    slow = tuple(Span("output", block, 0.0, 0.5 * (block + 1), 12) for block in range(5))
    assert measure(Timeline(line.spans + slow, 2.5), 25).fps_steady == pytest.approx(24)


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        measure(pipelined(1, 0.1, blocks=2), playback_fps=25)


def test_quick_protocol_gives_median_range_and_verdict() -> None:
    repeats = [measure(pipelined(1, stage_s, blocks=40), 25) for stage_s in (0.1, 0.2, 0.4)]
    record = summarise(repeats, SpeedProtocol(), 25)
    assert record["verdict"] == VALID
    assert record["reason"] is None
    assert record["blocks"] == 120
    assert record["fps_steady"] == pytest.approx(60)
    assert record["range"]["fps_steady"] == pytest.approx([30, 120])
    assert len(record["repeats"]) == 3
    assert record["protocol"]["name"] == "quick"


@pytest.mark.parametrize(("repeats", "blocks", "why"), [(2, 60, "2 repeats"), (3, 30, "90 blocks")])
def test_a_short_measurement_is_invalid_with_its_reason(repeats: int, blocks: int, why: str) -> None:
    record = summarise([measure(pipelined(1, 0.1, blocks), 25)] * repeats, SpeedProtocol(), 25)
    assert record["verdict"] == INVALID
    assert why in record["reason"]


def test_numbers_of_a_busy_machine_are_invalid_and_say_what_to_do() -> None:
    quiet = measure(pipelined(1, 0.1, blocks=40), 25)
    shares = (0.05, 0.9, 0.4)
    record = summarise([replace(quiet, others_share=share) for share in shares], SpeedProtocol(), 25)
    assert record["verdict"] == INVALID
    assert "held 40%" in record["reason"]
    assert "--retry-failed" in record["reason"]
    once_busy = summarise([replace(quiet, others_share=share) for share in (0.05, 0.9, 0.1)], SpeedProtocol(), 25)
    assert once_busy["verdict"] == VALID
    assert summarise([quiet] * 3, SpeedProtocol(), 25)["verdict"] == VALID  # a system that does not tell


def test_timeline_is_read_and_an_unfinished_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "timeline.jsonl"
    span = {"event": "span", "stage": "decode", "block": 0, "begin_s": 0.1, "end_s": 0.2, "frames": 12}
    start = {"event": "start", "t_s": 0.0}
    path.write_text("\n".join(map(json.dumps, [start, span, {"event": "end", "t_s": 0.3}])) + "\n")
    assert read_timeline(path) == Timeline((Span("decode", 0, 0.1, 0.2, 12),), 0.3)
    path.write_text("\n".join(map(json.dumps, [start, span])) + "\n")
    with pytest.raises(ValueError, match="has no end"):
        read_timeline(path)
    path.write_text(json.dumps(start) + '\n{"event": "sp')
    with pytest.raises(ValueError, match="not JSON"):
        read_timeline(path)
