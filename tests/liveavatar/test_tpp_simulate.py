"""The simulator against closed forms, the paper's Table 3, and files of times."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from liveavatar import cli
from liveavatar.config import RolloutOptions, s2v_14b
from liveavatar.tpp.layout import parse_layout
from liveavatar.tpp.simulate import Simulated, Traffic, simulate
from liveavatar.tpp.times import Times, TimesError, read_times

OPTIONS = RolloutOptions(aas=False)
PAPER = {  # Table 3: devices, evaluations, FPS, time to first frame
    "no-tpp": (2, 5, 4.26, 3.88),
    "sp4": (5, 5, 5.01, 3.24),
    "no-vae-parallel": (4, 4, 10.16, 4.73),
    "no-dmd": (2, 80, 0.29, 45.50),
    "tpp": (5, 4, 20.88, 2.89),
}
TIMES = {"t_dit": 0.565, "t_vae": 0.575, "layouts": {"sp4": {"t_dit": 0.479}, "no-dmd": {"t_dit": 0.517}}}


def test_the_papers_table_3_within_ten_percent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two times common to all rows, and one of its own for each of two rows, from a file."""
    (tmp_path / "times.json").write_text(json.dumps(TIMES))
    command = ["tpp", "simulate", "--t-dit", "0.565", "--t-vae", "0.575", "--layout", "all", "--json"]
    assert cli.main([*command, "--times", str(tmp_path / "times.json")]) == 0
    rows = {row["layout"]: row for row in json.loads(capsys.readouterr().out)}
    for name, (devices, nfe, fps, ttff) in PAPER.items():
        row = rows[name]
        assert (row["devices"], row["nfe"]) == (devices, nfe)
        assert row["fps"] == pytest.approx(fps, rel=0.1)
        assert row["ttff_s"] == pytest.approx(ttff, rel=0.1)
        assert 0 < row["utilisation"] <= 1
        assert len(row["memory_gib"]) == devices
    assert rows["tpp3"]["devices"] == 4
    assert rows["tpp3"]["fps"] == pytest.approx(rows["tpp"]["fps"])


def run(spec: str, traffic: Traffic | None = None, options: RolloutOptions = OPTIONS, **times: object) -> Simulated:
    given: dict[str, object] = {"t_dit": 1.0, "t_vae": 1.0, "block_frames": 12, "playback_fps": 25.0} | times
    return simulate(parse_layout(spec), options, Times(**given), traffic)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "interval"),
    [("0-3+vae", 7.0), ("0-3|vae", 4.0), ("0-1|2-3|vae", 3.0), ("0|1|2|3|vae", 3.0), ("0|1|2|3+vae", 4.0)],
)
def test_a_block_leaves_every_slowest_stage(spec: str, interval: float) -> None:
    made = run(spec, t_vae=3.0)
    assert made.interval_s == pytest.approx(interval)
    assert made.fps == pytest.approx(12 / interval)
    assert made.first_frame_s == pytest.approx(7.0)


def test_blocking_hand_overs_hold_a_block_in_every_stage_for_the_slowest() -> None:
    made = run("0|1|2|3+vae", t_vae=2.0)
    assert made.latency_s == pytest.approx(4 * 3.0)
    assert made.utilisation == pytest.approx((1 / 3, 1 / 3, 1 / 3, 1.0))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_waiting_room_costs_latency_where_sound_is_always_there_and_gives_no_rate(depth: int) -> None:
    """In the steady state every room before the slowest stage is full."""
    blocking, roomy = run("0|1|2|3|vae", t_vae=2.0), run("0|1|2|3|vae", Traffic(depth), t_vae=2.0)
    assert roomy.fps == pytest.approx(blocking.fps)
    assert roomy.latency_s > blocking.latency_s


def test_fewer_blocks_in_flight_cost_no_latency_and_no_rate_down_to_what_the_stages_need() -> None:
    free, held = run("0|1|2|3|vae", Traffic(2), t_vae=2.0), run("0|1|2|3|vae", Traffic(2, in_flight=3), t_vae=2.0)
    assert held.fps == pytest.approx(free.fps)
    assert held.midstream_s < free.midstream_s / 2
    starved = run("0|1|2|3|vae", Traffic(2, in_flight=1), t_vae=2.0)
    assert starved.fps == pytest.approx(12 / 6)


def test_live_sound_sets_the_pace_of_a_fast_pipeline() -> None:
    made = run("0|1|2|3|vae", Traffic(2, live=True), t_dit=0.1, t_vae=0.1, look_ahead_s=0.2)
    assert made.fps == pytest.approx(25.0)
    assert made.latency_s == pytest.approx(0.5)
    assert made.midstream_s == pytest.approx(0.24 + 0.5)


def test_a_viewer_who_plays_sets_the_pace_too() -> None:
    assert run("0-3+vae", Traffic(2, paced=True), t_dit=0.01, t_vae=0.01).fps == pytest.approx(25.0)


def test_stages_that_share_cores_share_their_speed() -> None:
    """Five stages of 1 s on two cores: a block every 2.5 s."""
    made = run("0|1|2|3|vae", Traffic(depth=2, cores=2))
    assert made.interval_s == pytest.approx(2.5, rel=0.02)
    assert run("0|1|2|3|vae", Traffic(depth=2, cores=5)).interval_s == pytest.approx(1.0)


@pytest.mark.parametrize("switch", ["block", "in_flight"])
def test_the_new_sink_delays_the_beginning_and_not_the_rate(switch: str) -> None:
    options = replace(OPTIONS, aas=True, aas_switch=switch)
    made = run("0|1|2|3|vae", options=options, t_prefill=0.5)
    assert made.fps == pytest.approx(12.0)
    assert made.first_frame_s == pytest.approx(5.0)


def test_guidance_and_the_clean_pass_are_evaluations_too() -> None:
    assert run("0-3|vae", options=replace(OPTIONS, cache="clean")).interval_s == pytest.approx(5.0)
    assert run("0-3|vae", options=replace(OPTIONS, guidance=4.5)).interval_s == pytest.approx(8.0)
    assert run("0-1|2-3|vae", t_dit=(1.0, 2.0, 0.5, 0.5)).interval_s == pytest.approx(3.0)


def test_times_come_from_the_file_and_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_text(json.dumps(TIMES | {"machine": {"device": "a card"}}))
    times = read_times(path, t_vae=0.3)
    assert (times.of("tpp").t_dit, times.of("sp4").t_dit, times.of("tpp").t_vae) == (0.565, 0.479, 0.3)
    assert times.has_own("sp4")
    assert not times.has_own("tpp")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ('{"t_dit": "fast"}', "t_dit='fast'; give seconds"),
        ('{"t_dit": -1}', "give seconds, 0 or more"),
        ('{"layouts": []}', "expected an object"),
        ('{"t_vae": 1, "layouts": {"tpp": {"t_vae": true}}}', "layout tpp: t_vae=True"),
    ],
)
def test_times_that_mean_nothing_are_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text(text)
    with pytest.raises(TimesError, match=said):
        read_times(tmp_path / "times.json")


def test_missing_times_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tpp", "simulate", "--t-dit", "1", "--layout", "tpp"]) == 2
    assert "no t_vae for layout 'tpp'" in capsys.readouterr().err


def test_the_official_profile_switches_its_sink_after_four_blocks() -> None:
    """Without a drain: from block 5 on no stage waits, so only block 4 does, for less than one evaluation."""
    options = s2v_14b().rollout
    times = Times(1.0, 1.0, t_prefill=0.57)
    assert simulate(parse_layout("0|1|2|3|vae"), options, times).interval_s == pytest.approx(1.0)
