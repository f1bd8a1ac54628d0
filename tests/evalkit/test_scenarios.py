"""Live sound, players and switches in closed form; honesty probes; the whole protocol over a fake method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evalkit import probes, scenarios
from evalkit.clocks import Throttling
from evalkit.experiments import FULL_SPEED, LIVE, OFFLINE, SpeedProtocol
from evalkit.scenarios import Chunk
from evalkit.speed import INVALID, VALID, at_work_s, measure, merge, summarise
from tests.evalkit.evalkit_bench import PLUGIN, evalkit
from tests.evalkit.test_speed import pipelined

RATE_HZ, FPS, BLOCK = 1000, 25, 12


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class Stream:
    """A block of 12 frames per 480 samples, each taking a stated time."""

    def __init__(self, clock: Clock, cost_s: list[float]) -> None:
        self.clock, self.cost_s, self.left, self.block = clock, cost_s, 0, 0

    def push(self, samples: np.ndarray) -> Iterator[int]:
        self.left += len(samples)
        while self.left >= 480:
            self.left -= 480
            self.clock.at += self.cost_s[min(self.block, len(self.cost_s) - 1)]
            self.block += 1
            yield BLOCK

    def flush(self) -> Iterator[int]:
        return iter(())


def listened(cost_s: list[float], blocks: int = 10, piece_s: float = 0.04) -> list[Chunk]:
    clock = Clock()
    voice = np.zeros(480 * blocks, np.float32)
    return scenarios.listen(Stream(clock, cost_s), voice, RATE_HZ, piece_s, clock)


def test_a_fast_stream_is_late_by_its_own_work_only() -> None:
    chunks = listened([0.1])
    assert [one.ready_s for one in chunks] == pytest.approx([0.48 * (index + 1) + 0.1 for index in range(10)])
    assert scenarios.latencies(chunks, FPS) == pytest.approx([0.1] * 10)
    seen = scenarios.play(chunks, FPS, 0.0)
    assert (seen.misses, seen.longest_freeze_s) == (0, 0.0)


def test_a_slow_stream_falls_further_behind_block_by_block() -> None:
    chunks = listened([0.6])
    # Each block takes 0.6 s for 0.48 s of sound: block k is ready at 0.48 + 0.6 (k + 1).
    assert scenarios.latencies(chunks, FPS) == pytest.approx([0.6 + 0.12 * index for index in range(10)])
    seen = scenarios.play(chunks, FPS, 0.0)
    assert seen.misses == 9
    assert seen.longest_freeze_s == pytest.approx(0.12)
    assert seen.frozen_s == pytest.approx(9 * 0.12)
    assert scenarios.play(chunks, FPS, 2.0).misses == 0, "a buffer hides it for a while"


def test_one_late_block_freezes_once_and_by_its_whole_delay() -> None:
    chunks = listened([0.1, 0.1, 1.1, 0.1])
    seen = scenarios.play(chunks, FPS, 0.0)
    assert seen.misses == 1
    assert seen.longest_freeze_s == pytest.approx(1.0)
    assert len(seen.shown_s) == 120
    assert seen.shown_s[24] - seen.shown_s[23] == pytest.approx(1.0 + 1 / FPS)


def test_pieces_arrive_whole() -> None:
    (first, *_) = listened([0.0], piece_s=0.3)
    assert first.ready_s == pytest.approx(0.6), "the piece with sample 480 is there after 0.6 s"


def test_quantiles_are_nearest_ranks() -> None:
    found = scenarios.quantiles([float(one) for one in range(1, 101)])
    assert found == {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert scenarios.quantiles([3.0]) == dict.fromkeys(("p50", "p90", "p95", "p99", "max"), 3.0)


def test_a_switch_is_timed_from_its_first_sample_to_its_first_frame() -> None:
    chunks = [Chunk(0.58 + 0.48 * index, 12 * index, 12) for index in range(10)]
    # Onset at 1.0 s is frame 25, in block 2 (frames 24 to 35), ready at 1.54 s.
    assert scenarios.switch_latencies(chunks, [1.0], FPS) == pytest.approx([0.54])
    assert scenarios.switch_latencies(chunks, [99.0], FPS) == []


def test_a_stall_after_a_switch_shows_in_what_the_player_shows() -> None:
    chunks = [Chunk(0.58 + 0.48 * index + (4.0 if index >= 3 else 0.0), 12 * index, 12) for index in range(20)]
    seen = scenarios.play(chunks, FPS, 0.0)
    assert scenarios.switch_stalls(seen, [1.0], FPS) == pytest.approx([4.0])
    assert scenarios.switch_stalls(seen, [6.0], FPS) == pytest.approx([0.0])


def test_switches_are_silence_then_voice_and_always_the_same() -> None:
    voice = np.random.default_rng(1).normal(0, 0.3, 20 * RATE_HZ).astype(np.float32)
    sound, onsets = scenarios.switching(voice, RATE_HZ, 4)
    again, _ = scenarios.switching(voice, RATE_HZ, 4)
    assert np.array_equal(sound, again)
    assert len(onsets) == 4
    for onset in onsets:
        at = round(onset * RATE_HZ)
        assert not sound[at - 900 : at].any()
        assert np.abs(sound[at : at + 900]).mean() > 0.1


def test_overlapping_work_counts_once() -> None:
    line = pipelined(5, 0.1, blocks=20)
    denoise = [span for span in line.spans if span.stage == "denoise"]
    # Block k is denoised from 0.1 k to 0.1 k + 0.4: together from 0 to 2.3 s.
    assert at_work_s(denoise) == pytest.approx(2.3)
    found = measure(line, FPS)
    assert found.fps_denoiser == pytest.approx(20 * 12 / 2.3)
    assert found.fps_denoiser_vae == pytest.approx(20 * 12 / 2.4)
    assert found.real_time_factor == pytest.approx(2.4 / (20 * 12 / FPS))
    assert found.latency["p50"] == pytest.approx(0.1)


def test_full_asks_for_time_as_well_as_for_blocks() -> None:
    protocol = replace(FULL_SPEED, repeats=2)
    short = measure(pipelined(1, 0.1, blocks=200), FPS)
    assert summarise([short] * 2, protocol, FPS)["reason"] == "40 s in steady state instead of at least 60 s"
    enough = measure(pipelined(1, 0.1, blocks=400), FPS)
    assert summarise([enough] * 2, protocol, FPS)["verdict"] == VALID


def test_repeats_of_their_own_are_put_together() -> None:
    protocol = replace(SpeedProtocol(), is_fresh=True)
    one = [summarise([measure(pipelined(1, cost, blocks=40), FPS)], protocol, FPS, wanted=1) for cost in (0.1, 0.2, 0.4)]
    assert {each["verdict"] for each in one} == {VALID}, "a single repeat is not told to be too short"
    whole = merge(one, protocol, OFFLINE)
    assert whole["verdict"] == VALID
    assert whole["fps_steady"] == pytest.approx(60)
    assert whole["range"]["fps_steady"] == pytest.approx([30, 120])
    assert merge(one[:2], protocol, OFFLINE)["reason"] == "2 repeats instead of 3"
    busy = {**one[0], "verdict": INVALID, "reason": "too hot"}
    assert merge([busy, *one[1:]], protocol, LIVE)["reason"] == "too hot"


def test_a_scenario_is_fingerprinted_by_its_own_settings_only() -> None:
    protocol = SpeedProtocol()
    assert list(protocol.asked(OFFLINE)) == [
        *("name", "dataset", "discarded_clips", "discarded_s", "repeats", "warmup_blocks", "others_share", "version"),
        *("clip_s", "min_blocks"),
    ]
    assert protocol.asked(OFFLINE) == replace(protocol, live_s=1.0, scenarios=(OFFLINE, LIVE)).asked(OFFLINE)
    assert protocol.asked(LIVE) != replace(protocol, live_s=1.0).asked(LIVE)
    assert (protocol.record_name(OFFLINE), protocol.record_name(LIVE, 3)) == ("quick", "quick-live.r3")
    assert replace(protocol, scenarios=(LIVE,)).scenario_of("quick-live.r3") == (LIVE, 3)


def write_video(path: Path, levels: list[int]) -> Path:
    from liveavatar.output import VideoWriter

    with VideoWriter(path, 32, 32, FPS) as writer:
        writer.write(np.repeat(np.array(levels, np.uint8), 32 * 32 * 3).reshape(-1, 32, 32, 3))
    return path


def test_frames_are_counted_from_the_file(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [100] * 30)
    assert probes.frames_counted(video, 30).state == probes.PASSED
    lying = probes.frames_counted(video, 60)
    assert lying.state == probes.FAILED
    assert probes.failures([lying]) == "probe frames failed: 30 frames in the file, 60 reported"
    (tmp_path / "x.mp4").write_text("no video")
    assert probes.frames_counted(tmp_path / "x.mp4", 1).state == probes.NOT_CHECKED


def test_the_timed_pictures_must_be_the_scored_ones(tmp_path: Path) -> None:
    scored = write_video(tmp_path / "scored.mp4", [100] * 60)
    assert probes.same_pictures(write_video(tmp_path / "same.mp4", [100] * 30), scored).state == probes.PASSED
    assert probes.same_pictures(write_video(tmp_path / "other.mp4", [140] * 30), scored).state == probes.FAILED
    assert probes.same_pictures(scored, tmp_path / "absent.mp4").state == probes.NOT_CHECKED


def test_a_cache_of_answers_and_a_fear_of_new_ones_are_found() -> None:
    assert probes.caching([50.0, 52.0], [51.0, 50.0]).state == probes.PASSED
    assert probes.caching([50.0, 52.0], [90.0, 95.0]).state == probes.FAILED
    assert probes.unseen([50.0, 52.0], [49.0, 50.0]).state == probes.PASSED
    assert probes.unseen([50.0, 52.0], [20.0, 22.0]).state == probes.FAILED


def test_throttled_processors_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.clocks.gpu_state", lambda: [])
    counter = tmp_path / "cpu0/thermal_throttle/core_throttle_count"
    counter.parent.mkdir(parents=True)
    counter.write_text("7\n")
    with Throttling(tmp_path) as calm:
        pass
    assert calm.reason == ""
    with Throttling(tmp_path) as hot:
        counter.write_text("9\n")
    assert "throttled itself 2 times" in hot.reason


def test_every_scenario_gives_a_record_and_a_cell(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = evalkit("run", "fake_speed", "--plugin", str(PLUGIN), "--out", str(out))
    assert done.code == 0, done.out + done.err
    names = sorted(path.name for path in (out / "records/speed/fake").iterdir())
    kinds = ("tiny", "tiny-cold", "tiny-live", "tiny-predicted", "tiny-soak", "tiny-switch")
    assert names == sorted(f"{kind}.r{number}.json" for kind in kinds for number in (1, 2))
    of_rows = {(one["method"], one["metric"]): one for one in evalkit("table", str(out), "--json").json()}
    cells = {metric: cell for (method, metric), cell in of_rows.items() if method == "fake"}
    assert cells["fps"]["value"] > 0
    assert cells["fps"]["n"] == 2
    assert 0 <= cells["live_p50"]["value"] < 5
    assert cells["cold_first"]["value"] > 0
    assert (cells["fps_predicted"]["value"], cells["fps_predicted"]["low"]) == (15.0, 15.0)
    assert cells["fps_predicted"]["reason"].startswith("predicted, not measured: told, not timed")
    assert (cells["devices"]["value"], cells["devices"]["low"]) == (5, None), "a count has no range"
    assert [path.name for path in sorted((out / "records/speed/fake_layout").iterdir())] == [
        "tiny-predicted.r1.json",
        "tiny-predicted.r2.json",
    ]
    assert of_rows["fake_layout", "fps"]["status"] == "not_applicable"
    assert of_rows["fake_layout", "fps_predicted"]["value"] == 15.0
    assert not (out / "records/generate/fake_layout").exists(), "it makes no clips"
    offline = json.loads((out / "records/speed/fake/tiny.r1.json").read_text())
    states = {one["name"]: one["state"] for one in offline["probes"]}
    assert states == {"frames": "not checked", "pictures": "not checked", "caching": "passed", "unseen": "passed"}
    live = json.loads((out / "records/speed/fake/tiny-live.r1.json").read_text())
    assert live["repeats"][0]["chunks"] == 3
    assert live["verdict"] == VALID
