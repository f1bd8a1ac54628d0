"""MFCC: the golden numbers, and the same numbers from a stream."""

import os
from pathlib import Path

import numpy as np
import pytest

from evalkit.metrics.mfcc import MfccStream, mel_filterbank, mfcc

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[2].parent / "shared" / "golden")) / "metrics"
needs_golden = pytest.mark.skipif(
    not (GOLDEN / "mfcc.npz").exists(), reason=f"no golden data in {GOLDEN}; set GOLDEN_DIR"
)


@needs_golden
@pytest.mark.parametrize("name", ["voice_like", "exact_multiple", "one_frame", "shorter_than_frame", "silence"])
def test_mfcc_matches_the_reference(name: str) -> None:
    golden = np.load(GOLDEN / "mfcc.npz")
    np.testing.assert_allclose(mfcc(golden[f"{name}__wave"]), golden[f"{name}__mfcc"], rtol=0, atol=1e-9)


@needs_golden
def test_filterbank_matches_the_reference() -> None:
    np.testing.assert_allclose(mel_filterbank(), np.load(GOLDEN / "mfcc.npz")["filterbank"], rtol=0, atol=1e-12)


@needs_golden
def test_windows_match_the_reference() -> None:
    import torch

    from evalkit.metrics.syncnet import audio_windows

    golden = np.load(GOLDEN / "mfcc.npz")
    expected = golden["voice_like__windows"]
    windows = audio_windows(torch.from_numpy(mfcc(golden["voice_like__wave"])), len(expected))
    np.testing.assert_allclose(windows[:, 0].numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [0, 1, 399, 400, 401, 560, 5000])
def test_pieces_of_any_size_give_the_same_columns(length: int) -> None:
    random = np.random.default_rng(length)
    wave = random.integers(-9000, 9000, length)
    stream, start, parts = MfccStream(), 0, []
    while start < length:
        step = int(random.integers(1, 700))
        parts.append(stream.push(wave[start : start + step]))
        start += step
    streamed = np.concatenate([np.zeros((0, 13)), *parts, stream.flush()])
    np.testing.assert_allclose(streamed, mfcc(wave), rtol=0, atol=1e-11)
    assert len(streamed) == (0 if length == 0 else 1 + max(0, -(-(length - 400) // 160)))
