"""Speed and playback arithmetic against times worked out by hand."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from evalkit.playback import boundary_wait, real_time_factor, stalls
from evalkit.speed import Span, Timeline, measure, steady_fps
from tests.evalkit import metric_goldens as golden

pytestmark = golden.needs_goldens
ANY_PLAYBACK = math.inf


def case(kind: str) -> list[dict[str, Any]]:
    return [one for one in golden.facts("timing")["cases"] if kind in one["log"]] if golden.FOLDER.is_dir() else []


@pytest.mark.parametrize("one", case("blocks"), ids=lambda one: one["name"])
def test_block_logs_give_the_expected_rates_and_latencies(one: dict[str, Any]) -> None:
    log, expected = one["log"], one["expected"]
    t0 = log["pipeline_initialised"]
    spans = []
    for block in log["blocks"]:
        begin, end, ready = (block[name] - t0 for name in ("denoise_start", "denoise_end", "decode_end"))
        spans += [
            Span("denoise", block["index"], begin, end),
            Span("decode", block["index"], end, ready, block["frames"]),
        ]
    timeline = Timeline(tuple(spans), log["last_cpu_done"] - t0)
    after = next(int(m[1]) for name in expected if (m := re.match(r"fps_steady_after_block_(\d+)", name)))
    found = measure(timeline, ANY_PLAYBACK, warmup_blocks=after + 1)
    for name, value in (
        ("frames", found.frames),
        ("fps_end_to_end", found.fps_end_to_end),
        (f"fps_steady_after_block_{after}", found.fps_steady),
        ("first_block_latency", found.latency_first),
        ("expected_wait_frame_at_steady_fps", found.wait),
        ("ttff_frame_at_steady_fps", found.ttff),
        ("ttff_block_at_steady_fps", found.ttff_block),
    ):
        assert value == pytest.approx(expected[name], abs=1e-6), name


@pytest.mark.parametrize("one", case("frame_ready"), ids=lambda one: one["name"])
def test_frame_times_give_the_expected_stalls(one: dict[str, Any]) -> None:
    ready, expected = one["log"]["frame_ready"], one["expected"]
    for name, value in expected.items():
        if match := re.match(r"stalls_when_played_at_([\d.]+)_fps", name):
            assert stalls(ready, float(match[1])).count == value
        elif match := re.match(r"stall_seconds_at_([\d.]+)_fps", name):
            assert stalls(ready, float(match[1])).seconds == pytest.approx(value, abs=1e-6)
        elif match := re.match(r"real_time_factor_at_([\d.]+)_fps", name):
            assert real_time_factor(ready[-1], len(ready), float(match[1])) == pytest.approx(value, abs=1e-6)
    groups = [(moment, ready.count(moment)) for moment in dict.fromkeys(ready)]
    assert steady_fps(groups, 1) == pytest.approx(expected["fps_steady_after_4_frames"], abs=1e-6)
    assert len(ready) / ready[-1] == pytest.approx(expected["fps_end_to_end"], abs=1e-6)


@pytest.mark.parametrize("one", case("arrivals"), ids=lambda one: one["name"])
def test_random_arrivals_wait_for_the_next_boundary(one: dict[str, Any]) -> None:
    log, expected = one["log"], one["expected"]
    waits = [boundary_wait(arrival, log["fps"]) for arrival in log["arrivals"]]
    assert waits == pytest.approx(expected["waits"], abs=1e-6)
    assert sum(waits) / len(waits) == pytest.approx(expected["mean_wait"], abs=1e-6)


def test_the_papers_table_3_needs_half_a_frame_of_waiting() -> None:
    for row in golden.facts("timing")["paper_table3_consistency"]["rows"]:
        interval = row["frames_per_block"] / row["fps"]
        assert row["stages"] * interval + 1 / (2 * row["fps"]) == pytest.approx(row["reported_ttff"], rel=0.01)
        assert row["stages"] * interval + row["frames_per_block"] / (2 * row["fps"]) > 1.09 * row["reported_ttff"]
