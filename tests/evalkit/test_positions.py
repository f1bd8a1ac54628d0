"""Figure 7 from a rollout's own records: watching changes nothing, and what is seen obeys the paper's rule for the sink."""

from __future__ import annotations

import wave
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from evalkit.methods.base import Inputs
from evalkit.methods.live_avatar import LiveAvatarSession
from evalkit.methods.watching import watch
from liveavatar import pipeline
from liveavatar.config import profile

BLOCKS = 6


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("inputs")
    Image.fromarray(np.full((128, 96, 3), 120, np.uint8)).save(root / "p.png")
    with wave.open(str(root / "v.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.sin(np.arange(32_000) / 20) * 9000).astype("<i2").tobytes())
    return Inputs("s0", root / "p.png", root / "v.wav", "")


@pytest.fixture(scope="module")
def loaded() -> pipeline.Pipeline:
    return pipeline.load("nano", weights="random-tiny")


def seen(loaded: pipeline.Pipeline, inputs: Inputs, **options: object) -> list[dict]:
    chosen = replace(loaded.config.rollout, **options)
    return LiveAvatarSession(loaded, chosen).positions(inputs, 0, BLOCKS)


def test_the_rolling_sink_keeps_its_distance_and_the_fixed_one_does_not(loaded: pipeline.Pipeline, inputs: Inputs) -> None:
    steps = loaded.config.rollout.steps
    rolling = seen(loaded, inputs)
    assert [(one["block"], one["step"]) for one in rolling] == [(b, s) for b in range(BLOCKS) for s in range(steps)]
    assert len({one["sink"] - one["own"][-1] for one in rolling}) == 1
    fixed = seen(loaded, inputs, rolling_rope=False)
    assert len({one["sink"] for one in fixed}) == 1


def test_the_past_is_the_window_and_lies_right_before_the_block(loaded: pipeline.Pipeline, inputs: Inputs) -> None:
    window = loaded.config.rollout.window_past
    for one in seen(loaded, inputs):
        held = [past["block"] for past in one["past"]]
        assert held == list(range(max(0, one["block"] - window), one["block"]))
        line = [position for past in one["past"] for position in past["positions"]] + one["own"]
        assert line == list(range(line[0], line[0] + len(line)))


def test_the_sink_becomes_the_models_own_frame_with_aas_only(loaded: pipeline.Pipeline, inputs: Inputs) -> None:
    kinds = [one["sink_is"] for one in seen(loaded, inputs) if one["step"] == 0]
    assert kinds[0] == "reference"
    assert kinds[-1] == "adapted"
    assert {one["sink_is"] for one in seen(loaded, inputs, aas=False)} == {"reference"}


def test_watching_changes_nothing(loaded: pipeline.Pipeline) -> None:
    config = profile("nano")
    picture = np.full((config.height, config.width, 3), 90, np.uint8)
    voice = np.sin(np.arange(24_000) / 15).astype(np.float32)
    frames = []
    for is_watched in (False, True):
        session = loaded.open(picture, seed=3)
        if is_watched:
            watch(session.rollout, [])
        frames.append(np.concatenate([chunk.frames for chunk in session.push(voice)]))
    assert np.array_equal(*frames)
