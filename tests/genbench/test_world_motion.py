"""The performance of a nano character: stationary motion, and mouths that follow their phonemes."""

import pytest
import torch

from genbench.world import Truth, mouth_from_phonemes, sample_motion, with_mouth

FPS = 25.0


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of small operations: threads that wait for a busy core only slow them down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_ten_minutes_of_motion_stay_bounded_and_stationary():
    frames = int(600 * FPS)
    truth = sample_motion(torch.Generator().manual_seed(3), frames, FPS, torch.rand(frames))
    for name in ("yaw", "pitch", "roll", "shift_x", "shift_y", "body_sway", "shoulder_lift", "brow"):
        track = getattr(truth, name)
        first, second = track.chunk(2)
        assert track.abs().max() < 4.5 * track.std(), name
        assert 0.8 < first.std() / second.std() < 1.25, name
        assert (first.mean() - second.mean()).abs() < 0.25 * track.std(), name
    assert truth.yaw.abs().max() < 0.6
    assert truth.yaw.diff().abs().max() < 0.1, "heads do not jump between frames"


def test_blinks_close_fully_and_recur():
    blink = sample_motion(torch.Generator().manual_seed(5), int(120 * FPS), FPS).blink
    is_shut = blink > 0.8
    blinks = int((is_shut[1:] & ~is_shut[:-1]).sum())
    assert 120 / 5 * 0.8 <= blinks <= 120 / 2 * 1.3
    assert (blink == 0).float().mean() > 0.8


def test_every_bilabial_shows_a_closed_mouth_however_short():
    phonemes, start_s = [], 0.10
    for vowel, stop in zip(["A:", "a", "ɑː", "E", "O:"] * 3, ["m", "p", "b"] * 5, strict=True):
        phonemes += [(vowel, start_s, start_s + 0.13), (stop, start_s + 0.13, start_s + 0.183)]
        start_s += 0.183
    frames = int((start_s + 0.3) * FPS)
    mouth_open, _, _ = mouth_from_phonemes(phonemes, frames, FPS)
    centre_s = (torch.arange(frames) + 0.5) / FPS
    for symbol, begin, end in phonemes:
        near = (centre_s - (begin + end) / 2).abs() <= 0.5 / FPS + 1e-6
        if symbol in ("m", "p", "b"):
            assert mouth_open[near].min() < 0.05, (symbol, begin)
    assert mouth_open.max() > 0.8
    assert mouth_open[-3:].max() < 0.01, "silence after speech is a shut mouth"


def test_visemes_round_widen_and_accept_both_alphabets():
    def middle(symbol: str) -> tuple[float, float, float]:
        return tuple(float(track[6]) for track in mouth_from_phonemes([(symbol, 0.0, 0.5)], 13, FPS))

    assert middle("u:")[2] > 0.9 > middle("i:")[2]
    assert middle("i:")[1] > 0.9 > middle("u:")[1]
    for espeak, ipa in (("A:", "ɑː"), ("@", "ə"), ("S", "ʃ"), ("'oU", "ˈoʊ"), ("_:", "")):
        assert middle(espeak) == middle(ipa), (espeak, ipa)
    assert middle("A:")[0] > middle("@")[0] > middle("s")[0] > middle("f")[0] > middle("m")[0] >= 0


def test_truth_survives_slicing_stacking_and_dictionaries():
    motion = sample_motion(torch.Generator().manual_seed(0), 40, FPS)
    truth = with_mouth(motion, *torch.rand(3, 40))
    halves = [truth.slice(0, 20), truth.slice(20, 40)]
    batch = Truth.from_dict(Truth.stack(halves).to_dict())
    assert batch.yaw.shape == (2, 20)
    assert torch.equal(batch.row(1).mouth_open, truth.mouth_open[20:])
