"""Sync arithmetic: golden embeddings, closed forms, and what the metrics report."""

import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evalkit.metrics import get_metric
from evalkit.metrics.sync import analyse
from evalkit.metrics.sync_distance import (
    VSHIFT,
    shift_distances,
    smooth_framewise,
    summarise,
    summarise_pair,
    window_count,
)

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[2].parent / "shared" / "golden")) / "metrics"
FILE = GOLDEN / "syncnet_distance.npz"
CASES = [
    "aligned",
    "audio_shift_minus4",
    "audio_shift_plus3",
    "identical",
    "short",
    "single_window",
    "unrelated",
    "vshift10",
]


@pytest.mark.skipif(not FILE.exists(), reason=f"no golden data in {GOLDEN}; set GOLDEN_DIR")
@pytest.mark.parametrize("case", CASES)
def test_numbers_match_the_reference(case: str) -> None:
    golden = {key.split("__")[1]: value for key, value in np.load(FILE).items() if key.startswith(f"{case}__")}
    distances = shift_distances(golden["video"], golden["audio"], int(golden["vshift"]))
    result = summarise(distances)
    assert result.offset_frames == int(golden["offset"])
    for key, value in {
        "dist": distances,
        "mean": result.mean_by_shift,
        "min_dist": result.distance,
        "confidence": result.confidence,
        "framewise": result.framewise,
        "framewise_medfilt9": smooth_framewise(result.framewise),
    }.items():
        np.testing.assert_allclose(value, golden[key], rtol=0, atol=1e-5, err_msg=key)


def random_embeddings(count: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 32)).astype(np.float32)


@pytest.mark.parametrize("late", [-VSHIFT + 1, -3, 0, 1, 5])
def test_matched_embeddings_read_the_shift_they_were_given(late: int) -> None:
    video = random_embeddings()
    result = summarise(shift_distances(video, np.roll(video, late, axis=0)))
    assert result.offset_frames == -late
    assert result.confidence > 5


def test_perfect_match_has_no_distance_but_the_epsilon() -> None:
    video = random_embeddings()
    result = summarise(shift_distances(video, video))
    assert result.distance == pytest.approx(np.sqrt(32) * 1e-6, rel=1e-6)
    assert result.distance_valid == pytest.approx(result.distance)


def test_a_common_rotation_changes_nothing() -> None:
    video, audio = random_embeddings(60, 1), random_embeddings(60, 2)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(32, 32)))[0]
    plain = summarise(shift_distances(video, audio))
    turned = summarise(shift_distances(video @ rotation, audio @ rotation))
    assert turned.distance == pytest.approx(plain.distance, abs=1e-5)
    assert turned.confidence == pytest.approx(plain.confidence, abs=1e-5)


def test_window_count_is_the_reference_rule() -> None:
    assert window_count(250, 250 * 640) == 245
    assert window_count(250, 200 * 640 + 639) == 195
    assert window_count(5, 10**6) == 0


def features(video: np.ndarray, audio: np.ndarray, has_audio: int = 1) -> dict[str, dict[str, np.ndarray]]:
    frames = len(video) + 5
    return {
        "syncnet": {
            "video": video,
            "audio": audio,
            "frames": np.array(frames),
            "samples": np.array(640 * frames),
            "has_audio": np.array(has_audio),
        }
    }


def test_metrics_agree_and_say_where_the_face_came_from() -> None:
    video = random_embeddings()
    arrays = features(video, np.roll(video, 5, axis=0))
    scores = {name: get_metric(name).score(arrays, SimpleNamespace()) for name in ("sync_c", "sync_d", "sync_offset")}
    assert scores["sync_offset"].value == -5
    assert scores["sync_offset"].details["offset_ms"] == -200
    assert scores["sync_c"].value > 5
    assert scores["sync_d"].value < 2
    assert scores["sync_c"].details["face_source"] == "manifest"
    times_s, values = scores["sync_c"].series["sync_confidence"]
    assert len(times_s) == len(values) == 16


def test_long_clips_are_also_scored_in_ten_second_spans() -> None:
    count = 4 * 250
    video = random_embeddings(count - 5)
    audio = video.copy()
    audio[500:] = np.roll(video, 2, axis=0)[500:]  # the voice falls behind in the second half
    analysis = analyse(video, audio)
    assert [span.offset_frames for span in analysis.spans] == [0, 0, -2, -2]
    assert analysis.span_times_s == [5, 15, 25, 35]
    assert np.mean([span.confidence for span in analysis.spans]) > analysis.whole.confidence
    score = get_metric("sync_offset").score(features(video, audio), SimpleNamespace())
    assert score.details["last_minus_first"] == -2
    assert score.series["sync_offset"][1] == [0, 0, -2, -2]


def test_a_span_is_scored_as_a_clip_of_its_own() -> None:
    video, audio = random_embeddings(745, 4), random_embeddings(745, 5)
    span = analyse(video, audio).spans[1]
    alone = summarise(shift_distances(video[250:495], audio[250:495]))
    assert (span.distance, span.confidence, span.offset_frames) == (
        alone.distance,
        alone.confidence,
        alone.offset_frames,
    )


def test_missing_is_not_zero() -> None:
    empty = np.zeros((0, 32), np.float32)
    for name in ("sync_c", "sync_d", "sync_offset"):
        short = get_metric(name).score(features(empty, empty), SimpleNamespace())
        assert (short.value, short.reason) == (None, "too_short")
        silent = get_metric(name).score(features(empty, empty, has_audio=0), SimpleNamespace())
        assert (silent.value, silent.reason) == (None, "no_audio")


def test_an_offset_at_the_end_of_the_search_is_no_offset() -> None:
    video = random_embeddings()
    score = get_metric("sync_offset").score(features(video, np.roll(video, VSHIFT, axis=0)), SimpleNamespace())
    assert (score.value, score.reason) == (None, "no_sync_found")


def test_a_stream_is_summarised_in_pieces_as_it_would_be_at_once() -> None:
    video, audio = random_embeddings(5000, 6), random_embeddings(5000, 7)
    whole, pieces = summarise(shift_distances(video, audio)), summarise_pair(video, audio)
    for name in ("distance", "confidence", "distance_valid", "confidence_valid"):
        assert getattr(pieces, name) == pytest.approx(getattr(whole, name), rel=1e-12), name
    assert pieces.offset_frames == whole.offset_frames
    np.testing.assert_allclose(pieces.framewise, whole.framewise, rtol=0, atol=1e-12)


def test_scoring_ten_thousand_seconds_takes_bounded_memory(tmp_path: Path) -> None:
    count = 250_000
    embeddings = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (count, 16))
    for start in range(0, count, 25_000):
        embeddings[start : start + 25_000] = np.random.default_rng(start).normal(size=(25_000, 16))
    tracemalloc.start()
    score = get_metric("sync_c").score(features(embeddings, embeddings), SimpleNamespace())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert score.details["windowed_spans"] == 1000
    assert peak < 40 << 20
