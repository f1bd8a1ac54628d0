"""Control rows: the same pictures under the right voice, another voice and a late voice; methods never see truth."""

from __future__ import annotations

import wave
from dataclasses import fields
from pathlib import Path

import av
import numpy as np
import pytest

from evalkit.methods import get_method
from evalkit.methods.base import ControlInputs, Inputs
from evalkit.methods.truth import late_voice, other_voice, own_voice

RATE_HZ = 16_000


def write_voice(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> ControlInputs:
    own = write_voice(tmp_path / "own.wav", np.arange(1, RATE_HZ + 1) % 1000)
    other = write_voice(tmp_path / "other.wav", -(np.arange(1, RATE_HZ // 3) % 777))
    return ControlInputs("s0", tmp_path / "i.png", own, "", other_audio=other, pictures=tmp_path / "pictures.mp4")


def test_the_other_voice_is_repeated_to_the_length_of_the_own(inputs: ControlInputs) -> None:
    swapped = other_voice(inputs)
    assert swapped.shape == own_voice(inputs).shape
    period = RATE_HZ // 3 - 1
    assert np.array_equal(swapped[:period], swapped[period : 2 * period])


def test_the_late_voice_is_200_ms_late_and_no_longer(inputs: ControlInputs) -> None:
    own, late = own_voice(inputs), late_voice(inputs)
    assert late.shape == own.shape
    assert not late[:3200].any()
    assert np.array_equal(late[3200:], own[:-3200])


def test_a_set_of_one_has_no_other_voice(inputs: ControlInputs) -> None:
    alone = ControlInputs("s0", inputs.image, inputs.audio, "", other_audio=inputs.audio)
    with pytest.raises(ValueError, match="set of two or more"):
        other_voice(alone)


def test_all_controls_show_the_same_pictures_and_keep_their_voice_exactly(
    inputs: ControlInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit.methods import truth
    from evalkit.methods.remux import write_pictures

    drawn = []

    def draw(given: ControlInputs) -> None:
        drawn.append(given.id)
        noise = np.random.default_rng(0).integers(0, 256, (25, 32, 32, 3), dtype=np.uint8)
        write_pictures(iter([noise[:10], noise[10:]]), 25.0, given.pictures)

    monkeypatch.setattr(truth, "draw", draw)
    pictures = []
    for name in ("truth", "truth_swapped", "truth_shifted"):
        out = tmp_path / name
        out.mkdir()
        method = get_method(name)
        made = method.load("nano").generate(inputs, 0, out)
        assert (made.frames, made.fps, made.timeline) == (25, 25.0, None)
        with av.open(str(made.video)) as file:
            pictures.append(np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]))
        with av.open(str(made.video)) as file:
            heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
        wanted = method.voice_of(inputs) * 32768  # type: ignore[attr-defined]
        assert np.array_equal(heard, wanted.astype(np.int16))
    assert drawn == ["s0"], "drawn once, shared by all"
    assert all(np.array_equal(pictures[0], one) for one in pictures)


def test_a_method_is_given_picture_voice_prompt_and_id_only(inputs: ControlInputs, tmp_path: Path) -> None:
    assert [one.name for one in fields(Inputs)] == ["id", "image", "audio", "prompt", "dataset"]
    with pytest.raises(TypeError, match="ControlInputs"):
        get_method("truth").load("nano").generate(Inputs("s0", inputs.image, inputs.audio, ""), 0, tmp_path)


def test_ablations_are_switches_of_one_rollout() -> None:
    options = {
        name: get_method(name).identity("nano")["options"]
        for name in ("live_avatar", "live_avatar_clean_kv", "live_avatar_no_aas", "live_avatar_no_rolling_rope")
    }
    base = options["live_avatar"]
    differences = {name: {key: value for key, value in one.items() if value != base[key]} for name, one in options.items()}
    assert differences == {
        "live_avatar": {},
        "live_avatar_clean_kv": {"cache": "clean"},
        "live_avatar_no_aas": {"aas": False},
        "live_avatar_no_rolling_rope": {"rolling_rope": False},
    }
