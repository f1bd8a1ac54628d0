"""The nano speech encoder: what a state depends on, and that training hears what the stream hears."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch

from liveavatar.model.audio import HISTORY_ROWS
from liveavatar.model.speech_encoder import CONTEXT_ROWS, SpeechPast
from liveavatar.streaming.conditions import VoiceConditions
from liveavatar.training.clips import Generator
from liveavatar.training.data import LEAD_FRAMES, clip_mels
from tests.liveavatar.tiny import tiny_model, tiny_profile, tiny_speech

PROFILE = tiny_profile()
SPEECH = tiny_speech(PROFILE)


def mels(rows: int) -> torch.Tensor:
    return torch.randn(1, rows, 320, generator=torch.Generator().manual_seed(0))


def test_a_state_depends_on_its_own_row_and_the_context_before_it_and_on_all_of_these() -> None:
    # In double precision: what the oldest row does passes every layer's outermost tap and is small.
    speech, rows = copy.deepcopy(SPEECH).double(), mels(CONTEXT_ROWS + 6).double()
    states = speech(rows)
    assert states.shape == (1, 6, PROFILE.transformer.audio_dim)
    for row in (2, CONTEXT_ROWS + 3):
        changed = rows.clone()
        changed[:, row] += 1
        moved = (speech(changed) - states).abs().amax(-1)[0] > 1e-12
        assert moved.tolist() == [state <= row <= state + CONTEXT_ROWS for state in range(6)]


def test_a_longer_piece_of_sound_gives_the_same_states() -> None:
    rows = mels(CONTEXT_ROWS + 20)
    torch.testing.assert_close(SPEECH(rows)[:, 12:], SPEECH(rows[:, 12:]), atol=1e-5, rtol=0)


def test_a_stream_in_pieces_gives_the_states_of_the_whole() -> None:
    rows, past = mels(CONTEXT_ROWS + 20), SpeechPast()
    begins = (0, CONTEXT_ROWS + 3, CONTEXT_ROWS + 4, CONTEXT_ROWS + 16, CONTEXT_ROWS + 20)
    pieces = [SPEECH(rows[:, begin:end], past) for begin, end in itertools.pairwise(begins)]
    assert [piece.shape[1] for piece in pieces] == [3, 1, 12, 4]
    torch.testing.assert_close(torch.cat(pieces, dim=1), SPEECH(rows), atol=1e-5, rtol=0)


def test_too_few_rows_are_refused_by_number() -> None:
    with pytest.raises(ValueError, match=f"{CONTEXT_ROWS} rows give no state"):
        SPEECH(mels(CONTEXT_ROWS))
    with pytest.raises(ValueError, match=f"{CONTEXT_ROWS} rows give no state"):
        SPEECH(mels(CONTEXT_ROWS), SpeechPast())


def test_a_training_clip_hears_what_a_stream_hears_there() -> None:
    # A stream whose first LEAD_FRAMES + 1 frames are the sound before the clip.
    blocks = 4
    per_frame, frames = PROFILE.samples_per_frame, blocks * PROFILE.block_frames
    samples = np.random.default_rng(0).standard_normal((LEAD_FRAMES + 1 + frames + 4) * per_frame).astype(np.float32) * 0.1
    model = tiny_model(PROFILE)
    heard = SPEECH(clip_mels(PROFILE, torch.from_numpy(samples)[None], frames)).transpose(1, 2)[:, None]
    clip = model.encode_audio(heard[..., HISTORY_ROWS:], heard[..., :HISTORY_ROWS])
    # The stream counts blocks from its own start: let the clip begin with its third block.
    before = np.zeros((2 * PROFILE.block_frames - LEAD_FRAMES - 1) * per_frame, dtype=np.float32)
    stream = list(VoiceConditions(model, SPEECH, PROFILE).push(np.concatenate([before, samples])))[2:]
    assert len(stream) >= blocks
    local = torch.cat([voice.local for voice in stream[:blocks]], dim=1)
    torch.testing.assert_close(local, clip.local, atol=1e-4, rtol=0)


def test_the_speech_encoder_is_part_of_the_generator_and_not_trained_with_it() -> None:
    generator = Generator(PROFILE)
    assert any(name.startswith("speech.") for name in generator.state_dict())
    assert not any(parameter.requires_grad for name, parameter in generator.named_parameters() if name.startswith("speech."))
