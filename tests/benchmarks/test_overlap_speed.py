"""Does decoding beside denoising pay? The same voice through both, in turns, on the processors of this machine."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from liveavatar import pipeline

BLOCKS, ROUNDS = 20, 5


def seconds_per_block(loaded: pipeline.Pipeline, threads: int) -> float:
    torch.set_num_threads(threads)
    picture = np.full((loaded.config.height, loaded.config.width, 3), 110, np.uint8)
    session = loaded.open(picture, "a speaker", 0, "s")
    per_block = loaded.config.block_frames * loaded.config.samples_per_frame
    voice = np.random.default_rng(0).normal(0, 0.1, per_block * (BLOCKS + 4)).astype(np.float32)
    list(session.push(voice[: 4 * per_block]))
    begin = time.perf_counter()
    made = sum(1 for _ in session.push(voice[4 * per_block :]))
    return (time.perf_counter() - begin) / made


def test_overlap(benchmark: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """Least time of several rounds; overlapped with half the threads each, against all threads on one thing at a time."""
    threads = min(2, os.cpu_count() or 1)
    if threads < 2:
        pytest.skip("one processor: there is nothing to share")
    plain = pipeline.load("nano", weights="random")
    beside = pipeline.Pipeline(plain.components, plain.rollout_type, overlaps=True)
    before = torch.get_num_threads()
    try:
        times: dict[str, list[float]] = {"one thread": [], "two threads": [], "overlapped": []}
        for _ in range(ROUNDS):
            times["one thread"].append(seconds_per_block(plain, 1))
            times["two threads"].append(seconds_per_block(plain, 2))
            times["overlapped"].append(seconds_per_block(beside, 1))
        benchmark.pedantic(seconds_per_block, (beside, 1), rounds=1)  # type: ignore[attr-defined]
    finally:
        torch.set_num_threads(before)
    with capsys.disabled():
        for name, found in times.items():
            rate = plain.config.block_frames / min(found)
            print(f"\n{name:12} {1000 * min(found):6.1f} ms per block, {rate:6.1f} frames/s", end="")
        print(f"\noverlapped over two threads: {min(times['two threads']) / min(times['overlapped']):.2f}")
    assert min(times["overlapped"]) < min(times["two threads"])
