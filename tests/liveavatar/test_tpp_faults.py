"""When a stage dies, hangs, raises or is cut off: everything ends, one message says why, what was made is playable.

Each stage is killed once; LIVEAVATAR_TPP_KILLS=20 kills as often, at other random moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from liveavatar.config import ProfileConfig, nano
from liveavatar.output import kept_by_killed
from liveavatar.tpp.board import local_board
from liveavatar.tpp.delivery import ToFile
from liveavatar.tpp.engine import Engine
from liveavatar.tpp.launch import Outcome, popen_start, supervise
from liveavatar.tpp.layout import parse_layout
from liveavatar.tpp.order import StreamOrder
from liveavatar.tpp.parts import Denoiser
from liveavatar.tpp.sources import Piece, WholeSound
from liveavatar.tpp.watch import AwakeClock, Fault, Limits, Neighbour, Watch
from liveavatar.tpp.workplace import EngineOptions
from tests.liveavatar import tpp_processes as processes
from tests.liveavatar.tiny import tiny_profile
from tests.liveavatar.tpp_processes import Asked, Run

THREE = parse_layout("0-1|2-3|vae")
NAMES = ["denoise 0-1", "denoise 2-3", "decode"]
ROLLOUT = replace(nano().rollout, aas=False)
LONG_S = 10_000 * 0.48  # nobody waits for the end of these streams
START_S = 300.0  # a busy machine starts processes slowly


class Endless(WholeSound):
    """Silence for ever; says in a file when the pipeline is at work."""

    def __init__(self, note: Path, piece: int) -> None:
        super().__init__(np.zeros(0, dtype=np.float32), piece)
        self.note, self.given = note, 0

    def next(self, check: Any) -> Piece | None:
        check()
        self.given += 1
        if self.given == 8:
            self.note.write_text("at work")
        return Piece(np.zeros(self.piece_samples, dtype=np.float32), time.perf_counter())


def endless(asked: Asked, profile: ProfileConfig) -> Endless:
    return Endless(Path(asked.path or "").with_suffix(".note"), profile.block_frames * profile.samples_per_frame)


def to_file(order: StreamOrder) -> ToFile:
    return ToFile(Path(order.out or ""), tiny_profile())


def run_of(path: Path, prepare: Any = None, limits: Limits | None = None) -> Run:
    asked = Asked(ROLLOUT, LONG_S, path=str(path))
    options = EngineOptions(limits=limits or Limits(silence_s=120.0, stall_s=240.0))  # a busy machine is not a fault
    return Run(THREE, (asked,), consumer=to_file, source=endless, options=options, prepare=prepare)


def supervised(run: Run, started: list[int]) -> Outcome:
    return supervise(THREE, processes.forked(run, started))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]


def playable_frames(path: Path) -> int:
    """Frames in what is left of a video: none where nothing was kept."""
    partial = path.with_name(f"{path.stem}.partial.mp4")
    if not partial.exists():
        return 0
    with av.open(str(partial)) as container:
        return sum(1 for _ in container.decode(video=0))


def strike(run: Run, rank: int, number: int, after_s: float, started: list[int]) -> None:
    """Send a signal to a stage once the pipeline is at work, and a while; without end it must not be left."""
    note = Path(run.streams[0].path or "").with_suffix(".note")
    deadline = time.monotonic() + START_S
    while len(started) <= rank or not (note.exists() or time.monotonic() > deadline):
        time.sleep(0.01)
    time.sleep(after_s)
    os.kill(started[rank], number)


def struck(run: Run, rank: int, number: int, after_s: float) -> tuple[Outcome, float, list[int]]:
    """What comes of it, the seconds from the blow to the end, and the processes that there were."""
    started: list[int] = []
    moments: list[float] = []

    def hit() -> None:
        strike(run, rank, number, after_s, started)
        moments.append(time.monotonic())

    thread = threading.Thread(target=hit)
    thread.start()
    outcome = supervised(run, started)
    ended = time.monotonic()
    thread.join()
    return outcome, ended - moments[0], started


KILLS = int(os.environ.get("LIVEAVATAR_TPP_KILLS", "3"))


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_stage_that_is_killed_ends_everything_and_leaves_a_playable_video(kill: int, tmp_path: Path) -> None:
    """Any stage, at any moment. How long that takes is tests/benchmarks/test_tpp_speed.py's business."""
    kill_and_check(kill, tmp_path)


def kill_and_check(kill: int, tmp_path: Path) -> float:
    """Seconds from the blow until nothing is left."""
    rank, after_s = kill % 3, random.Random(kill).uniform(0.0, 0.4)
    path = tmp_path / "talk.mp4"
    outcome, seconds, pids = struck(run_of(path), rank, signal.SIGKILL, after_s)
    assert outcome.fault is not None
    assert (outcome.fault.stage, outcome.fault.rank) == (NAMES[rank], rank)
    assert outcome.fault.cause == "was killed by signal 9 (SIGKILL)"
    assert not any(map(is_alive, pids))
    kept = outcome.fault.kept or kept_by_killed(path)
    frames = playable_frames(path)
    assert kept.startswith(f"the first {frames} frames are kept") if frames else "nothing" in kept or not kept
    assert not path.exists()
    return seconds


# ----------------------------------------------------------------------------------------------- raising, hanging, mute


def raises_at_block_5(engine: Engine) -> None:
    _replace_work(engine, 1, lambda: (_ for _ in ()).throw(MemoryError("no memory for block 5")))


def hangs_at_block_5(engine: Engine) -> None:
    _replace_work(engine, 1, lambda: time.sleep(3600))


def _replace_work(engine: Engine, rank: int, accident: Any) -> None:
    """In the process of one rank, something happens before block 5 is denoised."""
    if engine.place.role.rank != rank:
        return
    work = Denoiser.__call__

    def with_accident(self: Denoiser, block: Any, trace: Any) -> Any:
        if block.number == 5:
            accident()
        return work(self, block, trace)

    Denoiser.__call__ = with_accident  # type: ignore[method-assign]


def loses_blocks(engine: Engine) -> None:
    """Blocks that the first stage sends after the fourth never arrive."""
    if engine.place.role.rank != 0 or engine.place.outbox is None:
        return
    transfer, sent = engine.place.outbox.transfer, [0]

    def stalls(buffer: Any) -> None:
        sent[0] += 1
        if sent[0] > 4:
            time.sleep(3600)
        transfer(buffer)

    engine.place.outbox.transfer = stalls


def test_a_stage_that_raises_is_named_with_its_error(tmp_path: Path) -> None:
    started: list[int] = []
    outcome = supervised(run_of(tmp_path / "talk.mp4", raises_at_block_5), started)
    assert outcome.fault is not None
    assert outcome.fault.stage == "denoise 2-3"
    assert outcome.fault.cause == "raised MemoryError: no memory for block 5"
    assert not any(map(is_alive, started))
    frames = playable_frames(tmp_path / "talk.mp4")
    assert frames <= 5 * 12
    assert outcome.fault.kept.startswith(f"the first {frames} frames are kept in {tmp_path}" if frames else "no")


def test_a_stage_that_hangs_is_found_by_its_own_watch(tmp_path: Path) -> None:
    limits = Limits(silence_s=120.0, stall_s=5.0)
    outcome = supervised(run_of(tmp_path / "talk.mp4", hangs_at_block_5, limits), [])
    assert outcome.fault is not None
    assert outcome.fault.stage == "denoise 2-3"
    assert outcome.fault.cause == "hangs: block 5 has taken longer than 5 s"
    assert playable_frames(tmp_path / "talk.mp4") <= 60


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stage_that_stands_still_altogether_is_found_by_its_neighbour(rank: int, tmp_path: Path) -> None:
    """Stopped as by a debugger: no thread of it runs. Rank 0 takes the board along that all others speak through."""
    run = run_of(tmp_path / "talk.mp4", limits=Limits(silence_s=5.0, stall_s=240.0))
    outcome, _, pids = struck(run, rank, signal.SIGSTOP, 0.1)
    assert outcome.fault is not None
    assert outcome.fault.stage == NAMES[rank]
    assert outcome.fault.cause.startswith("does not answer: ")
    assert outcome.fault.cause.endswith(" for 5 s")
    assert not any(map(is_alive, pids))
    frames = playable_frames(tmp_path / "talk.mp4")
    assert frames == 0 or f"the first {frames} frames are kept" in outcome.fault.kept


def test_a_network_that_stalls_is_told_from_a_stage_that_does(tmp_path: Path) -> None:
    limits = Limits(silence_s=120.0, stall_s=5.0)
    outcome = supervised(run_of(tmp_path / "talk.mp4", loses_blocks, limits), [])
    assert outcome.fault is not None
    assert outcome.fault.stage == "denoise 0-1"
    assert "has sent a block to stage 'denoise 2-3' that has not arrived for 5 s: the network stalls" in outcome.fault.cause


def fails_to_open(order: StreamOrder) -> Any:
    raise OSError("no room for the video")


def test_a_consumer_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    outcome = supervised(replace(run_of(tmp_path / "talk.mp4"), consumer=fails_to_open), [])
    assert outcome.fault is not None
    assert (outcome.fault.stage, outcome.fault.cause) == ("decode", "raised OSError: no room for the video")


def test_processes_whose_starter_is_gone_end_by_themselves(tmp_path: Path) -> None:
    """Nobody is left to end them, or to be told."""
    started: list[int] = []
    starter = processes.CONTEXT.Process(target=_start_and_wait, args=(run_of(tmp_path / "talk.mp4"), tmp_path / "pids"))
    starter.start()
    deadline = time.monotonic() + START_S
    while len(started) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
        found = tmp_path / "pids"
        started = [int(pid) for pid in found.read_text().split()] if found.exists() else []
    os.kill(starter.pid or 0, signal.SIGKILL)
    starter.join()
    while any(map(is_alive, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, started))


def test_a_starter_that_went_before_anybody_looked_is_missed_too() -> None:
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    watch = Watch(THREE.roles[0], NAMES, Limits(grace_s=600.0), starter=gone.pid)
    watch.start(local_board(), local_board())
    deadline = time.monotonic() + START_S
    while watch.fault is None and time.monotonic() < deadline:
        time.sleep(0.01)
    watch.over()
    assert watch.fault is not None
    assert watch.fault.cause == "was left alone: what started it is gone"


def _start_and_wait(run: Run, note: Path) -> None:
    import multiprocessing as mp
    from multiprocessing.connection import Connection

    def start(variables: Any, descriptor: int) -> processes.Forked:
        process = mp.get_context("fork").Process(
            target=processes._process, args=(run, dict(variables), Connection(os.dup(descriptor), readable=False))
        )
        process.start()
        with note.open("a") as file:
            file.write(f"{process.pid}\n")
        return processes.Forked(process)

    supervise(THREE, start)


def test_time_in_which_the_machine_slept_is_nobodys_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour's sleep between two looks; then a neighbour that really is silent for 3 s of looks."""
    now = [100.0]
    monkeypatch.setattr("liveavatar.tpp.watch.time.monotonic", lambda: now[0])
    neighbour = Neighbour(AwakeClock())
    assert neighbour.silence_s({"number": 1}) == 0.0
    now[0] += 3600
    assert neighbour.silence_s({"number": 1}) == pytest.approx(0.25)
    for _ in range(12):
        now[0] += 0.25
        silence_s = neighbour.silence_s({"number": 1})
    assert silence_s == pytest.approx(3.25)
    assert neighbour.silence_s({"number": 2}) == 0.0


# -------------------------------------------------------------------------------------------------------------- starting


def scripted(*lines: str) -> Any:
    """A starter of plain Python processes, in which `rank` is known."""
    code = "\n".join(["import json, os, signal, sys, time", "rank = int(os.environ['RANK'])", *lines])
    return popen_start([sys.executable, "-S", "-c", code])


def test_all_processes_get_what_torchrun_would_give_them() -> None:
    names = {"LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS"}
    has_all = f"{names} <= set(os.environ) and os.environ['WORLD_SIZE'] == '3'"
    assert supervise(THREE, scripted(f"sys.exit(not ({has_all}))")) == Outcome()


def test_the_first_report_is_the_message_and_stubborn_processes_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveavatar.tpp.launch.KILL_AFTER_S", 1.5)
    monkeypatch.setattr("liveavatar.tpp.launch.TELL_AFTER_S", 0.3)
    fault = {"stage": "denoise 2-3", "rank": 1, "cause": "raised ValueError: seven", "kept": ""}
    outcome = supervise(
        THREE,
        scripted(
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
            f"line = json.dumps({{'fault': {fault}, 'claimed': True}}) + chr(10)",
            "rank == 1 and os.write(int(os.environ['LIVEAVATAR_TPP_REPORT']), line.encode())",
            "rank == 1 and sys.exit(1)",
            "time.sleep(600)",
        ),
    )
    assert outcome.fault == Fault("denoise 2-3", 1, "raised ValueError: seven")


def test_an_exit_that_nobody_explains_is_named_by_its_code() -> None:
    outcome = supervise(THREE, scripted("sys.exit(7 if rank == 2 else 0)"))
    assert outcome.fault == Fault("decode", 2, "ended with exit code 7")


@pytest.fixture
def interrupting() -> Iterator[None]:
    timer = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    yield
    timer.cancel()


def test_an_interrupt_ends_all_processes(interrupting: None) -> None:
    outcome = supervise(THREE, scripted("time.sleep(600)"))
    assert outcome.is_interrupted
