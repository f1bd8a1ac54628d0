"""The steady-state block step against the form written for reading: both in one run, turn by turn, ratio printed.

Processor time, so that other programs on the machine do not count; of many repeats the fastest, one thread. Run it with
`tox -e benchmarks -- tests/benchmarks/test_step_speed.py -s`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.liveavatar.plain_cases import CASES, case

WARM_BLOCKS = 5  # after these the window is full and the sink is switched: every later block costs the same
REPEATS = {"nano": 20, "golden": 60}
WANTED = 1.5


def fastest_ms(forms: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Least processor time of each form in milliseconds, the forms taking turns."""
    best = dict.fromkeys(forms, float("inf"))
    for _ in range(repeats):
        for name, form in forms.items():
            begin = time.process_time()
            form()
            best[name] = min(best[name], 1000 * (time.process_time() - begin))
    return best


@pytest.mark.parametrize("name", CASES)
def test_block_step_beside_the_plain_form(benchmark: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        c = case(name)
        noise, voice = c.noise(0), c.voice(0)
        streams = {"plain": c.plain(), "fast": c.fast()}
        for stream in streams.values():
            for _ in range(WARM_BLOCKS):
                stream(noise, voice)
        forms = {form: (lambda stream=stream: stream(noise, voice)) for form, stream in streams.items()}
        best = fastest_ms(forms, REPEATS[name])
        benchmark.pedantic(forms["fast"], rounds=3)
    ratio = best["plain"] / best["fast"]
    benchmark.extra_info.update({f"{form}_cpu_ms": round(value, 3) for form, value in best.items()}, ratio=round(ratio, 3))
    with capsys.disabled():
        print(f"\n{name}: plain {best['plain']:.2f} ms, fast {best['fast']:.2f} ms per block, {ratio:.2f} times as fast")
    assert ratio >= WANTED
