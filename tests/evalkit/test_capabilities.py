"""Table 1 from runs: every tick follows from something that was seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.capabilities import Finding, held_mib, memory_slope, real_time, streaming, unlimited
from evalkit.catalogue_rivals import table1
from evalkit.definition import MethodInfo
from evalkit.makers.memory import PeakMemory
from evalkit.makers.streaming import heard_before_a_frame
from evalkit.paper import paper_value
from evalkit.records import DONE, GENERATE, SPEED, Key, Record
from tests.evalkit.evalkit_bench import evalkit

PLUGIN = Path(__file__).with_name("capability_run.py")


def record(kind: str = SPEED, **outputs: Any) -> Record:
    return Record(Key(kind, "m", "d"), "f", DONE, {}, outputs=outputs)


def test_streaming_is_a_frame_before_the_input_ends() -> None:
    assert streaming(record(heard_s=1.2, voice_s=9.6, reason=None)).can is True
    late = streaming(record(heard_s=None, voice_s=9.6, reason=None))
    assert late == Finding(False, "no frame before all 9.6 s had been heard")
    assert streaming(record(heard_s=None, voice_s=9.6, reason="whole files only")).evidence == "whole files only"
    assert streaming(None).can is None


def test_real_time_is_generation_over_playback() -> None:
    made = {"verdict": "VALID", "playback_fps": 25.0}
    fast, slow = (real_time(record(fps_end_to_end=fps, **made)) for fps in (25.0, 24.9))
    assert (fast.can, slow.can) == (True, False)
    assert "1.00 times real time" in fast.evidence
    assert real_time(record(verdict="INVALID", reason="busy")) == Finding(None, "speed INVALID: busy")
    assert real_time(None).can is None


def test_unlimited_is_flat_memory_and_no_cap() -> None:
    method = MethodInfo("m", "m", "system")
    flat = [(5.0, 100.0), (5.0, 104.0), (60.0, 103.0)]
    assert unlimited(method, flat).can is True
    assert memory_slope([(0.0, 10.0), (60.0, 70.0), (120.0, 130.0)]) == pytest.approx(60.0)
    growing = unlimited(method, [(5.0, 100.0), (60.0, 130.0)])
    assert growing.can is False
    assert "32.7 MiB per minute over clips of 5 to 60 s" in growing.evidence
    assert unlimited(method, [(5.0, 100.0), (6.0, 900.0)]).can is None, "of one length nothing can be said"
    capped = MethodInfo("m", "m", "rival", longest_s=14.0, longest_reason="336 poses")
    assert unlimited(capped, flat) == Finding(False, "336 poses")


def test_a_program_counts_whole_and_a_method_of_ours_by_what_it_added() -> None:
    assert held_mib(record(GENERATE, details={"peak_host_bytes": 3 << 20})) == 3.0
    own = record(GENERATE, details={})
    own.cost = {"memory_mib": 12.5}
    assert held_mib(own) == 12.5
    assert held_mib(record(GENERATE)) is None


def test_peak_memory_is_what_was_added_inside() -> None:
    with PeakMemory(0.02) as memory:
        held = np.ones(64 << 20, np.uint8)
        for _ in range(20):
            held += 1
    assert 50 < memory.added_mib < 200


class Patient:
    """Gives all its frames when `after` samples have been heard."""

    def __init__(self, after: int) -> None:
        self.after, self.heard = after, 0

    def push(self, samples: np.ndarray) -> Iterator[int]:
        self.heard += len(samples)
        yield 25 if self.heard >= self.after else 0

    def flush(self) -> Iterator[int]:
        yield 25


HEARD = [(1, 0.1), (1600, 0.1), (1601, 0.2), (14_400, 0.9), (14_401, None), (20_000, None)]


@pytest.mark.parametrize(("after", "found_s"), HEARD)
def test_what_was_heard_before_the_first_frame(after: int, found_s: float | None) -> None:
    assert heard_before_a_frame(Patient(after), np.zeros(16_000, np.float32), 16_000) == found_s


def test_table_1_has_the_papers_rows_columns_and_ticks() -> None:
    (table,) = table1().tables
    assert [column.title for column in table.columns] == ["Streaming", "Real time", "Unlimited length"]
    ticks = {
        name: [paper_value("Table 1", "genbench_long", name, column.metric) for column in table.columns]
        for name in ("stableavatar", "ditto", "paradigm:ditto", "live_avatar")
    }
    assert ticks == {"stableavatar": [0, 0, 1], "ditto": [1, 1, 1], "paradigm:ditto": [1, 1, 1], "live_avatar": [1, 1, 1]}
    assert table1().probes_streaming


def test_ticks_are_derived_through_the_whole_harness(tmp_path: Path) -> None:
    result = evalkit("run", "able_table", "--plugin", str(PLUGIN), "--out", str(tmp_path / "run"))
    assert result.code == 0, result.err
    cells = {(one["method"], one["metric"]): one for one in json.loads((tmp_path / "run/table/cells.json").read_text())}
    found = {
        name: [cells[name, metric]["value"] for metric in ("streaming", "real_time", "unlimited")]
        for name in ("able", "unable")
    }
    assert found == {"able": [1, 1, 1], "unable": [0, 0, 0]}
    assert "of 9.6 s had been heard" in cells["able", "streaming"]["reason"]
    assert cells["unable", "streaming"]["reason"] == "it takes whole files only"
    assert cells["capped", "unlimited"]["reason"] == "the template ends"
    text = (tmp_path / "run/table/one.md").read_text()
    assert "| able | ✓ | ✓ | ✓ |" in text
    assert "| unable | ✗ | ✗ | ✗ |" in text
    assert "unable, real time: 12.50 frames/s generated, 25 played: 0.50 times real time." in text
    assert "bootstrap" not in text


def test_memory_that_comes_and_goes_at_once_is_counted() -> None:
    with PeakMemory(interval_s=60.0) as memory:
        held = np.ones(64 * 2**20, np.uint8)
        del held
    assert 60 < memory.added_mib < 90
