"""Detail and change: closed forms on arrays whose sharpness, colour and steps are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from evalkit.metrics import get_metric
from evalkit.metrics.extract import extract_arrays

SIZE = (64, 48)


def score(name: str, frames: np.ndarray):
    arrays = extract_arrays(frames, 25.0, None, SimpleNamespace(), ["pixels"])
    return get_metric(name).score(arrays, None)


def ramp(slope: float, level: float = 100.0) -> np.ndarray:
    """A picture whose brightness rises by `slope` grey levels per pixel downwards."""
    rows = level + slope * (np.arange(SIZE[0]) - SIZE[0] / 2)
    return np.broadcast_to(rows[:, None, None], (*SIZE, 3)).round().astype(np.uint8)


def test_sharpness_is_the_slope_of_a_ramp() -> None:
    for slope in (1, 3):
        assert score("sharpness", np.stack([ramp(slope)] * 3)).value == pytest.approx(slope, rel=1e-3)


def test_sharpness_drift_compares_the_last_five_seconds_with_the_first() -> None:
    frames = np.stack([ramp(2)] * 130 + [ramp(3)] * 130)
    assert score("sharpness_drift", frames).value == pytest.approx(50, rel=1e-3)
    assert score("sharpness_drift", frames[::-1].copy()).value == pytest.approx(-100 / 3, rel=1e-3)
    assert score("sharpness_drift", frames[:249]).reason == "too_short"
    assert score("sharpness_drift", np.full((250, *SIZE, 3), 90, np.uint8)).reason == "plain_picture"


def test_colour_shift_is_that_of_the_worst_channel() -> None:
    before, after = np.full((125, *SIZE, 3), 100, np.uint8), np.full((125, *SIZE, 3), 100, np.uint8)
    after[..., 0] += 2
    after[..., 2] -= 7
    found = score("colour_shift", np.concatenate([before, after]))
    assert found.value == pytest.approx(7, abs=1e-3)
    assert found.details["channels"] == pytest.approx([2, 0, -7], abs=1e-3)


def test_frame_change_of_a_blinking_picture_is_its_step() -> None:
    frames = np.stack([np.full((*SIZE, 3), 100 + 6 * (index % 2), np.uint8) for index in range(20)])
    assert score("frame_change", frames).value == pytest.approx(6, rel=1e-3)
    assert score("frame_change", frames[::2]).value == 0


@pytest.mark.parametrize("jump", [1, 3])
def test_a_jump_where_blocks_meet_is_seen_as_that_many_times_the_change_inside(jump: int) -> None:
    steps = np.where(np.arange(60) % 12 == 0, jump, 1) * np.where(np.arange(60) % 2, 2, -2)
    steps[0] = 0
    levels = 100 + np.cumsum(steps)
    frames = np.broadcast_to(levels[:, None, None, None], (60, *SIZE, 3)).astype(np.uint8)
    assert score("border_change", frames).value == pytest.approx(jump, rel=1e-3)


def test_a_still_picture_has_no_border_to_speak_of() -> None:
    assert score("border_change", np.stack([ramp(1)] * 30)).reason == "no_motion"
