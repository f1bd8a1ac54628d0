"""Speech is the same bytes everywhere and its phoneme times are exact."""

import hashlib
import random
import subprocess
import sys

import numpy as np
import pytest

from genbench.grammar import speech_for
from genbench.speech import PAUSE, SAMPLE_RATE_HZ, VOICES, Speech, Voice, synthesise

pytest.importorskip("espeakng_loader")

TEXT = "Hello there, the quick brown fox jumps over seven boats. It is twenty degrees! How are you, my dear friend?"
VOWELS = tuple("aAeEiIoOuUV@03")


def digest(speech: Speech) -> str:
    return hashlib.sha256(speech.samples.tobytes() + repr(speech.phonemes).encode()).hexdigest()


def test_two_processes_make_the_same_bytes():
    program = (
        "import hashlib; from genbench.speech import *\n"
        "for voice in VOICES[:4]:\n"
        f"    s = synthesise({TEXT!r}, voice)\n"
        "    print(hashlib.sha256(s.samples.tobytes() + repr(s.phonemes).encode()).hexdigest())"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.split() == [digest(synthesise(TEXT, voice)) for voice in VOICES[:4]]


def test_what_was_said_before_does_not_matter():
    # Breathy voices (+f2, +f3, +f5) mix in noise, and oscillators keep their phase: the library must forget both.
    first = {voice: digest(synthesise(TEXT, voice)) for voice in VOICES}
    shuffled = random.Random(0).sample(VOICES, len(VOICES))
    assert {voice: digest(synthesise(TEXT, voice)) for voice in shuffled} == first


def test_voices_differ_and_are_many():
    assert len(VOICES) >= 12
    assert len({digest(synthesise("Good morning.", voice)) for voice in VOICES}) == len(VOICES)
    assert len({voice.language for voice in VOICES}) >= 6


@pytest.mark.parametrize("voice", VOICES[::5], ids=lambda voice: voice.language_variant)
def test_phonemes_touch_and_cover_the_audio(voice):
    speech = synthesise(TEXT, voice)
    assert speech.phonemes[0][1] == 0
    assert speech.phonemes[-1][2] == pytest.approx(speech.duration_s)
    for (_, start, end), (_, following, _) in zip(speech.phonemes, speech.phonemes[1:], strict=False):
        assert start < end == following
    assert np.abs(speech.samples).max() <= 1
    assert speech.samples.dtype == np.float32


@pytest.mark.parametrize("voice", VOICES[::3], ids=lambda voice: voice.language_variant)
def test_vowels_are_louder_than_pauses(voice):
    speech = synthesise(speech_for(5, 15), voice)

    def rms(is_wanted) -> float:
        pieces = [
            speech.samples[int(start * SAMPLE_RATE_HZ) : int(end * SAMPLE_RATE_HZ)]
            for name, start, end in speech.phonemes
            if is_wanted(name)
        ]
        return float(np.sqrt((np.concatenate(pieces) ** 2).mean()))

    assert rms(lambda name: name.startswith(VOWELS)) > 4 * rms(lambda name: name == PAUSE)


def test_vowel_times_match_the_sound_within_half_a_frame():
    speech = synthesise(speech_for(7, 40))
    hop = SAMPLE_RATE_HZ // 200
    count = len(speech.samples) // hop
    loudness = np.sqrt((speech.samples[: count * hop].reshape(count, hop) ** 2).mean(axis=1))
    is_vowel = np.zeros(count)
    for name, start, end in speech.phonemes:
        is_vowel[int(start * 200) : int(end * 200)] = name.startswith(VOWELS)
    match = [np.corrcoef(np.roll(is_vowel, lag), loudness)[0, 1] for lag in range(-30, 31)]
    assert abs(int(np.argmax(match)) - 30) * 5 <= 20  # milliseconds
    assert max(match) > 0.5


def test_times_stay_exact_in_long_speech():
    text = speech_for(3, 60)
    whole = synthesise(text)
    last_text, last_start, last_end = whole.sentences[-1]
    alone = synthesise(last_text)
    tail = [(name, start - last_start) for name, start, _ in whole.phonemes if start > last_start + 0.05]
    expected = [(name, start) for name, start, _ in alone.phonemes if start > 0.05]
    assert [name for name, _ in tail] == [name for name, _ in expected]
    np.testing.assert_allclose([s for _, s in tail], [s for _, s in expected], atol=1e-4)
    assert last_end == pytest.approx(whole.duration_s, abs=1e-3)


def test_seven_minutes_work():
    speech = synthesise(speech_for(1, 420))
    assert 380 < speech.duration_s < 560
    assert speech.phonemes[-1][2] == pytest.approx(speech.duration_s)


def test_words_and_sentences_are_timed():
    speech = synthesise("The old man. My dear!")
    assert [word for word, _, _ in speech.words] == ["The", "old", "man", "My", "dear"]
    assert [text for text, _, _ in speech.sentences] == ["The old man.", "My dear!"]
    assert all(start < end for _, start, end in speech.words + speech.sentences)


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (lambda: Voice("fr-fr"), "choose one of en-us"),
        (lambda: Voice(rate_wpm=1000), "choose 80 to 400"),
        (lambda: Voice(pitch=120), "choose 0 to 99"),
        (lambda: synthesise("Hello.", Voice("en-us+nobody")), "choose one of"),
        (lambda: synthesise(" ... "), "give some words"),
    ],
)
def test_bad_input_names_the_fix(make, fix):
    with pytest.raises(ValueError, match=fix):
        make()


def test_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'genbench\[speech\]'"):
        synthesise("Hello.")
