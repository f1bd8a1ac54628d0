"""The shipped networks against rendered truth of characters and speech that no training ever saw.

Every style in every composition, coded as a viewer gets it. Control rows: the same pictures with another sample's
voice, and with the own voice 200 ms late.
"""

import wave
from pathlib import Path

import numpy as np
import pytest

from evalkit.metrics import Score, extract, get_metric
from evalkit.metrics.mouth import read_opening
from evalkit.metrics.training.coded import write_video
from evalkit.video import FrameChunk, open_video, read_frames

pytest.importorskip("espeakng_loader", reason="speech needs: pip install 'genbench[speech]'")

SEED = 90_210
SAMPLES = 12
SYNC = ("sync_c", "sync_d", "sync_offset")
LATE_FRAMES = 5


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Samples, truth pictures, voices, and scores of all metrics by row."""
    from genbench.build import build_set
    from genbench.spec import SetSize, draw_set
    from genbench.truth_video import render_truth

    folder = tmp_path_factory.mktemp("world")
    samples = build_set(draw_set("short", "quick", SEED, SetSize(SAMPLES, (6.0, 7.0))), folder / "set").samples
    pictures = [np.concatenate([piece.numpy() for piece in render_truth(sample)]) for sample in samples]
    voices = [read_wav(sample.inputs().audio) for sample in samples]
    rows: dict[str, list[dict[str, Score]]] = {"truth": [], "truth_swapped": [], "truth_shifted": []}
    for index, sample in enumerate(samples):
        late = np.concatenate([np.zeros(LATE_FRAMES * 640, np.int16), voices[index]])[: len(voices[index])]
        for row, voice in (
            ("truth", voices[index]),
            ("truth_swapped", voices[(index + 5) % SAMPLES]),
            ("truth_shifted", late),
        ):
            path = folder / f"{row}-{index}.mp4"
            write_video(path, pictures[index], voice)
            names = ("syncnet", "image", "mouth") if row == "truth" else ("syncnet",)
            features = extract(path, sample, names)
            wanted = (*SYNC, "dino_s", "mouth_correlation", "lip_closure") if row == "truth" else SYNC
            rows[row].append({name: get_metric(name).score(features, sample) for name in wanted})
    return {"samples": samples, "pictures": pictures, "folder": folder, "rows": rows}


def values(world: dict, row: str, metric: str) -> np.ndarray:
    return np.array([np.nan if scores[metric].value is None else scores[metric].value for scores in world["rows"][row]])


def test_mouth_opening_is_read_on_truth(world: dict) -> None:
    correlation = values(world, "truth", "mouth_correlation")
    assert correlation.mean() >= 0.95
    assert correlation.min() >= 0.9
    ratios = [scores["mouth_correlation"].details["amplitude_ratio"] for scores in world["rows"]["truth"]]
    assert 0.85 < np.mean(ratios) < 1.15


def test_lips_are_seen_to_meet_on_truth(world: dict) -> None:
    shares = values(world, "truth", "lip_closure")
    assert np.nanmean(shares) >= 0.9


def test_read_opening_equals_the_metric_on_the_same_pictures(world: dict) -> None:
    sample, pictures = world["samples"][0], world["pictures"][0]
    read = read_opening(pictures, sample.face_box)
    assert read.shape == (len(pictures),)
    assert read.min() >= 0
    assert read.max() <= 1
    assert np.corrcoef(read, sample.truth().truth.mouth_open)[0, 1] > 0.9


def test_truth_is_in_sync_to_the_frame(world: dict) -> None:
    np.testing.assert_array_equal(values(world, "truth", "sync_offset"), 0)


def test_a_late_voice_moves_the_offset_and_hardly_the_scores(world: dict) -> None:
    np.testing.assert_allclose(values(world, "truth_shifted", "sync_offset"), -LATE_FRAMES, atol=1)
    for name in ("sync_c", "sync_d"):
        plain, late = values(world, "truth", name), values(world, "truth_shifted", name)
        assert abs(late.mean() / plain.mean() - 1) < 0.15


def test_another_voice_collapses_the_scores(world: dict) -> None:
    truth, swapped = values(world, "truth", "sync_c"), values(world, "truth_swapped", "sync_c")
    assert truth.min() > swapped.max()
    assert truth.mean() > 3 * swapped.mean()
    assert values(world, "truth_swapped", "sync_d").min() > values(world, "truth", "sync_d").max()


def test_characters_stay_themselves_in_truth_and_others_do_not(world: dict) -> None:
    assert values(world, "truth", "dino_s").min() > 0.8
    path, other = world["folder"] / "truth-0.mp4", world["samples"][3]
    features = extract(path, other, ["image"])
    assert get_metric("dino_s").score(features, other).value < 0.6


def test_features_do_not_depend_on_the_size_of_the_pieces(world: dict) -> None:
    path, sample = world["folder"] / "truth-1.mp4", world["samples"][1]
    names = ("syncnet", "image", "mouth")
    small, large = extract(path, sample, names, 3), extract(path, sample, names, 1000)
    for name in names:
        assert small[name].keys() == large[name].keys()
        for key, array in small[name].items():
            if array.dtype.kind == "U":  # where the face box came from
                assert str(array) == str(large[name][key])
            else:
                np.testing.assert_allclose(array, large[name][key], rtol=0, atol=2e-4, err_msg=f"{name}.{key}")


def test_two_pictures_are_too_short_and_no_sound_is_said(world: dict) -> None:
    sample, path = world["samples"][0], world["folder"] / "short.mp4"
    write_video(path, world["pictures"][0][:4])
    features = extract(path, sample, ["syncnet", "mouth"])
    assert get_metric("sync_c").score(features, sample).reason == "no_audio"
    assert get_metric("mouth_correlation").score(features, sample).reason == "too_short"


def test_video_is_decoded_to_what_was_rendered(world: dict) -> None:
    frames, _ = read_frames(world["folder"] / "truth-2.mp4")
    assert frames.shape == world["pictures"][2].shape
    with open_video(world["folder"] / "truth-2.mp4") as video:
        assert max(len(chunk.frames) for chunk in video.chunks() if isinstance(chunk, FrameChunk)) <= 32


def read_wav(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
