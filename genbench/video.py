"""Pieces of video files: frames at 25 per second, sound at 16 kHz, and a file of cut frames; memory does not grow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from genbench.sound import resampled
from genbench.speech import SAMPLE_RATE_HZ
from genbench.timeline import FPS

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi")
# Near lossless: a truth that metrics compare with must not carry the marks of a second encoding.
_QUALITY = "10"
# x264's faster code for some processors gives, now and then, other bytes for the same frames.
_ENCODER = {"crf": _QUALITY, "preset": "medium", "x264-params": "cpu-independent=1"}


def video_length_s(path: Path) -> float:
    """Seconds that both pictures and sound last. Raises ValueError where one of them is missing."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video or not container.streams.audio:
                raise ValueError(f"{path} lacks {'sound' if container.streams.video else 'pictures'}")
            lengths = [_length_s(container, stream) for stream in (container.streams.video[0], container.streams.audio[0])]
    except av.FFmpegError as error:
        raise ValueError(f"{path} is no readable video ({error})") from error
    return min(lengths)


def cut_frames(path: Path, first: int, count: int) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3] number first.. of the video at constant 25 per second: each the last one shown by its time.

    Raises ValueError where the video ends before them.
    """
    import av

    due, shown, begin = 0, None, None
    try:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                begin = frame.time if begin is None else begin
                # Half a tick early: times of a video of 25 frames per second are rounded by its container.
                while shown is not None and due < first + count and due / FPS < frame.time - begin - 0.5 / FPS:
                    if due >= first:
                        yield _even(shown)
                    due += 1
                shown = frame
                if due >= first + count:
                    return
            while shown is not None and due < first + count:
                # The last picture stands for its own time only.
                if due >= first:
                    yield _even(shown)
                due += 1
                if due / FPS > shown.time - (begin or 0) + 1 / FPS and due < first + count:
                    raise ValueError(
                        f"{path} ended after {due / FPS:.2f} s, frames up to {(first + count) / FPS:.2f} s were wanted"
                    )
    except av.FFmpegError as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def cut_sound(path: Path, start_s: float, count: int) -> np.ndarray:
    """`count` samples float32 at 16 kHz from `start_s` seconds on, channels averaged, silence beyond the end."""
    import av

    pieces: list[np.ndarray] = []
    have, rate, begin = 0, 0, 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            rate = stream.rate
            resampler = av.AudioResampler(format="fltp", rate=rate)
            begin, wanted = round(start_s * rate), -(-count * rate // SAMPLE_RATE_HZ)
            for frame in container.decode(audio=0):
                for out in resampler.resample(frame):
                    mono = out.to_ndarray().mean(axis=0)
                    pieces.append(mono[max(0, begin - have) : max(0, begin + wanted - have)])
                    have += len(mono)
                if have >= begin + wanted:
                    break
    except av.FFmpegError as error:
        raise ValueError(f"the sound of {path} is damaged ({error})") from error
    samples = np.zeros(count, np.float32)
    heard = resampled(np.concatenate(pieces), rate)[:count] if pieces else samples[:0]
    samples[: len(heard)] = heard
    return samples


def write_video(path: Path, frames: Iterable[np.ndarray], fps: int) -> None:
    """A silent H.264 file that appears at `path` only when whole: the same bytes for the same frames."""
    import av

    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    stream: Any = None
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as container:
            for pixels in frames:
                if stream is None:
                    stream = container.add_stream("libx264", rate=fps, options=_ENCODER)
                    stream.height, stream.width, stream.pix_fmt = pixels.shape[0], pixels.shape[1], "yuv420p"
                    stream.thread_count = 1  # more would give other bytes
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            if stream is None:
                raise ValueError(f"no frames for {path}")
            container.mux(stream.encode(None))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_video(path: Path, chunk_frames: int) -> Iterator[np.ndarray]:
    """All frames uint8 [n, H, W, 3] in order, n at most `chunk_frames`."""
    import av

    held: list[np.ndarray] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            held.append(frame.to_ndarray(format="rgb24"))
            if len(held) == chunk_frames:
                yield np.stack(held)
                held = []
    if held:
        yield np.stack(held)


def _even(frame: Any) -> np.ndarray:
    """Pixels with an even height and width, which H.264 in its common form needs."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2])


def _length_s(container: Any, stream: Any) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1e6
