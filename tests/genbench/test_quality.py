"""The quality gate: each check with material whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from genbench.quality import (
    Gate,
    check_agreement,
    check_face,
    check_picture,
    check_script,
    check_speech,
    check_transcript,
    error_rate,
    failures,
    level_db,
    likeness_print,
    longest_silence_s,
    near_duplicates,
    sharpness,
)

GATE = Gate()
BOX = (0.2, 0.2, 0.6, 0.6)


def noise(seed: int, height: int = 320, width: int = 256) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return blocks.repeat(16, 0).repeat(16, 1)


def tone(seconds: float, amplitude: float) -> np.ndarray:
    t = np.arange(round(seconds * 16_000)) / 16_000
    return np.round(amplitude * 32767 * np.sin(2 * np.pi * 250 * t)).astype(np.int16)


def names(checks) -> list[str]:
    return [check.name for check in checks if check.passed is False]


def test_size_and_sharpness():
    assert names(check_picture(noise(1), GATE)) == []
    assert names(check_picture(noise(1)[:200], GATE)) == ["size"]
    assert names(check_picture(np.full((320, 256, 3), 90, np.uint8), GATE)) == ["sharpness"]


def test_sharpness_falls_with_blur_and_is_zero_for_a_plane():
    from PIL import Image, ImageFilter

    picture = Image.fromarray(noise(2))
    values = [sharpness(np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 1, 3, 9)]
    assert values == sorted(values, reverse=True)
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(300, 0).repeat(3, 2)
    assert sharpness(ramp) == 0


def test_exactly_one_face_or_a_box_by_hand():
    assert check_face(BOX, "hand", None).passed
    assert check_face(None, "none", [BOX]).passed
    assert check_face(None, "none", []).passed is False
    assert check_face(None, "none", [BOX, BOX]).passed is False
    assert check_face(None, "none", None).passed is None
    assert "--boxes" in check_face(None, "none", None).reason


def test_near_duplicates_name_the_earlier_picture():
    first = noise(3)
    nearly = np.clip(first.astype(int) + 3, 0, 255).astype(np.uint8)
    prints = {"a": likeness_print(first), "b": likeness_print(noise(4)), "c": likeness_print(nearly)}
    assert near_duplicates(prints, GATE) == {"c": "a"}
    # The same drawing in other colours is another picture.
    recoloured = likeness_print((first // 3).astype(np.uint8))
    assert near_duplicates({"a": prints["a"], "d": recoloured}, GATE) == {}


@pytest.mark.parametrize(
    ("samples", "target_s", "failing"),
    [
        (tone(10, 0.2), 10.0, []),
        (tone(8, 0.2), 10.0, ["speech_length"]),
        (tone(96, 0.2), 100.0, []),  # 4 % of a long target
        (tone(10, 0.006), 10.0, ["speech_level"]),
        (np.full(160_000, 32767, np.int16), 10.0, ["speech_level", "clipping"]),
        (np.concatenate([tone(3, 0.2), np.zeros(64_000, np.int16), tone(3, 0.2)]), 10.0, ["silence"]),
        (np.zeros(160_000, np.int16), 10.0, ["speech_level", "silence"]),
    ],
)
def test_speech(samples, target_s, failing):
    assert names(check_speech(samples, target_s, GATE)) == failing


def test_level_is_that_of_the_loud_parts():
    # A sine of amplitude a has a power of a^2 / 2: 0.1 is -23.0 dBFS, however long the silence beside it.
    assert level_db(tone(2, 0.1)) == -23.0
    assert level_db(np.concatenate([tone(2, 0.1), np.zeros(32_000, np.int16)])) == -23.0
    assert level_db(np.zeros(1000, np.int16)) == -120.0
    assert longest_silence_s(np.concatenate([np.zeros(16_000, np.int16), tone(1, 0.1), np.zeros(8000, np.int16)])) == 1.0


def test_words():
    assert check_script("two words").value == 2
    assert check_script("  ").passed is False
    assert check_script("", is_recording=True).passed is None


def test_error_rate_has_known_values():
    assert error_rate("The cat sat.", "the cat sat") == 0
    assert error_rate("the cat sat", "the bat sat") == pytest.approx(1 / 3)
    assert error_rate("the cat sat", "the cat") == pytest.approx(1 / 3)
    assert error_rate("the cat", "the big cat sat") == 1
    assert error_rate("今天好", "今天坏", by_character=True) == pytest.approx(1 / 3)
    assert check_transcript("so different", "it is fine here", "en", GATE).passed is False
    assert check_transcript(None, "it is fine", "en", GATE).passed is None


def test_agreement():
    assert check_agreement(0.3, GATE).passed
    assert check_agreement(0.1, GATE).passed is False
    assert check_agreement(None, GATE).passed is None
    assert failures([check_agreement(0.1, GATE)]) == ["prompt_agreement: cosine 0.1"]
