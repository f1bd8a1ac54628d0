"""The one decoder: pictures and sound of a video file in a single bounded pass.

`open_video(path)` yields RGB frames with their times and mono sound at 16 kHz, in pieces, in file order.
Nothing here resizes, crops, changes the frame rate or writes files. Times are seconds from the first frame;
sound is laid on the same line (padded or cut at the start), so sample t * 16000 is heard with time t.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

AUDIO_RATE_HZ = 16_000
FRAMES_PER_CHUNK = 32


class VideoError(ValueError):
    """A file that cannot be measured; the message says what is wrong with it and what to do."""


@dataclass(frozen=True)
class VideoInfo:
    """What the container declares: `frames_declared` is None where the format does not say."""

    width: int
    height: int
    fps: float
    tick_s: float
    frames_declared: int | None
    audio_rate_hz: int | None
    rotation: int = 0
    """Quarter turns (counterclockwise) that the file asks a player for; pictures and sizes here are turned already."""
    duration_declared_s: float | None = None
    pixel_format: str = ""

    @property
    def has_audio(self) -> bool:
        return self.audio_rate_hz is not None


@dataclass(frozen=True)
class FrameChunk:
    """Consecutive pictures: `frames` uint8 [n, H, W, 3] RGB, `times_s` float64 [n], strictly rising."""

    frames: np.ndarray
    times_s: np.ndarray


@dataclass(frozen=True)
class AudioChunk:
    """Consecutive sound: float32 [n] mono, nominally -1..1, at AUDIO_RATE_HZ."""

    samples: np.ndarray


class Video:
    """An opened file: `info` at once, then one pass over `chunks()`. Use as a context manager."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._container = _open_container(self.path)
        streams = self._container.streams
        if not streams.video:
            self.close()
            raise VideoError(f"{self.path} holds no picture stream; give a video file")
        self._pictures = streams.video[0]
        self._sound = streams.audio[0] if streams.audio else None
        self.info = _read_info(self._pictures, self._sound, _quarter_turns(self.path))

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    def chunks(self, frames_per_chunk: int = FRAMES_PER_CHUNK) -> Iterator[FrameChunk | AudioChunk]:
        """Everything in the file, once. Raises VideoError for damage, also when it shows only at the end."""
        pictures = _PictureReader(self.path, frames_per_chunk, self.info.rotation)
        sound = _SoundReader()
        wanted = [stream for stream in (self._pictures, self._sound) if stream is not None]
        try:
            for packet in self._container.demux(*wanted):
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame):
                        yield from pictures.push(frame)
                    elif isinstance(frame, av.AudioFrame):
                        yield from sound.push(frame)
                if pictures.start_s is not None:
                    yield from sound.set_start(pictures.start_s)
        except av.FFmpegError as error:
            raise VideoError(
                f"{self.path} breaks off or is damaged after {pictures.count} pictures ({error}); write the file again"
            ) from error
        yield from pictures.flush()
        yield from sound.flush()
        _check_count(self.path, pictures.count, self.info.frames_declared)
        _check_length(self.path, pictures.last_s + 1 / self.info.fps, self.info)


def open_video(path: Path | str) -> Video:
    """Open a video file, or raise a VideoError that names the fault (missing, empty, unreadable, no picture)."""
    return Video(path)


def read_frames(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """All pictures uint8 [n, H, W, 3] and times [n] at once: for short clips and tests only."""
    with open_video(path) as video:
        chunks = [chunk for chunk in video.chunks() if isinstance(chunk, FrameChunk)]
    return np.concatenate([c.frames for c in chunks]), np.concatenate([c.times_s for c in chunks])


def read_audio(path: Path | str) -> np.ndarray:
    """The sound track of a video as float32 [n] at 16 kHz; VideoError if it has none."""
    with open_video(path) as video:
        if not video.info.has_audio:
            raise VideoError(f"{path} has no sound; a metric of speech needs the voice in the file")
        parts = [chunk.samples for chunk in video.chunks() if isinstance(chunk, AudioChunk)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def sound_chunks(path: Path | str) -> Iterator[AudioChunk]:
    """A sound file (or a video's track) as mono pieces at 16 kHz from its first sample on; VideoError if it has none."""
    path = Path(path)
    with _open_container(path) as container:
        if not container.streams.audio:
            raise VideoError(f"{path} has no sound; give a sound file")
        reader = _SoundReader(is_placed=True)
        try:
            for packet in container.demux(container.streams.audio[0]):
                for frame in packet.decode():
                    if isinstance(frame, av.AudioFrame):
                        yield from reader.push(frame)
        except av.FFmpegError as error:
            raise VideoError(f"{path} breaks off or is damaged ({error}); write the file again") from error
        yield from reader.flush()


class FrameGrid:
    """Chooses pictures on a fixed rate by time: point i shows the last picture at or before i / rate.

    A tolerance of half a container tick absorbs rounded timestamps. Push chunks in order, then `flush`.
    """

    def __init__(self, rate_hz: float, info: VideoInfo):
        self._rate_hz = rate_hz
        self._tolerance_s = info.tick_s / 2
        self._interval_s = 1 / info.fps
        self._points_out = 0
        self._held: FrameChunk | None = None

    def push(self, chunk: FrameChunk) -> FrameChunk | None:
        """Pictures [n, H, W, 3] whose showing has ended, with grid times; None if no point fell on them."""
        if self._held is not None:
            chunk = FrameChunk(
                np.concatenate([self._held.frames, chunk.frames]), np.concatenate([self._held.times_s, chunk.times_s])
            )
        self._held = FrameChunk(chunk.frames[-1:], chunk.times_s[-1:])
        return self._emit(chunk.frames[:-1], chunk.times_s[1:])

    def flush(self) -> FrameChunk | None:
        """The last picture, shown for one nominal interval."""
        if self._held is None:
            return None
        held, self._held = self._held, None
        return self._emit(held.frames, held.times_s + self._interval_s)

    def _emit(self, frames: np.ndarray, ends_s: np.ndarray) -> FrameChunk | None:
        # Points before an end: i / rate + tolerance < end.
        ends = np.ceil((ends_s - self._tolerance_s) * self._rate_hz - 1e-9).astype(int)
        ends = np.maximum(ends, self._points_out)
        repeats = np.diff(ends, prepend=self._points_out)
        if not repeats.sum():
            return None
        times_s = np.arange(self._points_out, ends[-1]) / self._rate_hz
        self._points_out = int(ends[-1])
        kept = frames if (repeats == 1).all() else np.repeat(frames, repeats, axis=0)
        return FrameChunk(kept, times_s)


class _PictureReader:
    def __init__(self, path: Path, frames_per_chunk: int, rotation: int = 0):
        self.path, self.count, self._rotation = path, 0, rotation
        self.start_s: float | None = None
        self._frames_per_chunk = frames_per_chunk
        self._frames: list[np.ndarray] = []
        self._times_s: list[float] = []
        self.last_s = -np.inf

    def push(self, frame: av.VideoFrame) -> Iterator[FrameChunk]:
        if frame.time is None:
            raise VideoError(f"{self.path}: picture {self.count} has no timestamp; write the file with timestamps")
        self.start_s = frame.time if self.start_s is None else self.start_s
        time_s = frame.time - self.start_s
        if time_s <= self.last_s:
            raise VideoError(f"{self.path}: timestamps do not rise at picture {self.count}; write the file again")
        self.last_s = time_s
        picture = frame.to_ndarray(format="rgb24")
        self._frames.append(np.rot90(picture, self._rotation) if self._rotation else picture)
        self._times_s.append(time_s)
        self.count += 1
        if len(self._frames) == self._frames_per_chunk:
            yield from self.flush()

    def flush(self) -> Iterator[FrameChunk]:
        if self._frames:
            yield FrameChunk(np.stack(self._frames), np.array(self._times_s))
        self._frames, self._times_s = [], []


class _SoundReader:
    """Resamples to 16 kHz mono and lays the first sample on the time of the first picture."""

    def __init__(self, is_placed: bool = False) -> None:
        """`is_placed`: there are no pictures, so the sound begins where it begins."""
        # The channels are averaged here: the library's own downmix of float sound is louder than its parts.
        self._resampler = av.AudioResampler(format="fltp", rate=AUDIO_RATE_HZ)
        self._first_s: float | None = None
        self._picture_s: float | None = 0.0 if is_placed else None
        self._waiting: list[np.ndarray] = []
        self._to_drop = 0

    def push(self, frame: av.AudioFrame) -> Iterator[AudioChunk]:
        if self._first_s is None:
            self._first_s = frame.time or 0.0
        frame.pts = None  # gaps inside a track are not repaired, they are the file's own sound
        for piece in self._resampler.resample(frame):
            yield from self._place(piece.to_ndarray().mean(0))

    def set_start(self, picture_s: float) -> Iterator[AudioChunk]:
        """Tell when the first picture is shown; sound read before is released then."""
        if self._picture_s is not None or self._first_s is None:
            return
        self._picture_s = picture_s
        offset = round((self._first_s - picture_s) * AUDIO_RATE_HZ)
        self._to_drop = max(0, -offset)
        waiting, self._waiting = self._waiting, []
        for samples in [np.zeros(max(0, offset), np.float32), *waiting]:
            yield from self._place(samples)

    def flush(self) -> Iterator[AudioChunk]:
        if self._first_s is not None:
            for piece in self._resampler.resample(None):
                yield from self._place(piece.to_ndarray().mean(0))

    def _place(self, samples: np.ndarray) -> Iterator[AudioChunk]:
        if self._picture_s is None:
            self._waiting.append(samples)
            return
        dropped = min(self._to_drop, len(samples))
        self._to_drop -= dropped
        if dropped < len(samples):
            yield AudioChunk(samples[dropped:].astype(np.float32, copy=False))


def _open_container(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise VideoError(f"{path} does not exist; generate the video first")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} has zero bytes; generate the video again")
    try:
        return av.open(str(path))
    except av.FFmpegError as error:
        raise VideoError(
            f"{path} cannot be opened as a video ({error}): it is truncated or of another kind; write the file again"
        ) from error


def _quarter_turns(path: Path) -> int:
    """What the first picture's display matrix asks for, 0 to 3; known only once a picture is decoded."""
    try:
        with _open_container(path) as container:
            frame = next(container.decode(video=0), None)
            degrees = frame.rotation if frame is not None else 0
    except av.FFmpegError:
        return 0  # the reading pass tells what is wrong, and where
    if degrees % 90:
        raise VideoError(f"{path} is turned by {degrees} degrees; write it upright")
    return degrees // 90 % 4


def _read_info(pictures: av.VideoStream, sound: av.AudioStream | None, rotation: int) -> VideoInfo:
    rate = pictures.average_rate or pictures.guessed_rate
    if not rate:
        raise VideoError("the picture stream declares no frame rate; write the file with a constant one")
    width, height = pictures.codec_context.width, pictures.codec_context.height
    return VideoInfo(
        width=height if rotation % 2 else width,
        height=width if rotation % 2 else height,
        fps=float(rate),
        tick_s=float(pictures.time_base or 0),
        frames_declared=pictures.frames or None,
        audio_rate_hz=sound.codec_context.sample_rate if sound is not None else None,
        rotation=rotation,
        duration_declared_s=_declared_length(pictures, sound),
        pixel_format=pictures.codec_context.pix_fmt or "",
    )


def _declared_length(pictures: av.VideoStream, sound: av.AudioStream | None) -> float | None:
    """Seconds of the picture stream as the file states them; the container's own length may be that of the sound."""
    if pictures.duration and pictures.time_base:
        return float(pictures.duration * pictures.time_base)
    stated = pictures.metadata.get("DURATION", "")
    if stated.count(":") == 2:
        hours, minutes, seconds = stated.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    container = pictures.container
    if sound is None and isinstance(container, av.container.InputContainer) and container.duration:
        return float(container.duration) / av.time_base
    return None


def _check_count(path: Path, decoded: int, declared: int | None) -> None:
    if decoded == 0:
        raise VideoError(f"{path} holds no picture that can be decoded; write the file again")
    if declared is not None and abs(decoded - declared) > 1:
        raise VideoError(
            f"{path} declares {declared} pictures but {decoded} were decoded: it is truncated or damaged; "
            "write the file again"
        )


def _check_length(path: Path, length_s: float, info: VideoInfo) -> None:
    """Formats that do not count their pictures state a length: a file that ends well before it was cut off."""
    declared = info.duration_declared_s
    if info.frames_declared is None and declared is not None and length_s < declared - max(0.5, 0.02 * declared):
        raise VideoError(
            f"{path} declares {declared:.2f} s but its pictures end after {length_s:.2f} s: it is truncated or damaged; "
            "write the file again"
        )
