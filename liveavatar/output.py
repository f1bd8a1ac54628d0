"""The video file and its timeline, written as frames are made.

While it grows, a video is a fragmented MP4 named NAME.partial.mp4: whatever stops the program, what was written plays.
When all is well it is rewritten with its index in front and only then takes its name, so an older file of that name
lives until the new one is whole. No model and no session here: arrays in, files out.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

import numpy as np

logger = logging.getLogger(__name__)

KEY_FRAME_INTERVAL_S = 2
FRAGMENT_US = 480_000  # one block: no more than this, and what the encoder holds, is lost when the process is killed
MUXER_OPTIONS = {
    # delay_moov: the header waits for the first fragment, which tells how much the audio encoder primes.
    "movflags": "frag_keyframe+delay_moov+default_base_moof",
    "frag_duration": str(FRAGMENT_US),
    "flush_packets": "1",  # each fragment to the file at once, not when a buffer is full
    "max_interleave_delta": str(FRAGMENT_US),  # audio that comes late must not hold the frames back
}
AUDIO_SAMPLE_FORMATS = {"aac": "fltp", "flac": "s16"}


class Writable(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes, /) -> int: ...


class OutputError(OSError):
    """A video that cannot be written; the message says why and what was kept."""


@dataclass(frozen=True)
class VideoFormat:
    """How frames and samples are encoded. `is_live` trades file size for leaving the encoder at once.

    first_frame: the number of the first frame in the longer video that this is a part of: key frames lie where the whole has
    them.
    """

    width: int
    height: int
    fps: Fraction
    audio_rate_hz: int = 16_000
    audio_codec: str = "aac"
    crf: float = 14
    preset: str = "veryfast"
    threads: int = 1
    is_live: bool = False
    first_frame: int = 0

    @property
    def key_frame_interval(self) -> int:
        """Frames from one key frame to the next."""
        return max(1, int(KEY_FRAME_INTERVAL_S * self.fps))

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", Fraction(self.fps).limit_denominator(1001))
        if self.width < 2 or self.height < 2 or self.width % 2 or self.height % 2:
            raise ValueError(f"{self.width}x{self.height} px: H.264 with 4:2:0 colour needs even sides of at least 2")
        if self.fps <= 0:
            raise ValueError(f"fps={self.fps}: give a playback rate above 0")
        if self.audio_codec not in AUDIO_SAMPLE_FORMATS:
            raise ValueError(f"audio_codec={self.audio_codec!r}: choose one of {', '.join(AUDIO_SAMPLE_FORMATS)}")

    def samples_until(self, frame: int) -> int:
        """Audio samples that belong to the first `frame` video frames."""
        return round(frame * self.audio_rate_hz / self.fps)

    def video_options(self) -> dict[str, str]:
        # No B-frames: decode order is display order, so a file cut anywhere has exact times.
        # Without "cpu-independent" x264 now and then gives other bytes for the same frames: its look-ahead (macroblock tree)
        # then depends on what lay in memory before.
        x264 = {"x264-params": "cpu-independent=1"}
        options = {"crf": str(self.crf), "preset": self.preset, "bf": "0", **x264}
        return options | {"tune": "zerolatency"} if self.is_live else options


class Mp4Stream:
    """Frames and samples encoded into one fragmented MP4, on a path or on any object with `write` (a pipe).

    Audio keeps pace with the frames and ends with them: samples beyond the video are dropped, missing ones are silence.
    The file has an audio track if `write_audio` was called before the first `write`.
    """

    def __init__(self, target: Path | Writable, form: VideoFormat) -> None:
        self.form = form
        self.frames_written = 0
        self._target = target
        self._container: Any = None
        self._video: Any = None
        self._audio: Any = None
        self._backlog: deque[np.ndarray] | None = None
        self._samples_written = 0
        self._is_torn = False

    def write_audio(self, samples: np.ndarray) -> None:
        """Queue mono samples (float in -1..1, or int16) after those given before."""
        if self._backlog is None:
            if self._container is not None:
                raise ValueError("this video was begun without audio; call write_audio before the first write")
            self._backlog = deque()
        self._backlog.append(_as_int16(samples))

    def write(self, frames: np.ndarray) -> None:
        """Encode uint8 RGB frames [n, height, width, 3]."""
        frames = np.asarray(frames)
        expected = (self.form.height, self.form.width, 3)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != expected:
            raise ValueError(f"frames are {frames.dtype} {list(frames.shape)}; expected uint8 [n, {expected}]")
        if len(frames) == 0:
            return
        if self._container is None:
            self._open()
        self._is_torn = True  # an interrupt between encoder and file leaves a gap: nothing may follow it
        for frame in frames:
            self._mux(self._video, self._picture(frame))
            self.frames_written += 1
        self._write_due_audio()
        self._is_torn = False

    def close(self, *, pad: bool = True) -> None:
        """Bring out what the encoders hold and end the file. With `pad`, missing audio becomes silence."""
        if self._container is None:
            return
        try:
            if not self._is_torn:
                self._write_due_audio(pad=pad)
                self._mux(self._video, None)
                if self._audio is not None:
                    self._mux(self._audio, None)
        finally:
            container, self._container = self._container, None
            container.close()

    def _open(self) -> None:
        import av

        form = self.form
        target = str(self._target) if isinstance(self._target, Path) else self._target
        self._container = av.open(target, "w", format="mp4", options=MUXER_OPTIONS)
        self._video = self._container.add_stream("libx264", rate=form.fps, options=form.video_options())
        _describe_picture(self._video.codec_context, form)
        if self._backlog is not None:
            self._audio = self._container.add_stream(form.audio_codec, rate=form.audio_rate_hz, layout="mono")
            self._audio.codec_context.format = AUDIO_SAMPLE_FORMATS[form.audio_codec]
            if form.audio_codec == "aac":
                self._audio.codec_context.bit_rate = 96_000

    def _picture(self, frame: np.ndarray) -> Any:
        import av

        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = self.frames_written
        picture.time_base = 1 / self.form.fps
        if (self.form.first_frame + self.frames_written) % self.form.key_frame_interval == 0:
            picture.pict_type = av.video.frame.PictureType.I
        return picture

    def _write_due_audio(self, pad: bool = False) -> None:
        if self._audio is None:
            return
        due = self.form.samples_until(self.frames_written) - self._samples_written
        samples = _take(self._backlog, due)
        if pad and len(samples) < due:
            samples = np.pad(samples, (0, due - len(samples)))
        if len(samples):
            self._mux(self._audio, self._sound(samples))
            self._samples_written += len(samples)

    def _sound(self, samples: np.ndarray) -> Any:
        import av

        sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound.sample_rate = self.form.audio_rate_hz
        sound.pts = self._samples_written
        sound.time_base = Fraction(1, self.form.audio_rate_hz)
        return sound

    def _mux(self, stream: Any, frame: Any) -> None:
        self._container.mux(stream.encode(frame))


class VideoWriter:
    """A video file that appears whole, or leaves a playable NAME.partial.mp4 and says so.

    >>> with VideoWriter("out.mp4", 96, 128, fps=25, audio=voice) as video:
    ...     for frames in stream:
    ...         video.write(frames)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        fps: float | Fraction,
        audio: np.ndarray | None = None,
        audio_rate: int = 16_000,
        audio_codec: str = "aac",
        crf: float = 14,
        preset: str = "veryfast",
        threads: int = 1,
        first_frame: int = 0,
    ) -> None:
        """Arguments as `VideoFormat` names them; audio: mono samples, or later by `write_audio`."""
        self.path = check_target(path)
        self.partial_path = self.path.with_name(f"{self.path.stem}.partial.mp4")
        form = VideoFormat(width, height, Fraction(fps), audio_rate, audio_codec, crf, preset, threads, False, first_frame)
        self._stream = Mp4Stream(self.partial_path, form)
        self._is_open = True
        if audio is not None:
            self.write_audio(audio)

    @property
    def frames_written(self) -> int:
        return self._stream.frames_written

    def write_audio(self, samples: np.ndarray) -> None:
        """Queue mono samples; call it before the first `write` if the video is to have sound."""
        self._stream.write_audio(samples)

    def write(self, frames: np.ndarray) -> None:
        """Append uint8 RGB frames [n, height, width, 3]."""
        if not self._is_open:
            raise ValueError(f"{self.path} is closed; open a new VideoWriter")
        with self._failures_kept():
            self._stream.write(frames)

    def close(self) -> None:
        """Finish the file and give it its name."""
        if not self._is_open:
            return
        if self.frames_written == 0:
            self.abort()
            raise OutputError(f"{self.path}: no frame was written, so there is no video")
        with self._failures_kept():
            self._stream.close()
        self._is_open = False
        self._publish()

    def abort(self) -> str:
        """Stop now; the frames so far stay in the partial file. Gives a sentence on what was kept."""
        self._is_open = False
        with contextlib.suppress(OSError, ValueError):  # FFmpeg's errors are among these; the disk may be full
            self._stream.close(pad=False)
        if self.frames_written == 0:
            return "nothing was written yet"
        return kept_by_killed(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        except KeyboardInterrupt:
            self._is_open = True
            raise
        finally:
            if self._is_open:
                logger.warning("stopped before %s was finished: %s", self.path, self.abort())

    @contextlib.contextmanager
    def _failures_kept(self) -> Iterator[None]:
        import av

        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise OutputError(f"{self.path}: {_cause(error)}; {self.abort()}") from error

    def _publish(self) -> None:
        import av

        whole = self.path.with_name(f".{self.path.stem}.whole.mp4")
        try:
            _remux(self.partial_path, whole)
            whole.replace(self.path)
        except (OSError, av.FFmpegError) as error:
            raise OutputError(
                f"{self.path}: {_cause(error)}; all {self.frames_written} frames are kept in {self.partial_path}"
            ) from error
        finally:
            whole.unlink(missing_ok=True)
        self.partial_path.unlink(missing_ok=True)


class Timeline:
    """What happened when: one JSON line an event, each on disk before the next. Without a path it writes nothing.

    Times go in as readings of time.perf_counter and come out as seconds since `t0`, the moment of opening.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._file: TextIO | None = None
        self._name = str(path)
        if path is not None:
            with self._told():
                self._file = Path(path).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self.t0 = time.perf_counter()
        self._line(event="start", t_s=0.0)

    def span(self, stage: str, begin: float, end: float, block: int = -1, frames: int = 0, **more: object) -> None:
        """One stage's work on one block (-1: no block in particular); `frames` counts the pixel frames made.

        more: fields besides, such as the device that did it.
        """
        begin_s, end_s = self.moment(begin), self.moment(end)
        self._line(event="span", stage=stage, block=block, begin_s=begin_s, end_s=end_s, frames=frames, **more)

    def note(self, event: str, **fields: object) -> None:
        """Anything else that is worth a line; times among the fields are those of `moment`."""
        self._line(event=event, **fields)

    def moment(self, reading: float) -> float:
        """A reading of time.perf_counter in the file's own seconds."""
        return round(reading - self.t0, 6)

    def close(self, *, is_done: bool = True) -> None:
        """Close, with the end if all is done: a timeline without one tells that it broke off. Safe to call twice."""
        try:
            if is_done:
                self._line(event="end", t_s=round(time.perf_counter() - self.t0, 6))
        finally:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # the line itself has already told
                if file is not None:
                    file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(is_done=kind is None)

    def _line(self, **fields: object) -> None:
        if self._file is not None:
            with self._told():
                self._file.write(json.dumps(fields) + "\n")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"timeline {self._name}: {_cause(error)}") from error


def kept_by_killed(path: str | os.PathLike[str]) -> str:
    """What a writer of the video `path` that was killed has left, made playable, in a sentence; empty: nothing."""
    partial = Path(path).with_name(f"{Path(path).stem}.partial.mp4")
    if not partial.is_file():
        return ""
    kept = _playable_frames(partial)
    if kept == 0:
        partial.unlink(missing_ok=True)
        return "no whole fragment was written yet, so nothing was kept"
    return f"the first {kept} frames are kept in {partial}"


def check_target(path: str | os.PathLike[str]) -> Path:
    """`path` as a Path if an .mp4 file can be made there; called before any work is done."""
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise OutputError(f"output {path} does not end in .mp4, the one format written here; rename it")
    if path.is_dir():
        raise OutputError(f"output {path} is a folder; give a file name in it")
    if not path.parent.is_dir():
        raise OutputError(f"output folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"output folder {path.parent} may not be written; choose another")
    return path


def _describe_picture(codec: Any, form: VideoFormat) -> None:
    codec.width, codec.height, codec.pix_fmt = form.width, form.height, "yuv420p"
    codec.time_base = 1 / form.fps
    codec.gop_size = form.key_frame_interval
    codec.thread_count = form.threads
    codec.color_range = 1  # limited, as players expect
    codec.colorspace = codec.color_primaries = codec.color_trc = 6  # BT.601, what the conversion from RGB uses


def _as_int16(samples: np.ndarray) -> np.ndarray:
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise ValueError(f"audio is {samples.dtype} {list(samples.shape)}; expected mono samples [n]")
    if samples.dtype == np.int16:
        return samples.copy()
    if not np.isfinite(samples).all():
        raise ValueError("audio has NaN or infinite samples; read it with inputs.read_voice, which refuses them")
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)


def _take(backlog: deque[np.ndarray] | None, n: int) -> np.ndarray:
    """The first `n` samples of the backlog, or all if there are fewer."""
    taken: list[np.ndarray] = [np.zeros(0, np.int16)]
    while backlog and n > 0:
        piece = backlog.popleft()
        if len(piece) > n:
            backlog.appendleft(piece[n:])
        taken.append(piece[:n])
        n -= len(taken[-1])
    return np.concatenate(taken)


def _remux(source: Path, target: Path) -> None:
    """The same packets with the index in front."""
    import av

    with av.open(str(source)) as reader, av.open(str(target), "w", options={"movflags": "faststart"}) as writer:
        copies = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams}
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                writer.mux(packet)


def _playable_frames(path: Path) -> int:
    """Video frames that a player will find in the file, cut back to whole fragments; 0 if it cannot be opened."""
    import av

    try:
        os.truncate(path, _whole_fragments_end(path))
        with av.open(str(path)) as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except (OSError, ValueError, IndexError, av.FFmpegError):
        return 0


def _whole_fragments_end(path: Path) -> int:
    """Bytes up to the end of the last media box that is all there: a full disk cuts anywhere."""
    begin, end, file_bytes = 0, 0, path.stat().st_size
    with path.open("rb") as file:
        while begin + 8 <= file_bytes:
            file.seek(begin)
            box_bytes, kind = struct.unpack(">I4s", file.read(8))
            begin += max(box_bytes, 8)
            if begin <= file_bytes and kind != b"moof":  # a moof only announces the mdat behind it
                end = begin
    return end


def _cause(error: BaseException) -> str:
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and run again"
    if code == errno.EFBIG:
        return "the file would exceed the size limit set here (ulimit -f)"
    return str(getattr(error, "strerror", None) or error)
