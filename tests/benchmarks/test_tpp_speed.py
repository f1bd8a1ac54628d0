"""Pipelines of processes on this machine: two against one, the simulator against what is measured, what is constant, what
ends in time, what the options for an earlier first frame bring. Everything that is compared is measured in one run.

Needs a machine that does nothing else: `python -m pytest tests/benchmarks/test_tpp_speed.py --benchmark-only -n 0 -s`
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from liveavatar.config import ProfileConfig, nano
from liveavatar.tpp.delivery import Nobody, Paced
from liveavatar.tpp.engine import Engine
from liveavatar.tpp.launch import supervise
from liveavatar.tpp.layout import balanced, parse_layout
from liveavatar.tpp.measure import MeasureOptions, measure
from liveavatar.tpp.simulate import Traffic, simulate
from liveavatar.tpp.sources import Piece, WholeSound
from liveavatar.tpp.summary import summarise
from liveavatar.tpp.timeline import Timeline, read_timeline
from liveavatar.tpp.times import Times
from liveavatar.tpp.workplace import EngineOptions
from tests.liveavatar import test_tpp_faults as faults
from tests.liveavatar import tpp_processes as processes
from tests.liveavatar.tiny import tiny_profile
from tests.liveavatar.tpp_processes import Asked, Run

WANTED_GAIN, WANTED_BUSY, WANTED_ERROR = 1.9, 0.95, 0.1
ROUNDS, BLOCKS, PART_BLOCKS = 5, 150, 60
LONG_BLOCKS, LONG_GROWTH_BYTES = 2000, 4 << 20
KILLS, STARTS = 20, 5
Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def printed(words: str) -> None:
        with capsys.disabled():
            print(f"\n{words}", end="", flush=True)

    return printed


def timed(run: Run, folder: Path) -> Timeline:
    """One stream's timeline. A single process is forked too: nothing but the layout may differ."""
    path = folder / f"{time.monotonic_ns()}.jsonl"
    run = replace(run, streams=tuple(replace(asked, timeline=str(path)) for asked in run.streams))
    if run.layout.devices > 1:
        assert supervise(run.layout, processes.forked(run)).fault is None
    else:
        process = processes.CONTEXT.Process(target=run.take_part, args=(None, _nothing))
        process.start()
        process.join()
        assert process.exitcode == 0
    return read_timeline(path)


def _nothing(*args: object) -> None: ...


def stream(blocks: int, **options: object) -> Asked:
    return Asked(replace(nano().rollout, **options), seconds=blocks * 0.48)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------- two against one


def test_two_processes_against_one(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """Two steps, decoding left out, one thread each. Each round compares the pipeline with one process just before and just
    after it, since a shared machine is not as fast in one minute as in the next; medians of the rounds' ratios.

    Beside them two streams that have nothing to do with each other, one on each core: what two cores give at most, which
    share caches, memory and clock. A pipeline can lose to that what it waits and what its stages are unequal.
    """
    one, two = (Run(parse_layout(spec), (stream(BLOCKS, steps=2),), processes.nano_parts) for spec in ("0-1", "0|1"))
    gains, ceilings, busy = list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        before = summarise(timed(one, tmp_path))["fps_steady"]
        piped = summarise(timed(two, tmp_path))
        with ThreadPoolExecutor(2) as both:
            apart = sum(summarise(each)["fps_steady"] for each in both.map(lambda _: timed(one, tmp_path), range(2)))
        alone = (before + summarise(timed(one, tmp_path))["fps_steady"]) / 2
        gains.append(piped["fps_steady"] / alone)
        ceilings.append(apart / alone)
        busy.append(max(row["busy"] for row in piped["stages"]))
        work = ", ".join(f"{1000 * row['work_s']:.2f}" for row in piped["stages"])
        told = f"one process {alone:.1f} generation FPS, two {piped['fps_steady']:.1f}: {gains[-1]:.3f} times; "
        say(f"{told}two streams apart {ceilings[-1]:.3f} times; work, ms: {work}; busiest stage {busy[-1]:.1%}")
    gain, ceiling, busiest = (statistics.median(each) for each in (gains, ceilings, busy))
    benchmark.pedantic(timed, (two, tmp_path), rounds=1)
    benchmark.extra_info.update(gain=gain, ceiling=ceiling, busiest=busiest)
    say(f"medians: {gain:.3f} times, two streams apart {ceiling:.3f} times, busiest stage {busiest:.1%}")
    assert busiest >= WANTED_BUSY
    assert gain >= WANTED_GAIN


# -------------------------------------------------------------------------------------------------------------- simulator


def test_the_simulator_predicts_the_measured_pipelines(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """From times of the parts alone, measured with as many at work as there are cores; layouts of 1 to T+1 processes.

    Times are measured again before each round of pipelines, and the rounds' medians compared: a shared machine is not as
    fast in one minute as in the next.
    """
    cores, errors = os.cpu_count() or 1, dict[str, list[float]]()
    for _ in range(ROUNDS):
        found = measure(nano(), MeasureOptions(blocks=PART_BLOCKS, beside=cores))
        given = {name: found[name] for name in Times.__dataclass_fields__ if name in found}
        times = Times(**(given | {"t_dit": tuple(found["t_dit"])}))
        step, decode, voice, hand = statistics.fmean(found["t_dit"]), found["t_vae"], found["t_voice"], found["t_hand"]
        say(f"measured, ms: step {step * 1e3:.1f}, decode {decode * 1e3:.1f}, voice {voice * 1e3:.2f}, "
            f"hand {hand * 1e3:.2f}")  # fmt: skip
        for layout in [balanced(4, devices, times.t_dit, times.t_vae) for devices in range(1, 6)]:  # type: ignore[arg-type]
            asked = stream(PART_BLOCKS)
            predicted = simulate(layout, asked.options, times, Traffic(depth=2, cores=cores)).fps
            measured = summarise(timed(Run(layout, (asked,), processes.nano_parts), tmp_path))["fps_steady"]
            errors.setdefault(layout.spec, []).append(predicted / measured - 1)
            say(f"{layout.spec:14} predicted {predicted:6.2f}, measured {measured:6.2f} FPS: {errors[layout.spec][-1]:+.1%}")
    medians = {spec: statistics.median(each) for spec, each in errors.items() if len(each) > ROUNDS // 2}
    say("medians: " + ", ".join(f"{spec} {error:+.1%}" for spec, error in medians.items()))
    benchmark.pedantic(simulate, (balanced(4, 5), nano().rollout, times), rounds=1)
    benchmark.extra_info.update(errors=medians)
    assert max(map(abs, medians.values())) <= WANTED_ERROR


# --------------------------------------------------------------------------------------------------------------- constant


def note_memory(folder: Path, engine: Engine) -> None:
    """Each process writes down what it holds, as blocks pass."""
    process = psutil.Process()

    def noting() -> None:
        with (folder / f"rss{engine.place.role.rank}").open("w", buffering=1) as file:
            while True:
                file.write(f"{process.memory_info().rss}\n")
                time.sleep(0.1)

    threading.Thread(target=noting, daemon=True).start()


def test_nothing_grows_over_two_thousand_blocks(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """Memory of each process from a tenth of the stream on, and the size of every message; a tiny model."""
    layout = parse_layout("0-1|2-3|vae")
    run = Run(layout, (stream(LONG_BLOCKS),), prepare=partial(note_memory, tmp_path))
    timeline = benchmark.pedantic(timed, (run, tmp_path), rounds=1)
    assert len(timeline.ready) == LONG_BLOCKS
    for rank in range(layout.devices):
        held = [int(line) for line in (tmp_path / f"rss{rank}").read_text().splitlines()]
        early, late = max(held[len(held) // 10 : len(held) // 5]), max(held[-len(held) // 10 :])
        sizes = {event.more["bytes"] for event in timeline.of_kind("send") if event.rank == rank}
        say(f"rank {rank}: {early / 2**20:.1f} MiB early, {late / 2**20:.1f} MiB late; messages of {sorted(sizes)} bytes")
        assert late - early < LONG_GROWTH_BYTES
        assert len(sizes) == (1 if rank < layout.devices - 1 else 0)
    say(f"a latent block: {timeline.facts['message_bytes']['latents']['latents']} bytes")


# ----------------------------------------------------------------------------------------------------------------- faults


def test_twenty_kills_end_within_ten_seconds_each(benchmark: Any, tmp_path: Path, say: Say) -> None:
    def kill_all() -> list[float]:
        spent = []
        for kill in range(KILLS):
            folder = tmp_path / str(kill)
            folder.mkdir()
            spent.append(faults.kill_and_check(kill, folder))
        return spent

    spent = benchmark.pedantic(kill_all, rounds=1)
    say(f"from the blow to the end: median {statistics.median(spent):.2f} s, longest {max(spent):.2f} s")
    assert max(spent) < 10


# ----------------------------------------------------------------------------------------------- an earlier first frame


class Silence(WholeSound):
    """As much silence as the pipeline asks for, like a source that fills in while nobody speaks."""

    def __init__(self, blocks: int, piece: int) -> None:
        super().__init__(np.zeros(0, dtype=np.float32), piece)
        self.left = blocks

    def next(self, check: Any) -> Piece | None:
        check()
        self.left -= 1
        return Piece(np.zeros(self.piece_samples, dtype=np.float32), time.perf_counter()) if self.left >= 0 else None


def silence(asked: Asked, profile: ProfileConfig) -> Silence:
    return Silence(round(asked.seconds / 0.48), profile.block_frames * profile.samples_per_frame)


def watched(order: object) -> Paced:
    return Paced(Nobody(), tiny_profile())


def test_fewer_blocks_in_flight_answer_sooner(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """A viewer who plays, silence that fills in: a sound that then comes waits behind all blocks that were begun."""
    layout, found = parse_layout("0|1|2|3|vae"), {}
    for in_flight in (None, 6, 4, 3):
        asked = replace(stream(PART_BLOCKS), in_flight=in_flight)
        summary = summarise(timed(Run(layout, (asked,), source=silence, consumer=watched), tmp_path))
        found[in_flight] = summary["ttff_midstream"]["median_s"]
        say(f"in flight {in_flight or 'any'}: sound to frame median {found[in_flight]:.2f} s, "
            f"p95 {summary['ttff_midstream']['p95_s']:.2f} s, {summary['fps_steady']:.2f} generation FPS")  # fmt: skip
    benchmark.pedantic(_nothing, rounds=1)
    benchmark.extra_info.update(median_s={str(name): value for name, value in found.items()})
    assert found[3] < 0.5 * found[None]


def test_what_the_first_frames_wait_for(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """Five processes at nano's size: the first block's latency, and when its first ten blocks are there."""
    layout = parse_layout("0|1|2|3|vae")
    rows: dict[str, dict[str, object]] = {
        "as in Algorithm 4": {},
        "new sink in flight": {"aas_switch": "in_flight"},
        "short first block": {"first_block": "short"},
        "both": {"first_block": "short", "aas_switch": "in_flight"},
        "three evaluations": {"steps": 3, "grid": "release3"},
    }
    for name, options in rows.items():
        chosen = layout if options.get("steps") != 3 else parse_layout("0|1|2|vae")
        summaries, tenth = [], []
        for _ in range(3):
            timeline = timed(Run(chosen, (stream(24, **options),), processes.nano_parts), tmp_path)
            summaries.append(summarise(timeline))
            tenth.append(timeline.ready[9][0] - min(event.begin_s for event in timeline.spans("denoise", 0)))
        first = statistics.median(summary["latency_first_s"] for summary in summaries)
        waited = statistics.median(summary["second_warm_up_s"] for summary in summaries)
        say(f"{name:20} first block {first * 1000:6.0f} ms, second warm-up {waited * 1000:5.0f} ms, "
            f"ten blocks {statistics.median(tenth) * 1000:6.0f} ms")  # fmt: skip
    benchmark.pedantic(_nothing, rounds=1)


@pytest.mark.parametrize("warms_up", [False, True])
def test_networks_that_have_run_before_answer_sooner(benchmark: Any, warms_up: bool, tmp_path: Path, say: Say) -> None:
    """The first block of a new engine, whose networks have or have not worked before sound arrives."""
    layout, firsts = parse_layout("0|1|2|3|vae"), []
    for _ in range(STARTS):
        run = Run(layout, (stream(12),), processes.nano_parts, options=EngineOptions(warms_up=warms_up))
        firsts.append(summarise(timed(run, tmp_path))["latency_first_s"])
    benchmark.pedantic(_nothing, rounds=1)
    say(f"warmed up: {warms_up}; first block of a new engine {1000 * statistics.median(firsts):.0f} ms")
