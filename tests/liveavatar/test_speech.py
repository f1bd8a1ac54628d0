"""The official voice front end as a stream: which sound a block hears, and that pieces do not matter."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from liveavatar.config import SpeechConfig, s2v_14b
from liveavatar.model.audio import HISTORY_ROWS
from liveavatar.model.wav2vec import HOP, WINDOW, normalise_waveform, rows_of
from liveavatar.streaming.audio_bucket import bucket, stream_rows
from liveavatar.streaming.speech import SpeechConditions

PROFILE = s2v_14b()
BLOCK = 7_680


class Encoder:
    """A voice encoder whose one state is the mean of the sound that a row covers, and which looks no further."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def __call__(self, waveform: Tensor) -> Tensor:
        self.lengths.append(waveform.shape[-1])
        return waveform[0].unfold(0, WINDOW, HOP).mean(-1)[None, :, None]


def model() -> object:
    """A transformer that passes a block's rows on as they are."""
    return types.SimpleNamespace(
        casual_audio_encoder=types.SimpleNamespace(weights=torch.zeros(1)),
        trainable_cond_mask=types.SimpleNamespace(weight=torch.zeros(1)),
        encode_audio=lambda rows, before=None: (rows if before is None else torch.cat([before, rows], -1))[0, 0, 0],
    )


def conditions(context: str = "window", window_frames: int = 250, history: str = "repeat") -> SpeechConditions:
    profile = replace(PROFILE, audio=SpeechConfig(window_frames=window_frames))
    return SpeechConditions(model(), Encoder(), profile, context, audio_history=history)  # type: ignore[arg-type]


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(16_000 * seconds)).astype(np.float32) * 0.1


def voices(made: SpeechConditions, pieces: Iterable[np.ndarray], blocks: int = 0) -> list[Tensor]:
    found = [voice for piece in pieces for voice in made.push(piece)]
    return found + list(made.finish(blocks))


def test_a_block_hears_the_rows_before_it_only_if_asked() -> None:
    alone, behind = (voices(conditions(history=name), [sound(2)], blocks=4) for name in ("repeat", "previous"))
    assert [len(voice) for voice in alone] == [12] * 4
    assert [len(voice) for voice in behind] == [12, *[12 + HISTORY_ROWS] * 3]
    for block in range(1, 4):
        assert torch.equal(behind[block], torch.cat([alone[block - 1][-HISTORY_ROWS:], alone[block]]))


# --------------------------------------------------------------------------------------------------------------- rows


def test_a_frame_takes_the_state_of_its_grid_point() -> None:
    """States that count upwards: row i must be 5/3 of the even-rounded 30 Hz grid point, wherever the window begins."""
    ramp = torch.arange(2_000.0).view(1, -1, 1)
    expected = torch.tensor([round(i * 1.2) * 5 / 3 for i in range(240, 252)])
    for first in (0, 399, 400):
        rows = stream_rows(ramp[:, first:600], first, range(240, 252), fps=25)
        torch.testing.assert_close(rows.flatten(), expected, atol=1e-3, rtol=0)
    assert rows.shape == (12, 1, 1)


def test_a_file_without_end_is_what_long_files_come_to() -> None:
    """Whole files stretch the grid by up to one state and two thirds at their end; their beginning is the stream's."""
    ramp = torch.arange(5_000.0).view(1, -1, 1)
    whole, _ = bucket(ramp, clip_frames=48, fps=25)
    rows = stream_rows(ramp, 0, range(2_400), fps=25).flatten()
    difference = whole.flatten()[:2_400] - rows
    assert difference[:100].abs().max() < 0.08
    assert difference.min() >= 0
    assert difference.max() < 5 / 3 + 1e-3


def test_a_window_that_lacks_a_state_says_so() -> None:
    with pytest.raises(ValueError, match=r"frames 0\.\.11 need states 0\.\.22; the window holds 0\.\.21"):
        stream_rows(torch.zeros(1, 22, 1), 0, range(12), fps=25)
    with pytest.raises(ValueError, match="frames 12"):
        stream_rows(torch.zeros(1, 100, 1), 30, range(12, 24), fps=25)


# ------------------------------------------------------------------------------------------------------------ windows


@pytest.mark.parametrize("context", ["window", "clip", "file"])
@pytest.mark.parametrize("piece", [777, 7_680, 50_001])
def test_pieces_of_any_size_give_the_same_voices(context: str, piece: int) -> None:
    samples = sound(13.0)
    whole = voices(conditions(context), [samples], 28)
    cut = voices(conditions(context), [samples[i : i + piece] for i in range(0, len(samples), piece)], 28)
    assert len(whole) == len(cut) == 28
    for one, other in zip(whole, cut, strict=True):
        assert torch.equal(one, other)


def test_a_block_comes_as_soon_as_its_look_ahead_is_there_and_hears_no_more() -> None:
    made = conditions()
    assert made.look_ahead_samples == 5 * 640
    samples = sound(2.0)
    assert not list(made.push(samples[: BLOCK + 3_199]))
    (first,) = made.push(samples[BLOCK + 3_199 : BLOCK + 3_200])
    assert first.shape == (12,)
    states = Encoder()(normalise_waveform(torch.from_numpy(samples[: BLOCK + 3_200]))[None])
    torch.testing.assert_close(first, stream_rows(states, 0, range(12), 25).flatten(), atol=0, rtol=0)


def test_the_window_forgets_and_memory_stays_what_it_was() -> None:
    made = conditions(window_frames=29)
    old = voices(made, [sound(8.0)])
    sizes = []
    for seed in range(10):
        list(made.push(sound(0.48, seed)))
        sizes.append(len(made.held))
    assert len(set(sizes)) == 1
    assert max(made.encoder.lengths) <= 29 * 640 + HOP
    other = conditions(window_frames=29)
    samples = sound(8.0)
    samples[:16_000] = 0  # long before the last block's window
    changed = voices(other, [samples])
    assert not torch.equal(changed[0], old[0])
    assert torch.equal(changed[-1], old[-1])


def test_the_release_gives_a_file_its_whole_sound_and_zeros_behind_it() -> None:
    samples = sound(3.0)
    made = conditions("file")
    assert not list(made.push(samples))
    rows = torch.cat(list(made.finish(7)))
    states = Encoder()(normalise_waveform(torch.from_numpy(samples))[None])
    expected, _ = bucket(states, clip_frames=48, fps=25)
    torch.testing.assert_close(rows, expected.flatten()[:84], atol=0, rtol=0)
    assert rows[76:].eq(0).all()
    assert len(made.encoder.lengths) == 1


def test_the_release_gives_a_stream_each_clip_alone() -> None:
    samples = sound(4.0)
    made = conditions("clip")
    rows = torch.cat(list(made.push(samples)))
    assert made.look_ahead_samples == 0
    assert made.encoder.lengths == [4 * BLOCK, 4 * BLOCK]
    states = Encoder()(normalise_waveform(torch.from_numpy(samples[4 * BLOCK : 8 * BLOCK]))[None])
    torch.testing.assert_close(rows[48:], bucket(states, 48, 25)[0].flatten()[:48], atol=0, rtol=0)


def test_silence_and_hardly_any_sound() -> None:
    assert all(torch.isfinite(voice).all() for voice in voices(conditions(), [np.zeros(100, np.float32)], 2))
    assert len(voices(conditions("file"), [np.zeros(10, np.float32)], 1)) == 1
    assert rows_of(WINDOW - 1) == 0


@pytest.mark.parametrize(("values", "message"), [({"look_ahead_frames": 0}, "at least 1"), ({"window_frames": 20}, "29")])
def test_windows_that_are_too_short_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpeechConfig(**values)
