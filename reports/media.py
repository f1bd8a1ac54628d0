"""Pictures, videos and voices of a run as things a page can carry: data URIs, posters, envelopes."""

from __future__ import annotations

import base64
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
from PIL import Image

from reports import strips
from reports.data import Clip, Run

POSTER_QUALITY = 85
PAGE_LINES = 360
MODES = ("auto", "single", "folder")
PICTURE_MAX_BYTES = 300_000
PICTURE_MAX_SIDE = 480


@dataclass(frozen=True)
class Video:
    """One video as the page shows it; ``source`` is a data URI or a path relative to the page."""

    source: str
    embedded: bool
    size_bytes: int
    poster: str
    width: int
    height: int


class Shelf:
    """Hands out videos of a run; embeds them, in the order asked, while the budget lasts.

    mode: "auto" as said, "single" embeds all, "folder" none. out: where the page will lie, if not in the run folder: videos
    that are not embedded are then copied beside it.
    """

    def __init__(self, run: Run, budget_bytes: int, mode: str = "auto", out: Path | None = None) -> None:
        if mode not in MODES:
            raise ValueError(f"mode={mode!r}: choose one of {', '.join(MODES)}")
        self._run, self._mode, self._out = run, mode, out
        self._left = budget_bytes
        self.spent_bytes = 0
        self._made: dict[Clip, Video | None] = {}

    def video(self, clip: Clip) -> Video | None:
        """The video of a clip, or None when there is no file. Asking twice returns the same object."""
        if clip not in self._made:
            self._made[clip] = self._make(clip)
        return self._made[clip]

    @property
    def embedded(self) -> list[Video]:
        """Videos that lie inside the page."""
        return [video for video in self._made.values() if video and video.embedded]

    @property
    def linked(self) -> list[Video]:
        """Videos that the page finds beside it, because the budget was spent or folder mode was asked for."""
        return [video for video in self._made.values() if video and not video.embedded]

    def _make(self, clip: Clip) -> Video | None:
        path = self._run.folder(clip) / "video.mp4"
        if not path.is_file() or path.stat().st_size == 0:
            return None
        still = strips.first_still(path)
        poster = jpeg_uri(still.image) if still else ""
        width, height = still.image.size if still else (96, 128)
        small = page_video(path)
        uri_bytes = 4 * -(-len(small) // 3)  # base64
        if self._mode == "folder" or (self._mode == "auto" and uri_bytes > self._left):
            return Video(self._link(path), False, path.stat().st_size, poster, width, height)
        self._left -= uri_bytes
        self.spent_bytes += uri_bytes
        return Video(data_uri(small, "video/mp4"), True, len(small), poster, width, height)

    def _link(self, path: Path) -> str:
        inside = path.relative_to(self._run.root)
        if self._out is None:
            return "../" + quote(inside.as_posix())
        copy = self._out / "media" / inside.relative_to(inside.parts[0])
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(page_video(path))
        return quote(copy.relative_to(self._out).as_posix())


def page_video(path: Path) -> bytes:
    """A video as pages carry it: small ones as they are, large ones again at no more than 360 lines.

    One that cannot be decoded is carried as it is: the player will say so.
    """
    try:
        with av.open(str(path)) as container:
            is_large = bool(container.streams.video) and container.streams.video[0].height > PAGE_LINES
        return _smaller(path) if is_large else path.read_bytes()
    except av.FFmpegError:
        return path.read_bytes()


def _smaller(path: Path) -> bytes:
    """The same pictures and sound, H.264 and AAC, PAGE_LINES high, index in front; the same bytes each time."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "page.mp4"  # moving the index to the front needs a real file
        _shrink(path, out)
        return out.read_bytes()


def _shrink(path: Path, out: Path) -> None:
    with av.open(str(path)) as source, av.open(str(out), "w", options={"movflags": "faststart"}) as target:
        old = source.streams.video[0]
        width = round(old.width * PAGE_LINES / old.height / 2) * 2
        options = {"crf": "28", "preset": "veryfast", "maxrate": "250k", "bufsize": "500k"}
        new = target.add_stream("libx264", rate=old.average_rate, options=options)
        new.width, new.height, new.pix_fmt, new.codec_context.thread_count = width, PAGE_LINES, "yuv420p", 1
        heard = source.streams.audio[0] if source.streams.audio else None
        sound = target.add_stream("aac", rate=heard.rate) if heard is not None else None
        for frame in source.decode(*(one for one in (old, heard) if one is not None)):
            if isinstance(frame, av.VideoFrame):
                target.mux(new.encode(frame.reformat(width, PAGE_LINES, "yuv420p")))
            elif sound is not None and isinstance(frame, av.AudioFrame):
                frame.pts = None
                target.mux(sound.encode(frame))
        target.mux(new.encode(None))
        if sound is not None:
            target.mux(sound.encode(None))


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as a base64 data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def jpeg_uri(image: Image.Image, max_side: int = 640) -> str:
    """A picture as a JPEG data URI, no side longer than ``max_side``."""
    picture = image.convert("RGB")
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=POSTER_QUALITY, optimize=True)
    return data_uri(buffer.getvalue(), "image/jpeg")


def picture_uri(path: Path | None, max_side: int = PICTURE_MAX_SIDE) -> str:
    """A picture file as a data URI; shrunk when large, empty when absent or unreadable."""
    if path is None:
        return ""
    try:
        with Image.open(path) as image:
            small = path.stat().st_size <= PICTURE_MAX_BYTES and max(image.size) <= max_side
            if small and image.format in ("PNG", "JPEG"):
                return data_uri(path.read_bytes(), f"image/{image.format.lower()}")
            return jpeg_uri(image, max_side)
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True)
class Envelope:
    """The outline of a voice: lowest and highest value in each of equal time bins."""

    duration_s: float
    low: np.ndarray
    high: np.ndarray


def envelope(path: Path | None, bins: int = 480) -> Envelope | None:
    """Outline of an audio file in -1..1; None when absent or unreadable."""
    if path is None:
        return None
    try:
        wave, rate_hz = _samples(path)
    except (OSError, IndexError, av.FFmpegError):
        return None
    if wave.size < bins or not np.isfinite(wave).all():
        return None
    edges = np.linspace(0, wave.size, bins + 1).astype(int)
    high = np.maximum.reduceat(wave, edges[:-1])
    low = np.minimum.reduceat(wave, edges[:-1])
    peak = max(float(np.abs(wave).max()), 1e-6)
    return Envelope(wave.size / rate_hz, low / peak, high / peak)


def _samples(path: Path) -> tuple[np.ndarray, int]:
    """Mono float samples and their rate."""
    pieces = []
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono")
        for frame in container.decode(stream):
            pieces += [piece.to_ndarray().ravel() for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray().ravel() for piece in resampler.resample(None)]
        rate_hz = int(stream.rate)
    return (np.concatenate(pieces) if pieces else np.zeros(0, np.float32)), rate_hz


def playback_fps(path: Path) -> float | None:
    """Frames per second that a video file declares."""
    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
            return float(rate) if rate else None
    except (OSError, IndexError, av.FFmpegError):
        return None
