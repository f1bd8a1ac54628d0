"""Lip closure from given tracks; that rendered truth closes its lips is checked in test_metrics_truth.py."""

from types import SimpleNamespace

import numpy as np
import pytest

from evalkit.metrics import Score, get_metric

# Lips meet in frames 10, 20, 30 and 40; "a" and the pause do not count.
SOUNDS = [("p", 0.41, 0.43), ("a", 0.5, 0.7), ("b", 0.81, 0.83), ("m", 1.21, 1.23), ("_", 1.3, 1.5), ("p", 1.61, 1.63)]


def sample(sounds: list[tuple[str, float, float]] = SOUNDS) -> SimpleNamespace:
    return SimpleNamespace(truth=lambda: SimpleNamespace(phonemes=sounds))


def score(shut_frames: list[int], of: SimpleNamespace) -> Score:
    opening = np.full(100, 0.6, np.float32)
    opening[shut_frames] = 0.05
    return get_metric("lip_closure").score({"mouth": {"opening": opening}}, of)


def test_the_share_of_closed_sounds_is_counted() -> None:
    assert score([10, 20, 30, 40], sample()).value == 1
    assert score([10, 30], sample()).value == 0.5
    assert score([], sample()).value == 0


def test_a_frame_beside_the_sound_counts_and_one_further_does_not() -> None:
    assert score([9, 21], sample()).value == 0.5
    assert score([8, 22, 15], sample()).value == 0


def test_sounds_after_the_end_of_the_video_are_left_out() -> None:
    late = [("m", 3.97, 3.99), ("m", 10.0, 10.1)]
    result = score([10, 20, 30, 40], sample(SOUNDS + late))
    assert (result.value, result.details["sounds"]) == (1, 4)


@pytest.mark.parametrize(("of", "reason"), [(SimpleNamespace(), "no_truth"), (sample(SOUNDS[:3]), "too_few_sounds")])
def test_missing_has_a_reason(of: SimpleNamespace, reason: str) -> None:
    assert (score([10], of).value, score([10], of).reason) == (None, reason)
