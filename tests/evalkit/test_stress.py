"""Stress streams: the repeated voice, segments cut without touching the pictures, memory, and the table of segments."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from evalkit.methods.remux import add_voice, cut_pictures
from evalkit.stress import repeated_voice
from tests.evalkit.evalkit_bench import PLUGIN, evalkit


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stress") / "run"
    result = evalkit("run", "fake_stress", "--plugin", str(PLUGIN), "--out", str(out))
    assert result.code == 0, result.out + result.err
    return out


def write_voice(path: Path, samples: np.ndarray, rate_hz: int = 8000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())


def test_the_voice_repeats_without_a_gap_in_pieces_of_any_size(tmp_path: Path) -> None:
    write_voice(tmp_path / "v.wav", np.arange(1000), rate_hz=1000)
    wanted = np.resize(np.arange(1000), 2500) / 32768
    for piece_s in (0.1, 0.48, 3.0):
        assert np.allclose(np.concatenate(list(repeated_voice(tmp_path / "v.wav", 2.5, piece_s))), wanted)


def grey_levels(path: Path) -> list[int]:
    with av.open(str(path)) as file:
        return [int(frame.to_ndarray(format="gray").mean().round()) for frame in file.decode(video=0)]


def test_segments_hold_the_very_frames_of_their_seconds(streamed: Path) -> None:
    whole = grey_levels(streamed / "artefacts/fake/stress_stream/s0.s0/video.mp4")
    assert len(whole) == 300 * 25
    for begin_s in (0, 100):
        part = grey_levels(streamed / f"artefacts/fake/stress_{begin_s}_{begin_s + 10}/s0.s0/video.mp4")
        assert part == whole[25 * begin_s : 25 * (begin_s + 10)]


def test_segments_carry_the_matching_slice_of_the_repeated_voice(streamed: Path) -> None:
    with wave.open(str(streamed / "datasets/stress_100_110/s0.wav")) as file:
        assert file.getnframes() == 10 * 8000
    with av.open(str(streamed / "artefacts/fake/stress_100_110/s0.s0/video.mp4")) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
        assert samples == 10 * 8000


def test_the_table_has_a_row_per_segment_and_says_what_the_stream_does_not_reach(streamed: Path) -> None:
    cells = {one["dataset"]: one for one in evalkit("table", str(streamed), "--json").json()}
    assert cells["stress_100_110"]["n"] == 1
    assert cells["stress_100_110"]["low"] is None
    assert "does not reach" in cells["stress_1000_1010"]["reason"]
    text = (streamed / "table/seven.md").read_text()
    assert "| 0-10 s |" in text
    assert "| 100-110 s |" in text


def test_memory_is_sampled_over_the_stream(streamed: Path) -> None:
    (curve,) = json.loads((streamed / "stats/memory.json").read_text())
    assert curve["rss_mib"]
    assert len(curve["t_s"]) == len(curve["rss_mib"])
    assert curve["highest_mib"] > 1


def test_another_length_makes_the_stream_stale(streamed: Path) -> None:
    words = ("fake_stress", "--plugin", str(PLUGIN), "--out", str(streamed))
    assert evalkit("plan", *words, "--json").json()["due"] == []
    result = evalkit("plan", *words, "--seconds", "60", "--json").json()
    assert "differs in stream_s" in {one["reason"] for one in result["due"]}


def test_a_cut_without_a_key_frame_is_refused(tmp_path: Path) -> None:
    from liveavatar.output import VideoWriter

    with VideoWriter(tmp_path / "v.mp4", 16, 16, 25) as writer:
        writer.write(np.zeros((150, 16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="no key frame at 1 s"):
        cut_pictures(tmp_path / "v.mp4", 1.0, 3.0, tmp_path / "cut.mp4")
    assert cut_pictures(tmp_path / "v.mp4", 2.0, 4.0, tmp_path / "cut.mp4") == 50
    assert add_voice(tmp_path / "cut.mp4", np.zeros(32_000, np.float32), 16_000, tmp_path / "out.mp4") == (50, 25.0)
