"""Strips of frames from videos: the top of a report, the picture of a README.

``python -m reports.strips OUT.jpg VIDEO [VIDEO ...]`` draws one row per video, equal steps in time.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

BACKGROUND = (250, 249, 246)


@dataclass(frozen=True)
class Still:
    """One frame and its time in the video."""

    time_s: float
    image: Image.Image


def stills(video: Path, count: int, margin: float = 0.04) -> list[Still]:
    """``count`` frames at equal steps in time, leaving ``margin`` of the length free at both ends.

    Returns fewer when the video has fewer frames, and an empty list when it cannot be decoded.
    """
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            length_s = _length_s(container, stream)
            return _seek_stills(container, stream, _times(length_s, count, margin))
    except (OSError, IndexError, av.FFmpegError):
        return []


def first_still(video: Path) -> Still | None:
    """The first frame, used as poster; None when the file cannot be decoded."""
    try:
        with av.open(str(video)) as container:
            frame = next(container.decode(video=0))
            return Still(0.0, frame.to_image())
    except (OSError, StopIteration, IndexError, av.FFmpegError):
        return None


def strip(rows: list[list[Image.Image]], height: int = 192, gap: int = 6) -> Image.Image:
    """Rows of pictures, each scaled to one height, on a plain ground."""
    scaled = [[_to_height(image, height) for image in row] for row in rows if row]
    if not scaled:
        raise ValueError("no frames to draw; give at least one video that decodes")
    width = max(sum(image.width + gap for image in row) for row in scaled) + gap
    canvas = Image.new("RGB", (width, len(scaled) * (height + gap) + gap), BACKGROUND)
    for index, row in enumerate(scaled):
        left = gap
        for image in row:
            canvas.paste(image, (left, gap + index * (height + gap)))
            left += image.width + gap
    return canvas


def _length_s(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def _times(length_s: float, count: int, margin: float) -> list[float]:
    first, last = length_s * margin, length_s * (1 - margin)
    if count < 2:
        return [(first + last) / 2]
    return [first + (last - first) * index / (count - 1) for index in range(count)]


def _seek_stills(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, times_s: list[float]
) -> list[Still]:
    """Decode from the key frame before each time; equal frames are kept once, none without a clock."""
    found: list[Still] = []
    if stream.time_base is None:
        return found
    for wanted in times_s:
        container.seek(int(wanted / stream.time_base), stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= wanted - 1e-3:
                if not found or frame.time > found[-1].time_s:
                    found.append(Still(float(frame.time), frame.to_image()))
                break
    return found


def _to_height(image: Image.Image, height: int) -> Image.Image:
    width = max(1, round(image.width * height / image.height))
    return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def main(arguments: list[str] | None = None) -> int:
    """Draw one strip file from the videos named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m reports.strips", description="One row of frames per video.")
    parser.add_argument("out", type=Path, metavar="OUT", help="picture to write (.jpg or .png)")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("--count", type=int, default=8, help="frames per video (default %(default)s)")
    parser.add_argument("--height", type=int, default=192, help="height of a row in pixels (default %(default)s)")
    chosen = parser.parse_args(arguments)
    rows = [[still.image for still in stills(video, chosen.count)] for video in chosen.videos]
    try:
        strip(rows, chosen.height).save(chosen.out, quality=90)
    except (OSError, ValueError) as error:
        print(f"reports.strips: {error}", file=sys.stderr)
        return 2
    print(chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
