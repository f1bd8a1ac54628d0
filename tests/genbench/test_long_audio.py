"""A voice without end: every second spoken, no click at a seam, the same samples wherever it is read."""

from __future__ import annotations

from math import gcd

import numpy as np
import pytest

from genbench.long_audio import FADE_S, PAUSE_S, LongVoice
from genbench.manifest import TABLE7_SEGMENTS_S
from genbench.quality import longest_silence_s

RATE = 16_000


def voice(seconds: float = 3.0, silence_s: float = 0.4) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    spoken = 0.3 * np.sin(2 * np.pi * 170 * t + 1) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    spoken[-800:] *= np.linspace(1, 0, 800)  # it dies away; how it begins is up to the seam
    return np.concatenate([np.round(spoken * 32767), np.zeros(round(silence_s * RATE))]).astype(np.int16)


def test_any_piece_equals_the_same_place_of_the_whole():
    long = LongVoice(voice())
    whole = long.read(0, 20 * RATE)
    assert np.array_equal(np.concatenate(list(long.pieces(20))), whole)
    assert np.array_equal(np.concatenate(list(long.pieces(20, 1.7))), whole)
    for start in (0, 100, 319, 320, 52_345, 200_001):
        assert np.array_equal(long.read(start, 4321), whole[start : start + 4321])


def test_the_first_pass_is_the_voice_itself():
    own = voice()
    assert np.array_equal(LongVoice(own).read(0, 3 * RATE), own[: 3 * RATE])


def test_no_second_is_silent_and_no_seam_clicks():
    own = voice(silence_s=2.0)
    # The worst case: a voice that begins in the middle of a wave, after which a plain repetition would jump.
    assert abs(int(own[0])) > 2000
    long = LongVoice(own)
    heard = long.read(0, 60 * RATE)
    assert longest_silence_s(heard) <= PAUSE_S + 0.16
    largest_step = np.abs(np.diff(own[: 3 * RATE].astype(int))).max()
    assert np.abs(np.diff(heard.astype(int))).max() <= largest_step
    plain = np.concatenate([own, own])
    assert np.abs(np.diff(plain.astype(int))).max() > 3 * largest_step


def test_repetitions_begin_on_a_frame_but_never_at_the_same_place_of_a_block_twice_running():
    for seconds in (2.0, 2.5, 2.9, 3.3):
        long = LongVoice(voice(seconds))
        assert gcd(long.period_frames, 12) == 1
        assert long.frame_in_voice(long.period_frames + 5) == 5
        period = long.period_frames * 640
        fade = round(FADE_S * RATE)
        assert np.array_equal(long.read(period + fade, 20_000), long.read(fade, 20_000))


def test_table_7_reaches_ten_thousand_seconds_without_reading_them():
    long = LongVoice(voice())
    for span in TABLE7_SEGMENTS_S:
        piece = long.segment(span)
        assert len(piece) == 10 * RATE
        assert longest_silence_s(piece) < 0.5
    assert np.array_equal(long.segment((10_000, 10_010)), long.read(10_000 * RATE, 10 * RATE))


def test_what_cannot_be_repeated_is_refused():
    with pytest.raises(ValueError, match="silent"):
        LongVoice(np.zeros(RATE, np.int16))
    with pytest.raises(ValueError, match="0 or more"):
        LongVoice(voice()).read(-1, 10)
