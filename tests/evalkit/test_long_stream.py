"""A stream in parts: stopped anywhere, it goes on with the very frames an uninterrupted one has; nothing piles up."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from evalkit.experiments import Segments
from evalkit.long_stream import LongStream, join_parts
from evalkit.makers.streams import MemorySampler, resident_mib
from evalkit.methods.remux import cut_pictures
from evalkit.plan import shard_of, streamed_sample, window_begin_s, window_sample
from evalkit.records import GENERATE, Key
from evalkit.stress import repeated_voice
from tests.evalkit.evalkit_bench import PLUGIN, command, environment, evalkit

RATE_HZ, LENGTH_S = 8000, 40.0


@pytest.fixture
def voice(tmp_path: Path) -> Callable[[int], Iterator[np.ndarray]]:
    path = tmp_path / "voice.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.arange(RATE_HZ * 7) % 2000).astype("<i2").tobytes())
    return lambda first: repeated_voice(path, LENGTH_S, 0.48, first)


class StopsError(Exception):
    """The power is gone."""


def stopping(stream: Any, after: int) -> Any:
    """The stream, ending with an error before its block number `after`."""
    take, count = stream._take, [0]

    def limited(frames: int) -> np.ndarray:
        if count[0] >= after:
            raise StopsError
        count[0] += 1
        return take(frames)

    stream._take = limited
    return stream


def levels(paths: list[Path]) -> list[int]:
    found = []
    for path in paths:
        with av.open(str(path)) as file:
            found += [int(frame.to_ndarray(format="gray").mean().round()) for frame in file.decode(video=0)]
    return found


def test_a_stream_stopped_again_and_again_has_the_same_frames(
    tmp_path: Path, voice: Callable[[int], Iterator[np.ndarray]], fakes: Callable[..., Any]
) -> None:
    whole = LongStream(tmp_path / "whole", "f", part_s=6.0)
    whole.run(fakes().FakeFrames(), voice)
    chance, stops = random.Random(3), 0
    while True:
        work = LongStream(tmp_path / "stopped", "f", part_s=6.0)
        try:
            work.run(stopping(fakes().FakeFrames(), chance.randrange(14, 40)), voice)
            break
        except StopsError:
            stops += 1
            assert stops < 50
            states = [path.name for path in work.folder.iterdir() if path.name.startswith("state")]
            assert len(states) <= 1, "one state, however long the stream"
    assert stops >= 2
    assert work.progress.starts == stops + 1
    assert levels(work.parts()) == levels(whole.parts())
    assert len(levels(whole.parts())) == round(LENGTH_S * 25)


def test_another_stream_does_not_go_on_from_this_one(
    tmp_path: Path, voice: Callable[[int], Iterator[np.ndarray]], fakes: Callable[..., Any]
) -> None:
    with pytest.raises(StopsError):
        LongStream(tmp_path / "w", "one", part_s=6.0).run(stopping(fakes().FakeFrames(), 30), voice)
    assert LongStream(tmp_path / "w", "one", part_s=6.0).progress.frames > 0
    assert LongStream(tmp_path / "w", "two", part_s=6.0).progress.frames == 0
    assert list((tmp_path / "w").iterdir()) == []


def test_parts_become_one_video_with_its_voice(
    tmp_path: Path, voice: Callable[[int], Iterator[np.ndarray]], fakes: Callable[..., Any]
) -> None:
    work = LongStream(tmp_path / "w", "f", part_s=6.0)
    work.run(fakes().FakeFrames(), voice)
    assert len(work.parts()) == 7
    frames, fps = join_parts(work.parts(), voice(0), RATE_HZ, tmp_path / "out.mp4")
    assert (frames, fps) == (1000, 25.0)
    # Parts are as long as they happen to be; segments can be cut out of the whole at every second second all the same.
    assert any(int(part.stem) % 50 for part in work.parts())
    for begin_s in range(0, 40, 2):
        assert cut_pictures(tmp_path / "out.mp4", begin_s, begin_s + 2, tmp_path / "cut.mp4") == 50
        assert levels([tmp_path / "cut.mp4"]) == levels(work.parts())[25 * begin_s : 25 * begin_s + 50]
    assert levels([tmp_path / "out.mp4"]) == levels(work.parts())
    with av.open(str(tmp_path / "out.mp4")) as file:
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in file.decode(audio=0)])
    assert np.array_equal(heard, np.concatenate([np.rint(one * 32768) for one in voice(0)]).astype(np.int16))
    work.remove()
    assert not work.folder.exists()


def test_a_voice_may_begin_anywhere_in_its_repetitions(voice: Callable[[int], Iterator[np.ndarray]]) -> None:
    whole = np.concatenate(list(voice(0)))
    for first in (0, 1, RATE_HZ * 7, RATE_HZ * 20 + 123, len(whole) - 1):
        assert np.array_equal(np.concatenate(list(voice(first))), whole[first:])


def test_windows_lie_on_even_seconds_along_the_whole_stream() -> None:
    begins = Segments(stream_s=600.0, windows=10).window_begins_s()
    assert len(begins) == 10
    assert (begins[0], begins[-1]) == (0, 590)
    assert all(begin % 2 == 0 for begin in begins)
    assert Segments(windows=0).window_begins_s() == ()
    assert Segments(stream_s=10.0, windows=5).window_begins_s() == (0,)


def test_a_window_belongs_to_the_stream_of_its_sample() -> None:
    name = window_sample("long-003", 590)
    assert (name, window_begin_s(name)) == ("long-003.t000590", 590)
    assert streamed_sample("stress_windows", name) == "long-003"
    assert streamed_sample("genbench_short", "odd.t5") == "odd.t5"
    window = Key(GENERATE, "m", "stress_windows", name)
    stream = Key(GENERATE, "m", "stress_stream", "long-003")
    assert all(shard_of(window, count) == shard_of(stream, count) for count in range(1, 9))


def test_memory_counts_the_processes_below() -> None:
    alone, one = resident_mib()
    child = subprocess.Popen(["sleep", "30"])
    try:
        more, two = resident_mib()
    finally:
        child.kill()
        child.wait()
    assert two == one + 1
    assert more > 0
    assert alone > 0
    sampler = MemorySampler()
    sampler._points = [(float(t), 100.0 if t < 30 else 110.0 + t / 1000) for t in range(0, 601, 10)]
    found = sampler.summary()
    assert found["early_mib"] == pytest.approx(110.09)
    assert found["end_mib"] == pytest.approx(110.57)
    assert found["growth_share"] == pytest.approx(0.48 / 110.09, abs=1e-5)
    sampler._points = [(0.0, 50.0), (1.0, 100.0), (2.0, 100.0)]
    assert sampler.summary()["growth_share"] == 0.0


def test_a_run_killed_in_the_middle_of_its_stream_goes_on_from_a_part(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = command("run", "fake_stress", "--plugin", str(PLUGIN), "--out", str(out))
    progress = out / "streams/fake/s0.s0/progress.json"
    reached = [0]
    for _ in range(2):
        process = subprocess.Popen(
            words, env=environment(slow_s=0.01), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + 120
        while not progress.is_file() or json.loads(progress.read_text())["frames"] <= reached[-1]:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        reached.append(json.loads(progress.read_text())["frames"])
    done = evalkit("run", "fake_stress", "--plugin", str(PLUGIN), "--out", str(out))
    assert done.code == 0, done.out + done.err
    record = json.loads((out / "records/generate/fake/stress_stream/s0.s0.json").read_text())
    assert record["details"]["starts"] == 3
    assert record["frames"] == 300 * 25
    video = np.array(levels([out / "artefacts/fake/stress_stream/s0.s0/video.mp4"]))
    assert np.abs(video - np.arange(300 * 25) // 25 * 2 % 256).max() <= 1, (
        "each frame in its place, but for the encoder's rounding"
    )
    assert not progress.parent.exists(), "the working folder goes once the stream is whole"
    drift = json.loads((out / "stats/drift.json").read_text())
    (curve,) = [one for one in drift if one["dataset"] == "stress_windows"]
    assert curve["t_s"] == [5.0, 101.0, 197.0, 295.0]
