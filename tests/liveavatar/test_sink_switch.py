"""The sink changes while blocks are in flight: a pipeline with one step per device never waits and computes the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from liveavatar.config import RolloutOptions
from liveavatar.streaming.rollout import Rollout
from liveavatar.streaming.sink import PREFILL_TICKS, switch_block
from tests.liveavatar.test_streaming import BLOCK, MODEL, random, rollout, run, text, voices

IN_FLIGHT = RolloutOptions(aas_switch="in_flight")


def test_the_last_step_takes_the_new_sink_first_and_the_first_step_last() -> None:
    assert [switch_block(IN_FLIGHT, step) for step in range(4)] == [5, 4, 3, 2]
    assert [switch_block(RolloutOptions(), step) for step in range(4)] == [1, 1, 1, 1]
    later = replace(IN_FLIGHT, aas_after_blocks=4)
    assert [switch_block(later, step) for step in range(4)] == [5, 4, 4, 4]


def evaluations(blocks: int, steps: int) -> Iterator[tuple[int, int, int]]:
    """(tick, block, step) of a pipeline with one step per device."""
    for tick in range(blocks + steps - 1):
        for step in range(steps):
            if 0 <= tick - step < blocks:
                yield tick, tick - step, step


def test_in_flight_no_evaluation_needs_a_sink_that_is_not_there_yet() -> None:
    """Block 0 is finished when tick 4 begins and its prefill when tick 5 does: from then on, and at once, it is used."""
    for tick, block, step in evaluations(20, 4):
        assert (block >= switch_block(IN_FLIGHT, step)) == (tick >= 4 + PREFILL_TICKS)


@torch.no_grad()
def test_in_flight_streams_differ_only_where_the_old_sink_is_still_in_use() -> None:
    kept, switched = run(8, aas=False), run(8, aas_switch="in_flight")
    same = [torch.allclose(one, other, atol=1e-5) for one, other in zip(kept, switched, strict=True)]
    assert same == [True, True] + [False] * 6


@torch.no_grad()
def test_a_pipeline_with_late_sinks_computes_what_the_sequential_stream_does() -> None:
    """Steps run in pipeline order, each on a device of its own; the sink arrives when block 0 and a prefill are done."""
    blocks, steps = 9, 4
    sequential = torch.cat(run(blocks, aas_switch="in_flight"))
    devices = [rollout(aas=False, aas_switch="in_flight") for _ in range(steps)]
    prepared = [MODEL.audio_injector.prepare(voice) for voice in voices(blocks)]
    x: dict[int, Tensor] = {block: random(*BLOCK, seed=100 + block) for block in range(blocks)}
    arrived = False
    for tick, block, step in evaluations(blocks, steps):
        if tick == steps + PREFILL_TICKS and not arrived:
            arrived = True
            made = devices[0].sink.prefill(MODEL, x[0][:, :, :1], text())  # once, for all devices
            for device in devices:
                device.sink.use(made, from_block=lambda of: switch_block(IN_FLIGHT, of))
        device = devices[step]
        device.next_block = block
        level, next_level = device.levels[step : step + 2]
        x[block] = x[block] + (next_level - level) * device.velocity(x[block], step, prepared[block])
    torch.testing.assert_close(torch.cat([x[block] for block in range(blocks)]), sequential, atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("switch", ["block", "in_flight"])
def test_two_sinks_are_held_only_while_steps_disagree(switch: str) -> None:
    stream, sizes = rollout(aas_switch=switch), []
    for block, voice in enumerate(voices(8)):
        stream.denoise(random(*BLOCK, seed=block), voice)
        sizes.append(stream.sink.nbytes)
    one = stream.sink.keys.nbytes + stream.sink.values.nbytes
    assert sizes == [one] * 8 if switch == "block" else [one, one, 2 * one, 2 * one, 2 * one, one, one, one]


@torch.no_grad()
def test_another_picture_takes_over_at_the_block_that_was_named() -> None:
    picture = random(1, 16, 1, 4, 4, seed=9)
    results = []
    for named in (None, 3):
        stream, made = rollout(aas=False), []
        for block, voice in enumerate(voices(5)):
            if block == 1 and named is not None:
                stream.set_sink(picture, from_block=named)
            made.append(stream.denoise(random(*BLOCK, seed=block), voice))
        results.append(made)
    assert [torch.equal(one, other) for one, other in zip(*results, strict=True)] == [True, True, True, False, False]


@torch.no_grad()
def test_the_first_block_does_not_wait_for_the_next_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    stream: Rollout = rollout()
    calls: list[str] = []
    prefill, step = type(MODEL).prefill, type(MODEL).step
    monkeypatch.setattr(type(MODEL), "prefill", lambda *args: (calls.append("prefill"), prefill(*args))[1])
    monkeypatch.setattr(type(MODEL), "step", lambda *args: (calls.append("step"), step(*args))[1])
    for block, voice in enumerate(voices(2)):
        stream.denoise(random(*BLOCK, seed=block), voice)
    assert calls == ["step"] * 4 + ["prefill"] + ["step"] * 4
