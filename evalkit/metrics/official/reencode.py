"""The hidden re-encodings of the published SyncNet pipeline, in memory: MPEG-4 and JPEG for pictures and for crops.

The original writes the video at 25 fps as MPEG-4 with quality 2 and takes its pictures from JPEG files of quality 2; the
crops go through MPEG-4 and JPEG again. Each step changes pixels a little and the scores with them, which is why this is
a protocol of its own. Coders of another ffmpeg may differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

FPS = 25
FINE, USUAL = 2, 4
"""Quantiser scales: 2 where the original asks for it; 4 stands for a JPEG writer's own choice."""


class _Coder:
    """One codec there and back: pictures in, pictures out, as many, possibly later."""

    def __init__(self, codec: str, pixel_format: str, quality: int):
        self._codec, self._format, self._quality = codec, pixel_format, quality
        self._encoder: Any = None
        self._decoder: Any = av.CodecContext.create(codec, "r")
        self._count = 0

    def push(self, picture: np.ndarray) -> Iterator[np.ndarray]:
        """Uint8 [H, W, 3] in; what is ready out."""
        if self._encoder is None:
            self._encoder = self._open(picture)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format=self._format)
        frame.pts, frame.time_base = self._count, Fraction(1, FPS)
        self._count += 1
        yield from self._decode(self._encoder.encode(frame))

    def flush(self) -> Iterator[np.ndarray]:
        """What is left."""
        if self._encoder is not None:
            yield from self._decode(self._encoder.encode(None))
            yield from (frame.to_ndarray(format="rgb24") for frame in self._decoder.decode(None))

    def _open(self, picture: np.ndarray) -> Any:
        encoder: Any = av.CodecContext.create(self._codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt = picture.shape[1], picture.shape[0], self._format
        encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
        encoder.options = {"qmin": str(self._quality), "qmax": str(self._quality), "flags": "+qscale"}
        return encoder

    def _decode(self, packets: Any) -> Iterator[np.ndarray]:
        for packet in packets:
            for frame in self._decoder.decode(packet):
                yield frame.to_ndarray(format="rgb24")


class _Chain:
    def __init__(self, *coders: _Coder):
        self._coders = coders

    def _through(self, pictures: list[np.ndarray], start: int = 0) -> list[np.ndarray]:
        for coder in self._coders[start:]:
            pictures = [out for picture in pictures for out in coder.push(picture)]
        return pictures

    def flush(self) -> list[np.ndarray]:
        """Everything still inside, in order."""
        out: list[np.ndarray] = []
        for index, coder in enumerate(self._coders):
            out += self._through(list(coder.flush()), index + 1)
        return out


class FrameRecoder(_Chain):
    """Whole pictures: MPEG-4 of quality 2, then JPEG of quality 2. Odd sides lose their last row or column first."""

    def __init__(self) -> None:
        super().__init__(_Coder("mpeg4", "yuv420p", FINE), _Coder("mjpeg", "yuvj420p", FINE))

    def push(self, frames: np.ndarray) -> list[np.ndarray]:
        """Pictures uint8 [n, H, W, 3] in; a list of pictures that are ready."""
        even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
        return self._through(list(even))


class CropRecoder(_Chain):
    """Face crops: MPEG-4 at a generous rate, then JPEG of usual quality."""

    def __init__(self) -> None:
        super().__init__(_Coder("mpeg4", "yuv420p", FINE), _Coder("mjpeg", "yuvj420p", USUAL))

    def push(self, crop: np.ndarray) -> list[np.ndarray]:
        """One crop in; the crops that are ready."""
        return self._through([crop])
