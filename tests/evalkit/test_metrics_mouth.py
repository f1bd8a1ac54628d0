"""Mouth correlation from given tracks; the readout itself is checked on rendered truth."""

from types import SimpleNamespace

import numpy as np
import pytest

from evalkit.metrics import Score, get_metric
from evalkit.metrics.mouth import best_lag, pearson


def opening(count: int = 200) -> np.ndarray:
    return (0.4 + 0.3 * np.sin(np.arange(count) / 3) * np.sin(np.arange(count) / 17)).astype(np.float32)


def sample(track: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(truth=lambda: SimpleNamespace(truth=SimpleNamespace(mouth_open=track)))


def score(read: np.ndarray, of: SimpleNamespace) -> Score:
    return get_metric("mouth_correlation").score({"mouth": {"opening": read}}, of)


def test_a_mouth_that_follows_with_less_swing_correlates_fully() -> None:
    result = score(0.1 + 0.5 * opening(), sample(opening()))
    assert result.value == pytest.approx(1, abs=1e-6)
    assert result.details["amplitude_ratio"] == pytest.approx(0.5, abs=1e-5)


def test_a_late_mouth_shows_its_lag() -> None:
    late = np.concatenate([opening()[:1].repeat(4), opening()[:-4]])
    result = score(late, sample(opening()))
    assert result.details["best_lag_frames"] == 4
    assert result.details["best_lag_correlation"] == pytest.approx(1, abs=1e-6)
    assert result.value < 0.99
    assert best_lag(opening(), opening()) == 0


def test_a_still_mouth_scores_zero() -> None:
    assert score(np.full(200, 0.3, np.float32), sample(opening())).value == 0
    assert pearson(np.ones(5), np.arange(5.0)) == 0


def test_frames_beyond_the_other_end_are_left_out() -> None:
    assert score(opening(212), sample(opening(200))).details["frames"] == 200


@pytest.mark.parametrize(
    ("of", "read", "reason"),
    [
        (SimpleNamespace(), opening(), "no_truth"),
        (SimpleNamespace(truth=lambda: None), opening(), "no_truth"),
        (sample(opening()), opening(10), "too_short"),
        (sample(np.zeros(200)), opening(), "mouth_never_opens_in_truth"),
    ],
)
def test_missing_has_a_reason(of: SimpleNamespace, read: np.ndarray, reason: str) -> None:
    result = score(read, of)
    assert (result.value, result.reason) == (None, reason)
