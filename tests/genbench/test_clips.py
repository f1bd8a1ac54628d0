"""Training clips: the audio of frame n is where it is said to be, and every clip stands alone."""

from collections import Counter

import numpy as np
import pytest

from genbench.clips import AUDIO_LEAD_FRAMES, AUDIO_TAIL_FRAMES, balanced_cell, make_clip
from genbench.speech import PAUSE, Speech
from genbench.timeline import SAMPLES_PER_BLOCK, SAMPLES_PER_FRAME, insert_silence, pause_middles, run_of_sentences

pytest.importorskip("espeakng_loader")

FRAMES = 61


@pytest.fixture(scope="module")
def clips():
    return [make_clip(3, index, FRAMES) for index in range(72)]


def frame_rms(audio: np.ndarray) -> np.ndarray:
    return np.sqrt((audio.astype(np.float64).reshape(-1, SAMPLES_PER_FRAME) ** 2).mean(axis=1))


def test_audio_covers_lead_frames_and_tail(clips):
    assert (AUDIO_LEAD_FRAMES, AUDIO_TAIL_FRAMES, SAMPLES_PER_FRAME) == (16, 8, 640)
    for clip in clips:
        assert clip.audio.shape == ((16 + FRAMES + 8) * 640,)
        assert clip.audio.dtype == np.int16
        assert clip.truth.frames == FRAMES
        assert clip.references.frames == 2


def test_mouth_moves_with_the_audio_slice_of_its_own_frame(clips):
    mouth = np.stack([clip.truth.mouth_open.numpy() for clip in clips])
    loudness = np.stack([frame_rms(clip.audio) for clip in clips])

    def match_at(lag: int) -> float:
        heard = loudness[:, AUDIO_LEAD_FRAMES + lag : AUDIO_LEAD_FRAMES + lag + FRAMES]
        return np.corrcoef(mouth.ravel(), heard.ravel())[0, 1]

    match = {lag: match_at(lag) for lag in range(-8, 9)}
    assert max(match, key=match.get) == 0
    assert match[0] > 0.5


def test_silent_audio_closes_the_mouth(clips):
    kinds = Counter(clip.kind for clip in clips)
    assert kinds["speech"] > 0.8 * len(clips)
    assert kinds["pause"] + kinds["silence"] > 0
    for clip in clips:
        loud = frame_rms(clip.audio)[AUDIO_LEAD_FRAMES : AUDIO_LEAD_FRAMES + FRAMES]
        # Well inside silence: two quiet frames on either side.
        quiet = np.convolve(loud < 1, np.ones(5), mode="same") == 5
        assert clip.truth.mouth_open.numpy()[quiet].max(initial=0) < 0.05


def test_clips_do_not_depend_on_order(clips):
    again = make_clip(3, 17, FRAMES)
    assert again.audio.tobytes() == clips[17].audio.tobytes()
    assert again.character == clips[17].character
    assert again.truth.yaw.equal(clips[17].truth.yaw)
    assert again.references.mouth_open.equal(clips[17].references.mouth_open)


def test_no_character_or_text_twice(clips):
    assert len({clip.character.identity for clip in clips}) == len(clips)
    assert len({clip.text for clip in clips}) == len(clips)


def test_styles_and_compositions_are_balanced(clips):
    assert set(Counter((clip.character.style, clip.character.composition) for clip in clips).values()) == {6}
    assert [balanced_cell(3, index) for index in range(12)] != [balanced_cell(3, index) for index in range(12, 24)]


def test_first_reference_has_a_closed_mouth_and_open_eyes(clips):
    for clip in clips:
        assert float(clip.references.mouth_open[0]) == 0
        assert float(clip.references.blink[0]) == 0
    assert np.std([float(clip.references.mouth_open[1]) for clip in clips]) > 0.1


def tone(seconds: list[tuple[str, float]]) -> Speech:
    """A made-up utterance of equal samples and the given labels."""
    labels, time_s = [], 0.0
    for name, length_s in seconds:
        labels.append((name, time_s, time_s + length_s))
        time_s += length_s
    sentences = [label for label in labels if label[0] != PAUSE]
    return Speech(np.full(round(time_s * 16000), 0.5, dtype=np.float32), labels, sentences=sentences)


def test_inserted_silence_moves_what_follows():
    speech = tone([("a", 1.0), (PAUSE, 0.5), ("b", 1.0)])
    middle = pause_middles(speech)[0]
    longer = insert_silence(speech, middle, 16000)
    assert longer.duration_s == 3.5
    assert longer.phonemes == [("a", 0, 1), (PAUSE, 1, 1.25), (PAUSE, 1.25, 2.25), (PAUSE, 2.25, 2.5), ("b", 2.5, 3.5)]
    assert not longer.samples[middle : middle + 16000].any()


def test_run_of_sentences_is_whole_sentences_in_whole_blocks():
    speech = tone([("a", 3.0), (PAUSE, 0.5), ("b", 1.0), (PAUSE, 0.5), ("c", 1.0), (PAUSE, 0.5), ("d", 4.0)])
    run = run_of_sentences(speech, 2.4)
    assert [name for name, _, _ in run.sentences] == ["b", "c"]
    assert len(run.samples) % SAMPLES_PER_BLOCK == 0
    assert run.phonemes[0] == ("b", 0, 1)
    assert run.phonemes[-1] == (PAUSE, 2.5, run.duration_s)
