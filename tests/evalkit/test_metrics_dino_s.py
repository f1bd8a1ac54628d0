"""Dino-S: golden cosines, aspect and drift."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evalkit.metrics import get_metric
from evalkit.metrics.dino_s import cosine_tracks
from evalkit.metrics.drift import last_minus_first, slope_per_minute
from evalkit.metrics.image_features import crop_to_aspect

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[2].parent / "shared" / "golden")) / "metrics"
FILE = GOLDEN / "dino.npz"


@pytest.mark.skipif(not FILE.exists(), reason=f"no golden data in {GOLDEN}; set GOLDEN_DIR")
def test_cosines_match_the_reference() -> None:
    golden = np.load(FILE)
    tracks = cosine_tracks(golden["reference"], golden["frames"])
    for name in ("cos_reference", "cos_first", "cos_previous"):
        np.testing.assert_allclose(tracks[name], golden[name], rtol=0, atol=1e-6)


def score(frames: np.ndarray, reference: np.ndarray):
    arrays = {"image": {"frames": frames, "reference": reference, "times_s": np.arange(len(frames)) / 5}}
    return get_metric("dino_s").score(arrays, SimpleNamespace())


def test_the_portrait_itself_scores_one() -> None:
    vector = np.random.default_rng(0).normal(size=16).astype(np.float32)
    assert score(np.repeat(vector[None], 10, 0), vector).value == pytest.approx(1)


def test_a_face_that_drifts_away_shows_a_negative_slope() -> None:
    angle = np.linspace(0, 1, 600)
    frames = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    result = score(frames, np.array([1, 0], np.float32))
    assert result.value == pytest.approx(np.cos(angle).mean(), abs=1e-5)
    assert result.details["slope_per_minute"] < -0.1
    assert result.details["last_minus_first"] < -0.3
    assert result.details["cos_previous"] > 0.999
    assert len(result.series["dino_s"][0]) == 600


def test_no_pictures_is_missing() -> None:
    assert score(np.zeros((0, 4), np.float32), np.ones(4, np.float32)).reason == "too_short"


def test_drift_of_a_straight_line_is_its_slope() -> None:
    times_s = np.arange(0, 120, 0.2)
    assert slope_per_minute(times_s, 1 - times_s / 600) == pytest.approx(-0.1)
    assert last_minus_first(times_s, 1 - times_s / 600) == pytest.approx(-110 / 600, abs=1e-3)
    assert slope_per_minute(times_s[:1], times_s[:1]) is None
    assert last_minus_first(times_s[:50], times_s[:50]) is None


@pytest.mark.parametrize(("height", "width", "aspect"), [(512, 384, 0.75), (300, 500, 0.75), (500, 300, 1.0)])
def test_the_portrait_is_cut_to_the_video_format(height: int, width: int, aspect: float) -> None:
    cut = crop_to_aspect(np.zeros((height, width, 3), np.uint8), aspect)
    assert cut.shape[1] / cut.shape[0] == pytest.approx(aspect, abs=0.01)
    assert cut.shape[0] == height or cut.shape[1] == width
