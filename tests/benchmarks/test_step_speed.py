"""The steady-state block step against the form written for reading: both in one run, block by block in turns, ratio printed.

Processor time, so that other programs on the machine do not count: for every part of a block (preparation, each step) the
least of many repeats, summed; beside it the median over pairs of blocks that ran one after the other. Run it with
`tox -e benchmarks -- tests/benchmarks/test_step_speed.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from operator import truediv
from typing import Any

import pytest
import torch
from torch import Tensor

from liveavatar.model.audio import Voice
from tests.liveavatar.plain_cases import CASES, case
from tests.liveavatar.plain_stream import PlainStream

WARM_BLOCKS = 5  # after these the window is full and the sink is switched: every later block costs the same
REPEATS = {"nano": 100, "golden": 200}
WANTED = 1.5


class LeastTimes:
    """Least processor time in milliseconds of each part of a block, over all blocks since the last `forget`."""

    def __init__(self, denoise: Callable[[Tensor, Voice], Tensor], owner: Any) -> None:
        """owner: whose `velocity` the stream calls; what a block does outside it counts as one more part."""
        self._denoise, self._velocity = denoise, owner.velocity
        owner.velocity = self._timed_velocity
        self.forget()

    def forget(self) -> None:
        self.least: dict[int, float] = {}
        self.blocks: list[float] = []  # seconds of each block

    def block(self, noise: Tensor, voice: Voice) -> None:
        self._steps: list[float] = []
        begin = time.process_time()
        self._denoise(noise, voice)
        whole = time.process_time() - begin
        self.blocks.append(whole)
        for part, spent in enumerate([*self._steps, whole - sum(self._steps)]):
            self.least[part] = min(self.least.get(part, float("inf")), 1000 * spent)

    def _timed_velocity(self, *args: Any) -> Tensor:
        begin = time.process_time()
        result = self._velocity(*args)
        self._steps.append(time.process_time() - begin)
        return result

    @property
    def block_ms(self) -> float:
        return sum(self.least.values())


@pytest.mark.parametrize("name", CASES)
def test_block_step_beside_the_plain_form(benchmark: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        c = case(name)
        noise, voice = c.noise(0), c.voice(0)
        rollout, stream = c.rollout(c.prepared), PlainStream(c.rollout(c.model), c.text_rows)
        fast, plain = LeastTimes(rollout.denoise, rollout), LeastTimes(stream.denoise, stream)
        for repeats in (WARM_BLOCKS, REPEATS[name]):
            fast.forget()
            plain.forget()
            for _ in range(repeats):
                plain.block(noise, voice)
                fast.block(noise, voice)
        benchmark.pedantic(fast.block, (noise, voice), rounds=3)
    plain_ms, fast_ms = (form.block_ms / c.options.steps for form in (plain, fast))
    ratio, of_pairs = plain_ms / fast_ms, statistics.median(map(truediv, plain.blocks, fast.blocks))
    figures = {"plain_cpu_ms": plain_ms, "fast_cpu_ms": fast_ms, "ratio": ratio, "ratio_of_pairs": of_pairs}
    benchmark.extra_info.update({figure: round(value, 3) for figure, value in figures.items()})
    with capsys.disabled():
        print(
            f"\n{name}: plain {plain_ms:.2f} ms, fast {fast_ms:.2f} ms per block and step: {ratio:.2f} times as fast "
            f"(median over pairs of blocks {of_pairs:.2f})"
        )
    assert ratio >= WANTED
