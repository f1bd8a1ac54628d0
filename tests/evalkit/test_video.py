"""The decoder: counts, times, sound laid on the picture's clock, and clear refusal of damaged files."""

from pathlib import Path

import av
import numpy as np
import pytest

from evalkit.metrics.training.coded import write_video
from evalkit.video import (
    AUDIO_RATE_HZ,
    AudioChunk,
    FrameChunk,
    FrameGrid,
    VideoError,
    VideoInfo,
    open_video,
    read_audio,
    read_frames,
)

FRAMES = 40


def moving_frames(count: int = FRAMES) -> np.ndarray:
    """Grey pictures whose brightness names the frame, 4 levels apart."""
    return np.broadcast_to((20 + 4 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, 64, 48, 3)).copy()


def voice(count: int = FRAMES) -> np.ndarray:
    return (8000 * np.random.default_rng(0).normal(size=count * 640).clip(-3, 3)).astype(np.int16)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path, moving_frames(), voice())
    return path


def test_frames_come_in_order_with_their_times(clip: Path) -> None:
    frames, times_s = read_frames(clip)
    assert frames.shape == (FRAMES, 64, 48, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_allclose(times_s, np.arange(FRAMES) / 25, atol=1e-6)
    assert np.abs(frames.mean((1, 2, 3)) - moving_frames().mean((1, 2, 3))).max() < 2


def test_chunks_are_bounded_and_their_size_changes_nothing(clip: Path) -> None:
    def read(size: int) -> tuple[np.ndarray, np.ndarray]:
        with open_video(clip) as video:
            chunks = list(video.chunks(size))
        pictures = [chunk.frames for chunk in chunks if isinstance(chunk, FrameChunk)]
        assert max(map(len, pictures)) <= size
        return np.concatenate(pictures), np.concatenate([c.samples for c in chunks if isinstance(c, AudioChunk)])

    for one, other in zip(read(7), read(32), strict=True):
        np.testing.assert_array_equal(one, other)


def test_sound_is_mono_16_khz_and_sits_where_it_was(clip: Path) -> None:
    sound, given = read_audio(clip), voice() / 32768
    assert sound.dtype == np.float32
    assert abs(len(sound) - len(given)) <= 1024
    agreement = [np.dot(sound[2000 + lag : 20000 + lag], given[2000:20000]) for lag in range(-40, 41)]
    assert int(np.argmax(agreement)) - 40 == 0


def test_other_rates_and_stereo_become_mono_16_khz(tmp_path: Path) -> None:
    path = tmp_path / "stereo.mkv"
    time_s = np.arange(48000) / 48000
    tone = np.round(8000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)
    write_tracks(path, moving_frames(25), np.stack([tone, tone], 1).reshape(1, -1), 48000, "stereo")
    sound = read_audio(path)
    assert abs(len(sound) - AUDIO_RATE_HZ) < 50
    expected = 8000 / 32768 * np.sin(2 * np.pi * 440 * np.arange(AUDIO_RATE_HZ) / AUDIO_RATE_HZ)
    np.testing.assert_allclose(sound[1000:15000], expected[1000:15000], atol=0.01)


def test_late_sound_is_padded_to_the_first_picture(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    write_tracks(path, moving_frames(25), voice(20)[None], AUDIO_RATE_HZ, "mono", start_s=0.2)
    sound = read_audio(path)
    assert not sound[:3200].any()
    np.testing.assert_allclose(sound[3200:13200], voice(20)[:10000] / 32768, atol=1e-6)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.97])
def test_cut_files_are_refused(clip: Path, tmp_path: Path, keep: float) -> None:
    damaged = tmp_path / "cut.mp4"
    damaged.write_bytes(clip.read_bytes()[: int(keep * clip.stat().st_size)])
    with pytest.raises(VideoError, match="zero bytes" if keep == 0 else "truncated|breaks off"):
        read_frames(damaged)


def test_a_file_cut_behind_its_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fast.mp4"
    noise = np.random.default_rng(1).integers(0, 255, (FRAMES, 64, 48, 3), dtype=np.uint8)
    write_tracks(path, noise, voice()[None], AUDIO_RATE_HZ, "mono", options={"movflags": "faststart"}, codec="aac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"breaks off|decoded"):
        read_frames(path)


def test_missing_foreign_and_silent_files_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="does not exist"):
        open_video(tmp_path / "none.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    with pytest.raises(VideoError, match="cannot be opened"):
        open_video(text)
    silent = tmp_path / "silent.mp4"
    write_video(silent, moving_frames(10))
    assert not open_video(silent).info.has_audio
    with pytest.raises(VideoError, match="no sound"):
        read_audio(silent)


@pytest.mark.parametrize(
    ("fps", "rate_hz", "expected"),
    [
        (25, 25, list(range(20))),
        (25, 5, [0, 5, 10, 15]),
        (50, 25, list(range(0, 20, 2))),
        (12.5, 25, [index // 2 for index in range(40)]),
        (30, 25, [int(index * 30 / 25 + 1e-9) for index in range(17)]),
    ],
)
def test_grid_takes_the_last_picture_at_or_before_each_point(fps: float, rate_hz: float, expected: list[int]) -> None:
    info = VideoInfo(1, 1, fps, 0.001, None, None)
    frames = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    times_s = np.round(np.arange(20) / fps, 3)  # as a container with millisecond ticks stores them
    grid = FrameGrid(rate_hz, info)
    pieces = [grid.push(FrameChunk(frames[start : start + 3], times_s[start : start + 3])) for start in range(0, 20, 3)]
    pieces = [piece for piece in [*pieces, grid.flush()] if piece is not None]
    assert np.concatenate([piece.frames for piece in pieces]).ravel().tolist() == expected
    np.testing.assert_allclose(np.concatenate([piece.times_s for piece in pieces]), np.arange(len(expected)) / rate_hz)


def write_tracks(
    path: Path,
    frames: np.ndarray,
    sound: np.ndarray,
    rate_hz: int,
    layout: str,
    start_s: float = 0.0,
    options: dict[str, str] | None = None,
    codec: str = "pcm_s16le",
) -> None:
    """Any container with packed int16 sound [1, n * channels] that starts at start_s."""
    with av.open(str(path), "w", options=options or {}) as container:
        pictures = container.add_stream("libx264", rate=25)
        pictures.height, pictures.width, pictures.pix_fmt = *frames.shape[1:3], "yuv420p"
        track = container.add_stream(codec, rate=rate_hz, layout=layout)
        for picture in frames:
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, round(start_s * rate_hz)
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
