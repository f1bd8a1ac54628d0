"""How a pipeline of processes behaves: who works when, who waits for whom, what is bounded, who may leave."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveavatar.config import ProfileConfig, RolloutOptions, nano
from liveavatar.streaming.sink import switch_block
from liveavatar.tpp.delivery import Finished
from liveavatar.tpp.launch import supervise
from liveavatar.tpp.layout import Layout, parse_layout
from liveavatar.tpp.order import StreamOrder
from liveavatar.tpp.sources import FilledSound, LiveSound, Piece, PipedSound, WholeSound
from liveavatar.tpp.summary import summarise
from liveavatar.tpp.timeline import Event, Timeline, read_timeline
from liveavatar.tpp.workplace import EngineOptions
from tests.liveavatar import tpp_processes as processes
from tests.liveavatar.tpp_processes import Asked, Run

FIVE = parse_layout("0|1|2|3|vae")
BLOCKS = 24


def traced(layout: Layout, folder: Path, **options: object) -> Timeline:
    path = folder / "timeline.jsonl"
    asked = Asked(replace(nano().rollout, **options), seconds=BLOCKS * 0.48, timeline=str(path))  # type: ignore[arg-type]
    outcome = supervise(layout, processes.forked(Run(layout, (asked,))))
    assert outcome.fault is None
    return read_timeline(path)


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    """Five processes, AAS after the first block as in Algorithm 4."""
    return traced(FIVE, tmp_path_factory.mktemp("five"))


def denoised(timeline: Timeline, rank: int) -> list[Event]:
    return [event for event in timeline.spans("denoise") if event.rank == rank]


def test_every_stage_works_on_every_block_once_and_on_one_at_a_time(timeline: Timeline) -> None:
    for rank in range(4):
        spans = denoised(timeline, rank)
        assert [event.block for event in spans] == list(range(BLOCKS))
        assert [event.more["steps"] for event in spans] == [[rank]] * BLOCKS
        assert all(one.end_s <= next_one.begin_s for one, next_one in itertools.pairwise(spans))
    assert [event.block for event in timeline.spans("decode")] == list(range(BLOCKS))
    assert {event.rank for event in timeline.spans("decode")} == {4}


def test_a_stage_begins_a_block_after_the_one_before_has_ended_it(timeline: Timeline) -> None:
    for rank in range(1, 4):
        for before, after in zip(denoised(timeline, rank - 1), denoised(timeline, rank), strict=True):
            assert before.end_s <= after.begin_s


def test_stages_work_at_the_same_time_and_send_while_they_compute(timeline: Timeline) -> None:
    """The first stage is at a later block while the last one still denoises an earlier one."""
    ahead = [
        (one.block, other.block)
        for one in denoised(timeline, 0)
        for other in denoised(timeline, 3)
        if one.begin_s < other.end_s and other.begin_s < one.end_s
    ]
    assert ahead
    assert all(one > other for one, other in ahead)


def test_messages_have_one_size(timeline: Timeline) -> None:
    for rank in range(4):
        sizes = {event.more["bytes"] for event in timeline.of_kind("send") if event.rank == rank}
        form = timeline.facts["message_bytes"]["voice" if rank < 3 else "latents"]
        assert sizes == {form["whole"]}
        assert form["latents"] == 4 * 16 * 3 * 4 * 4
        assert len([e for e in timeline.of_kind("send") if e.rank == rank]) == BLOCKS + 1  # and one that says the end


def test_the_new_sink_is_awaited_once_and_made_on_each_device(timeline: Timeline) -> None:
    """Algorithm 4: block 1 begins when block 0 has passed all steps; later blocks wait for nothing."""
    first_done = denoised(timeline, 3)[0].end_s
    assert denoised(timeline, 0)[1].begin_s >= first_done
    prefills = [event for event in timeline.spans("prefill") if event.block >= 0]
    assert sorted((event.rank, event.block) for event in prefills) == [(rank, 1) for rank in range(4)]
    assert len([event for event in timeline.of_kind("wait") if event.what == "sink"]) == 4


@pytest.mark.parametrize("options", [{"aas_switch": "in_flight"}, {"aas_after_blocks": 4}])
def test_each_device_makes_the_new_sink_at_the_block_agreed_upon(options: dict[str, Any], tmp_path: Path) -> None:
    made = traced(FIVE, tmp_path, **options)
    agreed = [switch_block(RolloutOptions(**options), step) for step in range(4)]
    prefills = sorted((event.rank, event.block) for event in made.spans("prefill") if event.block >= 0)
    assert prefills == list(enumerate(agreed))


def test_the_summary_knows_the_pipeline(timeline: Timeline) -> None:
    summary = summarise(timeline)
    assert summary["blocks"] == BLOCKS
    assert summary["frames"] == 12 * BLOCKS
    assert [row["stage"] for row in summary["stages"]] == ["denoise 0", "denoise 1", "denoise 2", "denoise 3", "decode"]
    assert all(0 < row["busy"] <= 1 for row in summary["stages"])
    assert summary["second_warm_up_s"] > 0
    assert summary["ttff_s"] > summary["latency_first_s"] > 0


# --------------------------------------------------------------------------------------------------------------- bounds


class Counted(WholeSound):
    """Notes how many pieces were taken."""

    def __init__(self, note: Path, samples: np.ndarray, piece: int) -> None:
        super().__init__(samples, piece)
        self.note, self.given = note, 0

    def next(self, check: Any) -> Piece | None:
        piece = super().next(check)
        self.given += piece is not None
        self.note.write_text(str(self.given))
        return piece


def counted(asked: Asked, profile: ProfileConfig) -> Counted:
    folder = Path(asked.path or "").parent
    return Counted(folder / "given", processes.sound(asked.seconds), profile.block_frames * profile.samples_per_frame)


class Reluctant:
    """Takes the first block only when no more sound is taken."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.blocks = folder, 0

    def take(self, done: Finished) -> None:
        if done.number == 0:
            before, now = "", (self.folder / "given").read_text()
            while not now or before != now:  # empty: it is just being written anew
                time.sleep(0.7)
                before, now = now, (self.folder / "given").read_text()
            (self.folder / "held").write_text(now)
        self.blocks += 1

    def close(self) -> None:
        (self.folder / "shown").write_text(str(self.blocks))

    def abort(self) -> str:
        return ""


def reluctant(order: StreamOrder) -> Reluctant:
    return Reluctant(Path(order.out or "").parent)


@pytest.mark.parametrize(
    ("depth", "in_flight", "most"),
    [
        (2, None, 5 + 4 * 2 + 2),  # one in each stage, two on each link, one with the viewer and one before it
        (1, None, 5 + 4 * 1 + 2),
        (2, 3, 3),
    ],
)
def test_a_slow_viewer_bounds_what_is_on_its_way(depth: int, in_flight: int | None, most: int, tmp_path: Path) -> None:
    """No more sound is taken, so memory is bounded; when the viewer goes on, nothing is missing."""
    asked = Asked(replace(nano().rollout, aas=False), 30 * 0.48, path=str(tmp_path / "x"), in_flight=in_flight)
    run = Run(FIVE, (asked,), consumer=reluctant, source=counted, options=EngineOptions(depth=depth))
    assert supervise(FIVE, processes.forked(run)).fault is None
    held = int((tmp_path / "held").read_text())
    assert held <= most + 1  # a block's look-ahead comes with the next block's sound
    assert int((tmp_path / "shown").read_text()) == 30


class Leaves:
    """Takes three blocks and is gone; notes how much sound had been asked for by the end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.left = folder, 3

    def take(self, done: Finished) -> None:
        if self.left == 0:
            raise BrokenPipeError
        self.left -= 1

    def close(self) -> None: ...

    def abort(self) -> str:
        return "three blocks are kept"


def leaves_first(order: StreamOrder) -> Any:
    return Leaves(Path(order.out or "").parent) if order.seed == 0 else processes.keeps(order)


@pytest.mark.parametrize("spec", ["0|1|2|3|vae", "0-3+vae"])
def test_a_viewer_who_leaves_ends_its_stream_and_not_the_engine(spec: str, tmp_path: Path) -> None:
    layout = parse_layout(spec)
    rollout = nano().rollout
    long = Asked(rollout, 300 * 0.48, path=str(tmp_path / "x"))
    short = Asked(rollout, 5 * 0.48, seed=1, path=str(tmp_path / "short.safetensors"))
    run = Run(layout, (long, short), consumer=leaves_first, source=counted)
    if layout.devices == 1:
        results = run.take_part(None, lambda fault, claimed: None)
        assert [result.blocks for result in results] == [3, 5]
        assert results[0].gone == "the reader of the video has gone; three blocks are kept"
        assert results[1].gone == ""
    else:
        assert supervise(layout, processes.forked(run)).fault is None
    expected = processes.sequential(run, 1)
    ours = processes.kept(tmp_path / "short.safetensors")
    assert all((ours[name] == expected[name]).all() for name in expected)


def test_a_pipeline_of_one_device_needs_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.distributed as dist

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a process group was made")

    monkeypatch.setattr(dist, "init_process_group", refuse)
    (result,) = Run(parse_layout("0-3+vae"), (Asked(nano().rollout, 2 * 0.48),)).take_part(None, lambda f, c: None)
    assert (result.blocks, result.frames) == (2, 24)


# ---------------------------------------------------------------------------------------------------------------- sound


def pieces(source: Any) -> list[Piece]:
    return list(iter(lambda: source.next(lambda: None), None))


def test_live_sound_is_released_when_it_would_be_spoken() -> None:
    begin = time.perf_counter()
    got = pieces(LiveSound(np.arange(1600, dtype=np.float32), 16_000))
    assert np.array_equal(np.concatenate([piece.samples for piece in got]), np.arange(1600))
    assert [round(piece.arrived - got[0].arrived, 3) for piece in got] == [0.0, 0.02, 0.04, 0.06, 0.08]
    assert time.perf_counter() - begin >= 0.1


def test_silence_fills_in_while_nobody_speaks() -> None:
    spoken: list[np.ndarray] = []

    def speech() -> Iterator[np.ndarray]:
        while not spoken:
            time.sleep(0.005)
        yield from spoken

    source = FilledSound(PipedSound(speech()), 80)
    first = source.next(lambda: None)
    assert first is not None
    assert not first.samples.any()
    spoken.append(np.ones(40, dtype=np.float32))
    later = pieces(source)
    assert [len(piece.samples) for piece in later if piece.samples.any()] == [40]


def test_what_reading_raises_reaches_the_stage() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield np.zeros(8, dtype=np.float32)
        raise OSError("the microphone is gone")

    source = PipedSound(broken())
    assert source.next(lambda: None) is not None
    with pytest.raises(OSError, match="microphone"):
        source.next(lambda: None)


def test_a_timeline_has_no_line_that_is_not_json(timeline: Timeline, tmp_path: Path) -> None:
    made = traced(parse_layout("0-3+vae"), tmp_path)
    assert made.facts["stages"] == ["denoise 0-3 + decode"]
    lines = (tmp_path / "timeline.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["event"] == "start"
    assert json.loads(lines[-1])["event"] == "end"
