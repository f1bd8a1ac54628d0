"""Do the metrics measure what they say? Known changes of truth videos, in order and with a least effect.

Six rendered characters of all styles that no training saw. Every limit below is a stated sensitivity: the least
effect that a change of the given degree must have on the mean over these clips.
"""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from evalkit.metrics import get_extractor, get_metric
from evalkit.metrics.extract import extract_arrays
from evalkit.metrics.sync_distance import summarise_pair
from evalkit.metrics.sync_features import SoundEmbeddings
from evalkit.metrics.syncnet import SyncNet, nano_syncnet
from evalkit.metrics.weights import load_nano
from tests.evalkit.known_changes import SEED, Ladder, Truth, render

pytest.importorskip("espeakng_loader", reason="speech needs: pip install 'live-avatar[speech]'")

DELAYS = range(-10, 11)


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> list[Truth]:
    return render(tmp_path_factory.mktemp("truths"))


@pytest.fixture(scope="module")
def ladder(truths: list[Truth]) -> Ladder:
    return Ladder(truths)


def falls(values: list[float], least_step: float, least_total: float) -> None:
    """Strictly down, every step by so much, and so much in all."""
    steps = [before - after for before, after in pairwise(values)]
    assert min(steps) >= least_step, values
    assert values[0] - values[-1] >= least_total, values


@pytest.mark.parametrize(
    ("change", "least_step", "least_total"), [("blur", 0.2, 2.2), ("noise", 0.3, 2.2), ("blocks", 0.35, 2.3)]
)
def test_iqa_falls_with_damage(ladder: Ladder, change: str, least_step: float, least_total: float) -> None:
    falls(ladder.clip_scores("iqa", change), least_step, least_total)


@pytest.mark.parametrize(
    ("change", "least_step", "least_total"),
    [("exposure", 0.5, 2.2), ("colour", 0.2, 2.0), ("saturation", 0.2, 2.0), ("framing", 0.01, 1.7)],
)
def test_ase_falls_with_bad_taste(ladder: Ladder, change: str, least_step: float, least_total: float) -> None:
    falls(ladder.clip_scores("ase", change), least_step, least_total)


def test_each_rating_leaves_the_others_matters_alone(ladder: Ladder) -> None:
    """Blur is no matter of taste; a cast is no damage. A quarter of the own effect is allowed."""
    for own, other, change in (("iqa", "ase", "blur"), ("iqa", "ase", "blocks"), ("ase", "iqa", "colour")):
        effect = ladder.clip_scores(own, change)[0] - ladder.clip_scores(own, change)[2]
        leak = ladder.clip_scores(other, change)[0] - ladder.clip_scores(other, change)[2]
        assert leak < 0.25 * effect, (own, change, leak, effect)


@pytest.mark.parametrize(("change", "least_total"), [("blur", 0.3), ("noise", 0.2), ("colour", 0.2), ("exposure", 0.2)])
def test_dino_s_falls_with_likeness(ladder: Ladder, change: str, least_total: float) -> None:
    falls(ladder.clip_scores("dino_s", change), 0.0, least_total)


def test_another_identity_is_not_the_same(truths: list[Truth]) -> None:
    metric = get_metric("dino_s")
    for truth, other in zip(truths, truths[1:] + truths[:1], strict=True):
        own = extract_arrays(truth.frames, 25.0, None, truth.sample, metric.extractors)
        swapped = extract_arrays(truth.frames, 25.0, None, other.sample, metric.extractors)
        assert metric.score(own, None).value > metric.score(swapped, None).value + 0.3


def test_identity_drift_is_the_slope_of_a_slow_change(truths: list[Truth]) -> None:
    """A character that turns into another over the clip loses likeness; one that stays does not."""
    metric = get_metric("identity_drift")
    slopes, stays = [], []
    for truth, other in zip(truths, truths[1:] + truths[:1], strict=True):
        count = min(len(truth.frames), len(other.frames))
        share = np.linspace(0, 1, count)[:, None, None, None]
        mixed = ((1 - share) * truth.frames[:count] + share * other.frames[:count]).astype(np.uint8)
        for frames, out in ((mixed, slopes), (truth.frames, stays)):
            arrays = extract_arrays(frames, 25.0, None, truth.sample, metric.extractors)
            out.append(metric.score(arrays, None).value)
    assert max(slopes) < -5
    assert abs(np.mean(stays)) < 0.5


@pytest.mark.parametrize("change", ["blur", "noise", "colour", "saturation"])
def test_fid_and_kid_rise_with_every_change_of_looks(ladder: Ladder, change: str) -> None:
    for metric in ("fid", "kid"):
        slight, middle, strong = ladder.distances(metric, change)
        assert slight > (0 if metric == "fid" else -0.05)  # without bias, a kernel distance may lie below 0
        assert middle > 2 * slight
        assert strong > 1.5 * middle


@pytest.mark.parametrize("change", ["frozen", "shuffled", "shaken", "flashing", "blur", "noise", "colour"])
def test_fvd_rises_with_every_change_of_motion_and_looks(ladder: Ladder, change: str) -> None:
    slight, middle, strong = ladder.distances("fvd", change)
    assert 0 < slight < middle < strong
    assert strong > 2 * slight


def test_other_people_are_farther_than_other_moments(truths: list[Truth], tmp_path_factory: pytest.TempPathFactory) -> None:
    others = Ladder(render(tmp_path_factory.mktemp("others"), SEED + 1))
    own = Ladder(truths)
    metric = get_metric("fid")
    early, late = (
        {
            str(index): extract_arrays(truth.frames[part], 25.0, None, truth.sample, metric.extractors)
            for index, truth in enumerate(truths)
        }
        for part in (slice(0, 36), slice(36, 72))
    )
    moments = metric.score(late, early).value
    people = metric.score(others.features(metric.extractors, None, 0.0), own.features(metric.extractors, None, 0.0)).value
    assert people > 5 * moments


def test_nano_sync_offset_finds_every_delay_within_one_frame(truths: list[Truth]) -> None:
    network = load_nano("syncnet", SyncNet(nano_syncnet()))
    wrong = []
    for number, truth in enumerate(truths):
        video = extract_arrays(truth.frames, 25.0, truth.sound, truth.sample, ["syncnet"])["syncnet"]["video"]
        for late in DELAYS:
            silence = np.zeros(abs(late) * 640, np.float32)
            moved = np.concatenate([silence, truth.sound] if late >= 0 else [truth.sound[-late * 640 :], silence])
            heard = SoundEmbeddings(network, has_audio=True)
            heard.push(moved[: len(truth.sound)])
            found = summarise_pair(video, heard.finish()[0][: len(video)]).offset_frames
            if abs(found + late) > 1:
                wrong.append((number, late, found))
    assert wrong == []


def test_sync_falls_as_more_of_the_voice_is_anothers(truths: list[Truth]) -> None:
    """Down to chance, which two thirds of another's voice reach: a wholly foreign one reads the same."""
    means = {"sync_c": [], "sync_d": []}
    for share in (0.0, 0.34, 0.67, 1.0):
        values: dict[str, list[float]] = {name: [] for name in means}
        for truth, other in zip(truths, truths[3:] + truths[:3], strict=True):
            voice = truth.sound.copy()
            begin = round(len(voice) * (1 - share))
            voice[begin:] = np.resize(other.sound, len(voice))[begin:]
            arrays = extract_arrays(truth.frames, 25.0, voice, truth.sample, ["syncnet"])
            for name, found in values.items():
                found.append(get_metric(name).score(arrays, truth.sample).value)
        for name, found in values.items():
            means[name].append(float(np.mean(found)))
    for values in (means["sync_c"], [-value for value in means["sync_d"]]):
        falls(values[:3], 1.2, 4.0)
        assert abs(values[3] - values[2]) < 0.5


def test_a_mouth_that_stands_still_does_not_follow_the_truth(ladder: Ladder) -> None:
    falls(ladder.clip_scores("mouth_correlation", "frozen"), 0.02, 0.4)
    falls(ladder.clip_scores("mouth_correlation", "shuffled"), 0.02, 0.4)


def test_motion_knows_still_slow_and_lively(ladder: Ladder, truths: list[Truth]) -> None:
    speeds = ladder.clip_scores("motion", "slow")
    falls(speeds, 0.15, 0.7)
    assert 0.25 < speeds[-1] / speeds[0] < 0.45  # a third of the speed
    still = np.repeat(truths[0].frames[:1], 50, 0)
    arrays = extract_arrays(still, 25.0, None, SimpleNamespace(), ["pixels"])
    score = get_metric("motion").score(arrays, None)
    assert (score.value, score.details["still_share"]) == (0, 1)


def test_jerk_and_flicker_rise_with_what_they_are_named_after(ladder: Ladder) -> None:
    falls([-value for value in ladder.clip_scores("jerk", "shuffled")], 0.02, 0.5)
    falls([-value for value in ladder.clip_scores("flicker", "flashing")], 5.0, 20.0)


def scene(offsets: np.ndarray, height: int = 128, width: int = 96) -> np.ndarray:
    """A smooth pattern moved sideways by so many pixels."""
    x = np.arange(width)[None, None] - offsets[:, None, None]
    y = np.arange(height)[None, :, None]
    wave = 128 + 50 * np.sin(x / 6) + 0 * y
    return np.repeat(wave.round().astype(np.uint8)[..., None], 3, -1)


def test_motion_of_a_moved_pattern_is_its_speed() -> None:
    for pixels_per_picture in (0.5, 1.0):
        frames = scene(np.arange(60) * pixels_per_picture)
        arrays = extract_arrays(frames, 25.0, None, SimpleNamespace(), ["pixels"])
        expected = pixels_per_picture * 25 * 100 / 128
        assert get_metric("motion").score(arrays, None).value == pytest.approx(expected, rel=0.1)


def test_jerk_of_a_swinging_light_is_its_closed_form() -> None:
    for hertz in (2.0, 6.0):
        light = 128 + 60 * np.sin(2 * np.pi * hertz * np.arange(250) / 25)
        frames = np.repeat(light.round().astype(np.uint8)[:, None, None, None], 8, 1).repeat(8, 2).repeat(3, 3)
        arrays = extract_arrays(frames, 25.0, None, SimpleNamespace(), ["pixels"])
        expected = (2 * np.sin(np.pi * hertz / 25)) ** 2
        assert get_metric("jerk").score(arrays, None).value == pytest.approx(expected, rel=0.05)
    noise = np.random.default_rng(0).integers(0, 256, (200, 64, 48, 3), dtype=np.uint8)
    arrays = extract_arrays(noise, 25.0, None, SimpleNamespace(), ["pixels"])
    assert get_metric("jerk").score(arrays, None).value == pytest.approx(np.sqrt(10), rel=0.02)


@pytest.mark.parametrize("amplitude", [2, 10])
def test_flicker_of_alternating_light_is_its_amplitude(amplitude: int) -> None:
    light = 120 + amplitude * np.where(np.arange(60) % 2, 1, -1) + np.arange(60)  # a steady rise counts for nothing
    frames = np.repeat(light.astype(np.uint8)[:, None, None, None], 16, 1).repeat(16, 2).repeat(3, 3)
    arrays = extract_arrays(frames, 25.0, None, SimpleNamespace(), ["pixels"])
    assert get_metric("flicker").score(arrays, None).value == pytest.approx(amplitude, rel=1e-3)


def test_colour_drift_is_the_slope_that_was_put_in() -> None:
    """Grey from L* 50 to 60 over ten seconds: 60 delta E a minute."""
    lightness = np.linspace(50, 60, 250)
    linear = ((lightness + 16) / 116) ** 3
    grey = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    frames = np.repeat(grey[:, None, None, None], 16, 1).repeat(16, 2).repeat(3, 3)
    dithered = np.floor(frames + np.random.default_rng(0).random(frames.shape)).astype(np.uint8)
    arrays = extract_arrays(dithered, 25.0, None, SimpleNamespace(), ["pixels"])
    score = get_metric("colour_drift").score(arrays, None)
    assert score.value == pytest.approx(60, rel=0.06)
    steady = np.repeat(dithered[:1], 100, 0)
    arrays = extract_arrays(steady, 25.0, None, SimpleNamespace(), ["pixels"])
    assert get_metric("colour_drift").score(arrays, None).value == pytest.approx(0, abs=1e-3)


def test_face_coverage_is_the_share_of_pictures_with_a_face(truths: list[Truth]) -> None:
    finder = get_extractor("faces")
    assert finder.backbone.kind == "nano"
    for truth in truths:
        half = truth.frames[:50].copy()
        half[25:] = 90
        arrays = extract_arrays(half, 25.0, None, SimpleNamespace(), ["faces"])
        assert get_metric("face_coverage").score(arrays, None).value == pytest.approx(0.5)


def test_pieces_of_any_size_give_the_same_pixel_features(truths: list[Truth]) -> None:
    from evalkit.metrics.pixel_features import PixelStream

    frames = truths[0].frames[:40]
    whole, pieces = PixelStream(), PixelStream()
    whole.frames(frames, np.zeros(40))
    for start in range(0, 40, 3):
        pieces.frames(frames[start : start + 3], np.zeros(3))
    one, other = whole.finish(), pieces.finish()
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], rtol=1e-4, atol=1e-5, err_msg=name)
