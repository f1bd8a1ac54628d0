"""A pipeline of processes gives what one process gives, block for block and bit for bit, whatever its layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from liveavatar.config import nano
from liveavatar.tpp.launch import supervise
from liveavatar.tpp.layout import balanced
from tests.liveavatar import tpp_processes as processes
from tests.liveavatar.tpp_processes import Asked, Run

BLOCK_S = 0.48
LAYOUTS = [balanced(4, devices) for devices in range(1, 6)]


def run_pipeline(run: Run, folder: Path) -> list[dict[str, torch.Tensor]]:
    """Every stream as the last stage's consumer got it."""
    run = processes.with_path(run, folder)
    if run.layout.devices == 1:
        run.take_part(None, lambda fault, claimed: None)
    else:
        outcome = supervise(run.layout, processes.forked(run))
        assert outcome.fault is None, outcome.fault
    return [processes.kept(Path(asked.path or "")) for asked in run.streams]


def assert_same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Latents and frames of every block to the bit."""
    for name in expected:
        assert torch.equal(ours[name], expected[name]), name
    assert {name for name in ours if not name.startswith("samples")} == set(expected)


TINY = Asked(replace(nano().rollout, aas=True, rolling_rope=True), seconds=33.5 * BLOCK_S)


@pytest.fixture(scope="module")
def tiny_truth() -> dict[str, torch.Tensor]:
    return processes.sequential(Run(LAYOUTS[0], (TINY,)))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.spec)
def test_every_layout_gives_the_single_process_stream(
    layout: object, tiny_truth: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Over 34 blocks, the last one cut short, with AAS and Rolling RoPE."""
    assert len([name for name in tiny_truth if name.startswith("latents")]) == 34
    (ours,) = run_pipeline(Run(layout, (TINY,)), tmp_path)  # type: ignore[arg-type]
    assert_same(ours, tiny_truth)
