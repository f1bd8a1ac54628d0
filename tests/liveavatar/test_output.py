"""Videos come out whole, exact and aligned, or leave a playable part and say why."""

import json
import logging
import signal
import subprocess
import sys
import textwrap
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from liveavatar.output import Mp4Stream, OutputError, Timeline, VideoFormat, VideoWriter

W, H, FPS, RATE = 96, 64, 25, 16_000


def pictures(n: int, start: int = 0) -> np.ndarray:
    """Flat frames whose grey tells their number."""
    grey = 16 + 5 * (np.arange(start, start + n) % 40)
    return np.broadcast_to(grey.astype(np.uint8)[:, None, None, None], (n, H, W, 3)).copy()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.uniform(-0.5, 0.5, round(seconds * RATE)) * 32768).round().astype(np.float32) / 32768


def read_frames(path: Path) -> tuple[list[np.ndarray], list[float], list[bool]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.to_ndarray(format="rgb24") for f in frames], [f.time for f in frames], [bool(f.key_frame) for f in frames]


def read_audio(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].time == 0
    joined = np.concatenate([f.to_ndarray().reshape(-1) for f in frames])
    return joined if joined.dtype == np.float32 else joined / 32768.0


def test_written_frames_come_back_in_number_order_time_and_colour(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", W, H, FPS) as video:
        for start in range(0, 120, 12):
            video.write(pictures(12, start))
    frames, times, keys = read_frames(tmp_path / "a.mp4")
    assert len(frames) == 120
    np.testing.assert_allclose(times, np.arange(120) / FPS, atol=1e-6)
    assert np.diff(np.flatnonzero([*keys, True])).max() <= 2 * FPS
    errors = [abs(f.astype(int) - g.astype(int)).max() for f, g in zip(frames, pictures(120), strict=True)]
    assert max(errors) <= 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def test_strong_colours_survive(tmp_path: Path) -> None:
    colours = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 200], [230, 200, 180]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (4, H, W, 3))
    with VideoWriter(tmp_path / "a.mp4", W, H, FPS) as video:
        video.write(frames)
    back = np.array([f[H // 2, W // 2] for f in read_frames(tmp_path / "a.mp4")[0]])
    assert abs(back.astype(int) - colours).max() <= 6


def test_index_stands_in_front_and_both_streams_are_there(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", W, H, FPS, audio=noise(1.0)) as video:
        video.write(pictures(25))
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"moof" not in data
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]
        assert container.streams.video[0].average_rate == FPS
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.duration == 1_000_000


@pytest.mark.parametrize(("seconds", "expected"), [(2.0, 2.0), (1.3, 2.0), (5.0, 2.0)])
def test_flac_is_exact_and_as_long_as_the_video(tmp_path: Path, seconds: float, expected: float) -> None:
    voice = noise(seconds)
    with VideoWriter(tmp_path / "a.mp4", W, H, FPS, audio=voice, audio_codec="flac") as video:
        video.write(pictures(50))
    back = read_audio(tmp_path / "a.mp4")
    assert len(back) == round(expected * RATE)
    n = min(len(voice), len(back))
    np.testing.assert_array_equal(back[:n], voice[:n])
    assert not back[n:].any()


def test_pushed_audio_equals_whole_audio(tmp_path: Path) -> None:
    voice = noise(1.92)
    with VideoWriter(tmp_path / "a.mp4", W, H, FPS, audio_codec="flac") as video:
        for block in range(4):
            for piece in np.array_split(voice[block * 7680 : (block + 1) * 7680], 7):
                video.write_audio(piece)
            video.write(pictures(12, block * 12))
    np.testing.assert_array_equal(read_audio(tmp_path / "a.mp4"), voice)


def test_aac_is_aligned(tmp_path: Path) -> None:
    voice = np.zeros(2 * RATE, np.float32)
    voice[8000:8400] = noise(1.0)[:400]
    with VideoWriter(tmp_path / "a.mp4", W, H, FPS, audio=voice) as video:
        video.write(pictures(50))
    back = read_audio(tmp_path / "a.mp4")
    shifts = range(-2000, 2000)
    assert abs(max(shifts, key=lambda s: float(back[8000 + s : 8400 + s] @ voice[8000:8400]))) <= 1
    assert len(back) - len(voice) in range(1024)


def test_fractional_rate(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", W, H, Fraction(30000, 1001), noise(1), audio_codec="flac") as video:
        video.write(pictures(30))
    assert len(read_frames(tmp_path / "a.mp4")[0]) == 30
    assert len(read_audio(tmp_path / "a.mp4")) == round(30 * 1001 / 30000 * RATE)


@pytest.mark.parametrize("error", [RuntimeError("model failed"), KeyboardInterrupt()])
def test_interrupted_video_stays_playable(tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.mp4").write_bytes(b"the older one")

    def write_and_fail() -> None:
        with VideoWriter(tmp_path / "a.mp4", W, H, FPS, noise(3)) as video:
            video.write(pictures(36))
            raise error

    with caplog.at_level(logging.WARNING), pytest.raises(type(error)):
        write_and_fail()
    assert (tmp_path / "a.mp4").read_bytes() == b"the older one"
    assert len(read_frames(tmp_path / "a.partial.mp4")[0]) == 36
    assert "the first 36 frames are kept in" in caplog.text
    assert len(read_audio(tmp_path / "a.partial.mp4")) >= 36 * 640


def test_interrupt_inside_write_stays_playable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Mp4Stream._mux
    calls = iter(range(1000))

    def interrupted(self: Mp4Stream, stream: object, frame: object) -> None:
        if next(calls) == 70:
            raise KeyboardInterrupt
        real(self, stream, frame)

    monkeypatch.setattr(Mp4Stream, "_mux", interrupted)
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", W, H, FPS) as video:
        video.write(pictures(100))
    frames, _, _ = read_frames(tmp_path / "a.partial.mp4")
    assert 12 <= len(frames) <= 70
    assert abs(frames[-1].astype(int) - pictures(1, len(frames) - 1)[0]).max() <= 4


def test_nothing_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frame was written"), VideoWriter(tmp_path / "a.mp4", W, H, FPS):
        pass
    with pytest.raises(RuntimeError, match="early"), VideoWriter(tmp_path / "a.mp4", W, H, FPS):
        raise RuntimeError("early")
    assert not list(tmp_path.iterdir())


def test_full_disk_while_writing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "a.partial.mp4").symlink_to("/dev/full")
    noisy = np.random.default_rng(0).integers(0, 256, (50, H, W, 3), dtype=np.uint8)

    def write_ten_times() -> None:
        with VideoWriter(tmp_path / "a.mp4", W, H, FPS) as video:
            for _ in range(10):
                video.write(noisy)

    with pytest.raises(OutputError, match=r"a\.mp4: the disk is full"):
        write_ten_times()
    assert not (tmp_path / "a.mp4").exists()


def test_full_disk_at_the_end_keeps_every_frame(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / ".a.whole.mp4").symlink_to("/dev/full")
    video = VideoWriter(tmp_path / "a.mp4", W, H, FPS)
    video.write(np.random.default_rng(0).integers(0, 256, (50, H, W, 3), dtype=np.uint8))
    with pytest.raises(OutputError, match=r"the disk is full.*all 50 frames are kept"):
        video.close()
    assert len(read_frames(tmp_path / "a.partial.mp4")[0]) == 50


SCRIPT = """
import resource, sys, time
import numpy as np
from liveavatar.output import OutputError, VideoWriter
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noisy = np.random.default_rng(0).integers(0, 256, (12, 64, 96, 3), dtype=np.uint8)
try:
    with VideoWriter(sys.argv[1], 96, 64, 25, np.zeros(16_000, np.float32)) as video:
        for _ in range(20):
            video.write(noisy)
        print("ready", flush=True)
        time.sleep(60)
except OutputError as error:
    print(error)
"""


def start(tmp_path: Path, mode: str) -> subprocess.Popen[str]:
    (tmp_path / "run.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "a.mp4"), mode]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(root)})


def test_size_limit_cuts_between_playable_and_lost(tmp_path: Path) -> None:
    with start(tmp_path, "limit") as process:
        said = process.communicate(timeout=30)[0]
    assert "size limit" in said
    assert "frames are kept in" in said
    kept = int(said.split("the first ")[1].split()[0])
    assert 12 <= kept < 240
    assert len(read_frames(tmp_path / "a.partial.mp4")[0]) == kept


def test_killed_process_leaves_a_playable_part(tmp_path: Path) -> None:
    with start(tmp_path, "sleep") as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert len(read_frames(tmp_path / "a.partial.mp4")[0]) >= 150
    assert not (tmp_path / "a.mp4").exists()


def test_live_stream_leaves_at_once(tmp_path: Path) -> None:
    class Pipe:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    stream = Mp4Stream(pipe, VideoFormat(W, H, Fraction(FPS), is_live=True))
    stream.write_audio(noise(2))
    for block in range(4):
        stream.write(pictures(12, block * 12))
        if block == 2:
            (tmp_path / "so-far.mp4").write_bytes(pipe.data)
    stream.close()
    (tmp_path / "all.mp4").write_bytes(pipe.data)
    assert len(read_frames(tmp_path / "so-far.mp4")[0]) >= 24
    assert len(read_frames(tmp_path / "all.mp4")[0]) == 48


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.avi", "does not end in .mp4"), ("no/a.mp4", "does not exist"), ("folder.mp4", "is a folder")],
)
def test_impossible_targets_are_refused_before_any_work(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match=message):
        VideoWriter(tmp_path / name, W, H, FPS)


def test_wrong_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even sides"):
        VideoWriter(tmp_path / "a.mp4", 95, H, FPS)
    with pytest.raises(ValueError, match="audio_codec='mp3'"):
        VideoWriter(tmp_path / "a.mp4", W, H, FPS, audio_codec="mp3")
    with pytest.raises(ValueError, match="NaN"):
        VideoWriter(tmp_path / "a.mp4", W, H, FPS, audio=np.full(9, np.nan, np.float32))
    video = VideoWriter(tmp_path / "a.mp4", W, H, FPS)
    with pytest.raises(ValueError, match="expected uint8"):
        video.write(np.zeros((1, H, W, 3), np.float32))
    with pytest.raises(ValueError, match="expected uint8"):
        video.write(np.zeros((1, W, H, 3), np.uint8))
    video.write(pictures(1))
    with pytest.raises(ValueError, match="begun without audio"):
        video.write_audio(noise(1))
    video.close()
    with pytest.raises(ValueError, match="is closed"):
        video.write(pictures(1))


def test_timeline_lines_are_on_disk_at_once_and_monotonic(tmp_path: Path) -> None:
    with Timeline(tmp_path / "t.jsonl") as timeline:
        begin = time.perf_counter()
        timeline.span("denoise", begin, time.perf_counter(), block=0, frames=12)
        timeline.span("prefill", begin, time.perf_counter())
        lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
        assert lines[0] == {"event": "start", "t_s": 0.0}
        assert lines[1].keys() == {"event", "stage", "block", "begin_s", "end_s", "frames"}
        assert 0 <= lines[1]["begin_s"] <= lines[1]["end_s"] < 60
        assert lines[1]["block"] == 0
        assert lines[2]["block"] == -1
    last = json.loads((tmp_path / "t.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "end"
    assert last["t_s"] >= lines[1]["end_s"]
    with pytest.raises(OutputError, match="No such file"):
        Timeline(tmp_path / "no" / "t.jsonl")
    with pytest.raises(RuntimeError), Timeline(tmp_path / "broken.jsonl"):
        raise RuntimeError
    assert "end" not in (tmp_path / "broken.jsonl").read_text()
    with Timeline(None) as timeline:
        timeline.span("denoise", 0.0, 1.0)


def test_timeline_on_a_full_disk() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OutputError, match="timeline /dev/full: the disk is full"):
        Timeline("/dev/full")


@pytest.mark.parametrize("first_frame", [0, 30, 1560])
def test_a_part_has_its_key_frames_on_the_grid_of_the_whole(tmp_path: Path, first_frame: int) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "part.mp4", 64, 64, 25, first_frame=first_frame) as video:
        video.write(np.stack([np.roll(texture, step // 3, axis=1) for step in range(130)]))
    with av.open(str(tmp_path / "part.mp4")) as file:
        packets = [packet for packet in file.demux(video=0) if packet.pts is not None]
        keys = {round(packet.pts * packet.time_base * 25) for packet in packets if packet.is_keyframe}
    assert keys == {0, *(frame for frame in range(130) if (first_frame + frame) % 50 == 0)}
