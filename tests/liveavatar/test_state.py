"""A stream's state: restored elsewhere, the stream goes on to the bit, whatever the options."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from liveavatar import pipeline
from liveavatar.streaming.session import Session
from liveavatar.streaming.state import restore_session, session_state

VOICE = (np.sin(np.arange(16_000 * 4) / 25) * np.sin(np.arange(16_000 * 4) / 4000)).astype(np.float32)
HALF = 16_000 * 3 + 123


@pytest.fixture(scope="module")
def loaded() -> pipeline.Pipeline:
    return pipeline.load("nano", weights="random-tiny")


def opened(loaded: pipeline.Pipeline, **options: object) -> Session:
    picture = np.full((loaded.config.height, loaded.config.width, 3), 110, np.uint8)
    return loaded.open(picture, "a speaker", 5, "s", replace(loaded.config.rollout, **options))


def frames(session: Session, samples: np.ndarray, is_last: bool = False) -> np.ndarray:
    chunks = [*session.push(samples), *(session.flush() if is_last else [])]
    return np.concatenate([chunk.frames for chunk in chunks])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cache": "clean"},
        {"aas": False, "rolling_rope": False},
        {"decoder": "vae"},
        {"guidance": 2.0, "first_block": "short"},
    ],
)
def test_a_restored_stream_goes_on_to_the_bit(loaded: pipeline.Pipeline, options: dict[str, object]) -> None:
    session = opened(loaded, **options)
    frames(session, VOICE[:HALF])
    state = session_state(session)
    assert state is not None
    buffer = io.BytesIO()
    torch.save(state, buffer)
    rest = frames(session, VOICE[HALF:], is_last=True)
    again = opened(loaded, **options)
    restore_session(again, torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    assert np.array_equal(frames(again, VOICE[HALF:], is_last=True), rest)
    assert again.frames_out == session.frames_out == 100


def test_the_official_front_end_and_decoder_go_on_too() -> None:
    tiny = pipeline.load("s2v-14b", weights="random-tiny", size=(48, 64))
    session = opened(tiny, aas=False)
    frames(session, VOICE[:30_000])
    state = session_state(session)
    assert state is not None
    buffer = io.BytesIO()
    torch.save(state, buffer)
    rest = frames(session, VOICE[30_000:45_000], is_last=True)
    again = opened(tiny, aas=False)
    restore_session(again, torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    assert np.array_equal(frames(again, VOICE[30_000:45_000], is_last=True), rest)


def test_a_state_is_kept_only_when_the_sink_has_settled(loaded: pipeline.Pipeline) -> None:
    session = opened(loaded)
    assert session_state(session) is None, "nothing has been made yet"
    frames(session, VOICE[:16_000])
    assert session_state(session) is None, "the first frame is still to become the sink"
    frames(session, VOICE[16_000:HALF])
    assert session_state(session) is not None
    session.set_prompt("another", from_s=30.0)
    assert session_state(session) is None, "a prompt is waiting"


def test_a_state_of_other_options_is_refused(loaded: pipeline.Pipeline) -> None:
    session = opened(loaded)
    frames(session, VOICE[:HALF])
    state = session_state(session)
    assert state is not None
    with pytest.raises(ValueError, match="other options"):
        restore_session(opened(loaded, cache="clean"), state)
    with pytest.raises(ValueError, match="open a new one"):
        restore_session(session, state)
