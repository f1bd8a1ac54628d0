"""Angles far into a stream, against float64 truth: 7,200 s, where the release's table ends, 10,000 s, and a day."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from liveavatar.config import RolloutOptions, s2v_14b
from liveavatar.model.positions import TokenGrid
from liveavatar.model.rope import BASE, axis_slots, half_precision
from liveavatar.streaming.rollout import REBASE_BLOCKS, Rollout
from tests.liveavatar.tiny import tiny_model, tiny_profile

CONFIG = replace(s2v_14b().transformer, dim=256, num_heads=2)  # the official head: 128 channels, 22 slots of them for time
GRID = TokenGrid(CONFIG, 4, 4)
BLOCKS_PER_SECOND = 25 / 12
STREAM_TIMES_S = (7_200, 10_000, 86_400)


def true_factors(frame: float) -> Tensor:
    """Factors of the token at row 0, column 0 at a latent frame: complex128."""
    slots = axis_slots(CONFIG.head_dim)[0]
    angles = torch.zeros(CONFIG.head_dim // 2, dtype=torch.float64)
    angles[:slots] = frame * BASE ** (-torch.arange(slots, dtype=torch.float64) / slots)
    return torch.polar(torch.ones_like(angles), angles)


def angle_error(given: Tensor, truth: Tensor) -> float:
    """Largest difference of the angles of unit factors, in radians."""
    return float((given.to(torch.complex128) * truth.conj()).angle().abs().max())


@pytest.mark.parametrize("seconds", STREAM_TIMES_S)
def test_tables_are_float64_truth_however_late(seconds: int) -> None:
    frame = int(seconds * BLOCKS_PER_SECOND) * 3
    assert seconds < 7_300 or frame > 45_000  # beyond the release's table
    table = GRID.frames(torch.tensor([frame]))[0]
    assert angle_error(table, true_factors(frame)) < 2e-7


def test_angles_in_float32_and_rounded_factors_are_worse() -> None:
    """What exact angles save: at 10,000 s float32 angles are off by a milliradian and more, float16 factors by 0.2."""
    frame = int(10_000 * BLOCKS_PER_SECOND) * 3
    truth, slots = true_factors(frame), axis_slots(CONFIG.head_dim)[0]
    frequencies = torch.tensor(BASE) ** (-torch.arange(slots, dtype=torch.float32) / slots)
    single = torch.polar(torch.ones(slots), frame * frequencies)
    assert angle_error(single, truth[:slots]) > 1e-3
    rounded = half_precision(GRID.frames(torch.tensor([frame]))[0])
    assert 1e-4 < angle_error(rounded, truth) < 1e-3


@torch.no_grad()
@pytest.mark.parametrize("seconds", STREAM_TIMES_S)
@pytest.mark.parametrize("positions", ["bounded", "absolute"])
def test_what_caches_hold_is_the_key_at_its_true_angle(seconds: int, positions: str) -> None:
    """Through the code that streams: every slot of the ring and the sink, also when time starts anew inside the window."""
    profile = tiny_profile()
    model = tiny_model(profile)
    options = RolloutOptions(steps=1, aas=False, positions=positions)
    text = model.encode_text(torch.zeros(1, 1, profile.transformer.text_dim))
    rollout = Rollout(model, options, text, torch.ones(1, 16, 1, 4, 4), 3)
    cache, first = rollout.caches[0], int(seconds * BLOCKS_PER_SECOND) // REBASE_BLOCKS * REBASE_BLOCKS - 2
    first = max(first, int(seconds * BLOCKS_PER_SECOND)) if seconds == 10_000 else first
    keys = torch.randn(1, 2, cache.block_tokens, 16, generator=torch.Generator().manual_seed(0))
    for block in range(first, first + 4):
        cache.rebase(rollout._origin(block))
        cache.write(0, block, keys, keys, rollout._table(block, keys.device))
        rollout.sink.place(cache, block, 0)
    grid, held = rollout.grid, cache.read(0, first + 3)[0]
    assert cache.origin == (0 if positions == "absolute" else (first + 3) // REBASE_BLOCKS * REBASE_BLOCKS * 3)
    expected = [double_rotated(rollout.sink.keys[0], grid, [rollout.sink.position(first + 3)], cache.origin)]
    for block in cache.blocks_in_slot_order(first + 3):
        expected.append(double_rotated(keys, grid, [3 * block, 3 * block + 1, 3 * block + 2], cache.origin))
    torch.testing.assert_close(held.double(), torch.cat(expected, dim=2), atol=3e-6, rtol=0)


def double_rotated(keys: Tensor, grid: TokenGrid, frames: list[int], origin: int) -> Tensor:
    """Keys at latent frames of a time line that starts at `origin`, all in float64."""
    slots = axis_slots(grid.config.head_dim)
    places = [(frame - origin, row, column) for frame in frames for row in range(2) for column in range(2)]
    angles = torch.tensor(places, dtype=torch.float64)
    parts = [
        angles[:, axis, None] * BASE ** (-torch.arange(count, dtype=torch.float64) / count)
        for axis, count in enumerate(slots)
    ]
    angle = torch.cat(parts, dim=1)
    pairs = torch.view_as_complex(keys.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)
