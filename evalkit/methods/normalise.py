"""From the file that a program wrote to the file that is scored: probed, compared with what was due, changes recorded.

The voice laid under the pictures is the sample's own, lossless, so that all methods are scored against the same sound.
Pictures are copied packet by packet unless frames must go or the shape must change; then they are coded again.
"""

from __future__ import annotations

import shutil
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.methods.base import VIDEO
from evalkit.methods.remux import add_voice, read_voice, voice_rate_hz, write_pictures

RAW = "raw"
LIP_SYNC_FPS = 25
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Probe:
    """What a video file really holds; `frames` were decoded, not believed."""

    width: int
    height: int
    fps: float
    frames: int
    has_audio: bool


@dataclass(frozen=True)
class Changes:
    """What is to be done to the pictures.

    leading_frames: dropped from the beginning. most_frames: of what then remains; 0: all. box: the part kept, left, top,
    right and bottom from 0 to 1. size: width and height in the end.
    """

    leading_frames: int = 0
    most_frames: int = 0
    box: Box | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Normalised:
    """The file to score, what the raw one was, and what was changed on the way, in order."""

    video: Path
    frames: int
    fps: float
    raw: Probe
    changes: tuple[dict[str, Any], ...]

    def details(self) -> dict[str, Any]:
        """For a record."""
        width, height = next((one["size"] for one in self.changes if "size" in one), (self.raw.width, self.raw.height))
        return {"raw": {**vars(self.raw)}, "changes": list(self.changes), "width": width, "height": height}


def probe(path: Path) -> Probe:
    """Decode a whole file and count; raises VideoError naming the fault of one that is missing, broken or empty."""
    from evalkit.video import FrameChunk, open_video

    with open_video(path) as video:
        info = video.info
        frames = sum(len(chunk.times_s) for chunk in video.chunks() if isinstance(chunk, FrameChunk))
    return Probe(info.width, info.height, info.fps, frames, info.has_audio)


def check_frames(found: Probe, wanted: int, tolerance: int) -> None:
    """Raise ValueError when a video is off by more than one clip: some scripts swallow their errors."""
    if abs(found.frames - wanted) > tolerance:
        raise ValueError(
            f"the video has {found.frames} frames, {wanted} were due (give or take {tolerance}): "
            "it broke off, or the voice was not used"
        )


def normalise(raw: Path, found: Probe, voice: Path, wanted: Changes, out_dir: Path, keep_raw: bool = True) -> Normalised:
    """Make out_dir/video.mp4 of `raw`; with `keep_raw` the raw file stays beside it."""
    changes: list[dict[str, Any]] = []
    pictures = raw
    last = wanted.leading_frames + wanted.most_frames if wanted.most_frames else found.frames
    is_cut = wanted.leading_frames > 0 or last < found.frames
    box = _pixels(wanted.box, found)
    if is_cut or box is not None or (wanted.size and wanted.size != (found.width, found.height)):
        pictures = out_dir / "pictures.mp4"
        size = _even(wanted.size or ((box[2] - box[0], box[3] - box[1]) if box else (found.width, found.height)))
        write_pictures(_changed(raw, wanted.leading_frames, last, box, size), found.fps, pictures)
        changes += _named(wanted, found, last, box, size)
        changes.append({"what": "pictures coded again", "why": "frames or shape changed", "codec": "H.264, CRF 14"})
    samples, rate_hz = _voice(voice)
    frames, fps = add_voice(pictures, samples, rate_hz, out_dir / VIDEO)
    why = "a file without sound" if not found.has_audio else "all methods are scored against the same sound"
    changes.append({"what": "voice", "to": "the sample's own, lossless", "why": why})
    if abs(found.fps - LIP_SYNC_FPS) > 0.01:
        changes.append(
            {
                "what": "frame rate",
                "from": found.fps,
                "to": LIP_SYNC_FPS,
                "where": "in the lip-sync metrics only: each point of their grid shows the last picture at or before it",
            }
        )
    if pictures is not raw:
        pictures.unlink()
    if keep_raw:
        shutil.copyfile(raw, out_dir / f"{RAW}{raw.suffix}")
    return Normalised(out_dir / VIDEO, frames, fps, found, tuple(changes))


def square_box(width: int, height: int) -> Box:
    """Where a picture of this size lies on the square that it was laid on, for cutting the video back."""
    side = max(width, height)
    x, y = (1 - width / side) / 2, (1 - height / side) / 2
    return x, y, 1 - x, 1 - y


def _named(
    wanted: Changes, found: Probe, last: int, box: tuple[int, int, int, int] | None, size: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    if wanted.leading_frames:
        yield {"what": "leading frames dropped", "frames": wanted.leading_frames, "why": "they come before the voice"}
    if last < found.frames:
        yield {"what": "trailing frames dropped", "frames": found.frames - last, "why": "they come after the voice"}
    if box is not None:
        yield {"what": "cut to a part", "box": list(box), "why": "the picture had been laid on a square"}
    if size != (found.width, found.height):
        yield {"what": "size", "from": [found.width, found.height], "size": list(size)}


def _changed(
    raw: Path, first: int, last: int, box: tuple[int, int, int, int] | None, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Frames first ... last - 1, cut and scaled, in chunks."""
    from evalkit.video import FrameChunk, open_video

    at = 0
    with open_video(raw) as video:
        for chunk in video.chunks():
            if not isinstance(chunk, FrameChunk):
                continue
            frames = chunk.frames[max(0, first - at) : max(0, last - at)]
            at += len(chunk.frames)
            if box is not None:
                frames = frames[:, box[1] : box[3], box[0] : box[2]]
            if len(frames):
                yield _scaled(frames, size)


def _scaled(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (frames.shape[2], frames.shape[1]) == size:
        return np.ascontiguousarray(frames)
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.LANCZOS)) for one in frames])


def _pixels(box: Box | None, found: Probe) -> tuple[int, int, int, int] | None:
    if box is None or box == (0.0, 0.0, 1.0, 1.0):
        return None
    x0, x1 = (round(edge * found.width) for edge in (box[0], box[2]))
    y0, y1 = (round(edge * found.height) for edge in (box[1], box[3]))
    return x0, y0, x0 + (x1 - x0) // 2 * 2, y0 + (y1 - y0) // 2 * 2


def _even(size: tuple[int, int]) -> tuple[int, int]:
    return max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2)


def _voice(path: Path) -> tuple[np.ndarray, int]:
    """Samples and their rate: as they are in a mono 16-bit WAV, decoded to 16 kHz from anything else."""
    from liveavatar.inputs import VOICE_RATE_HZ
    from liveavatar.inputs import read_voice as decode_voice

    try:
        return read_voice(path), voice_rate_hz(path)
    except (OSError, EOFError, ValueError, wave.Error):  # another format; a file that is none is refused by the reader below
        return decode_voice(path), VOICE_RATE_HZ
