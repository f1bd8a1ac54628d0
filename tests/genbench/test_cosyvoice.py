"""CosyVoice behind its worker process: text forms by version, time limits, failures; against a stand-in that keeps the
facts.

The stand-in (tests/genbench/cosyvoice_checkout.py) says which fact comes from which file of the real checkout.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genbench.errors import ProviderError, SampleRefusedError
from genbench.providers import make_speech
from genbench.spec import SetSize, draw_set
from tests.genbench.cosyvoice_checkout import write_checkout
from tests.genbench.material import record_voice

TEXT = "It rained on Sunday. The river rose by a foot. Nobody minded it much. " * 3
SPEC = replace(
    draw_set("short", "full", size=SetSize(3, (8.0, 8.0)), kind="generated").samples[0],
    text=TEXT, emotion="happy", gender="woman", duration_s=8.0, seed=1234,
)  # fmt: skip


@pytest.fixture
def make(tmp_path, request):
    def make_provider(version: int, third: str = "prompt_wav", **given):
        checkout, model = write_checkout(tmp_path / f"v{version}", version, third)
        record_voice(tmp_path / "anna.wav", 4.0)
        record_voice(tmp_path / "ben.wav", 4.0)
        voices = [
            {"name": "ben", "prompt_wav": str(tmp_path / "ben.wav"), "prompt_text": "I am Ben.", "gender": "man"},
            {"name": "anna", "prompt_wav": str(tmp_path / "anna.wav"), "prompt_text": "I am Anna.", "gender": "woman",
             "licence": "CC0-1.0"},
        ]  # fmt: skip
        options = {"checkout": str(checkout), "interpreter": sys.executable, "model_dir": str(model), "voices": voices}
        provider = make_speech("cosyvoice", options | given)
        request.addfinalizer(provider.close)
        return provider, model

    return make_provider


def calls(model: Path) -> list[list[object]]:
    return [json.loads(line) for line in (model / "calls.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("version", "rate", "how", "words"),
    [
        (1, 22_050, "zero_shot", "I am Anna."),
        (2, 24_000, "instruct2", "Please speak in a happy tone.<|endofprompt|>"),
        (3, 24_000, "instruct2", "You are a helpful assistant. Please speak in a happy tone.<|endofprompt|>"),
    ],
)
def test_each_version_gets_its_own_form_of_text(make, version, rate, how, words):
    provider, model = make(version)
    spoken = provider.speak(SPEC)
    first = calls(model)[0]
    assert first[0] == how
    assert first[2:5] == [words, "anna.wav", True]
    assert first[5] == 1234
    assert provider.describe()["sample_rate"] == rate
    assert abs(spoken.speech.duration_s - 8.0) < 4.5
    assert len(spoken.speech.samples) % 7680 == 0
    assert spoken.transcript == " ".join(call[1] for call in calls(model)[: len(calls(model))])[: len(spoken.transcript)]
    assert spoken.speech.phonemes == []
    assert "speech_native.wav" in spoken.raw
    assert str(model) not in json.dumps(provider.describe())


def test_a_neutral_voice_is_cloned_from_clip_and_transcript(make):
    provider, model = make(3)
    provider.speak(replace(SPEC, emotion="neutral", gender="man"))
    assert calls(model)[0][0] == "zero_shot"
    assert calls(model)[0][2:4] == ["You are a helpful assistant.<|endofprompt|>I am Ben.", "ben.wav"]


def test_other_languages_bypass_the_text_rules_for_chinese_and_english(make):
    provider, model = make(2)
    provider.speak(replace(SPEC, language="de"))
    assert calls(model)[0][4] is False


def test_the_same_seed_gives_the_same_speech_and_the_tone_has_its_pitch(make):
    provider, _ = make(2)
    first, again, other = (provider.speak(replace(SPEC, seed=seed)).speech.samples for seed in (50, 50, 90))
    assert np.array_equal(first, again)
    spectrum = [np.abs(np.fft.rfft(samples[:16_000])).argmax() for samples in (first, other)]
    assert spectrum == [150, 190]  # hertz: resampling from 24 kHz kept them


def test_a_checkout_from_before_the_change_of_arguments_is_refused(make):
    provider, _ = make(2, third="prompt_speech_16k")
    with pytest.raises(ProviderError, match=r"takes \['prompt_speech_16k'\]"):
        provider.speak(SPEC)


def test_text_without_words_and_models_that_hang_or_die(make):
    provider, _ = make(2)
    with pytest.raises(ValueError, match="empty script"):
        provider.speak(replace(SPEC, text="  "))
    provider.time_limit_s = 0.5
    with pytest.raises(SampleRefusedError, match=r"within 0\.5 s"):
        provider.speak(replace(SPEC, text="HANG now please."))
    provider.time_limit_s = 60
    with pytest.raises(ProviderError, match="worker ended"):
        provider.speak(replace(SPEC, text="DIE now please."))
    # A new worker starts by itself.
    assert provider.speak(SPEC).speech.duration_s > 4


def test_prompt_clips_are_checked(make, tmp_path):
    _, model = make(2)
    record_voice(tmp_path / "long.wav", 31.0)
    record_voice(tmp_path / "phone.wav", 3.0, rate_hz=8000)
    options = {"checkout": str(tmp_path), "interpreter": sys.executable, "model_dir": str(model)}
    for name, text, words in [("long", "Long.", "31.0 s"), ("phone", "Short.", "8000 Hz"), ("anna", " ", "prompt_text")]:
        voice = {"name": name, "prompt_wav": str(tmp_path / f"{name}.wav"), "prompt_text": text}
        with pytest.raises(ValueError, match=words):
            make_speech("cosyvoice", {**options, "voices": [voice]})
    with pytest.raises(ValueError, match="at least one voice"):
        make_speech("cosyvoice", {**options, "voices": []})
