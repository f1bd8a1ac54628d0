"""One stream of the shipped generator into a folder, in short parts: run as a program that can be killed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evalkit.long_stream import LongStream
from evalkit.methods.live_stream import LiveFrames
from liveavatar import pipeline

RATE_HZ, LENGTH_S, PART_S = 16_000, 6.0, 0.96


def voice(first: int) -> Iterator[np.ndarray]:
    """Six seconds of something like speech, from sample `first` on, in pieces that fit no block."""
    times = np.arange(round(RATE_HZ * LENGTH_S))
    samples = (0.3 * np.sin(times / 20) * np.sin(times / 3000)).astype(np.float32)
    for begin in range(first, len(samples), 5000):
        yield samples[begin : begin + 5000]


def stream(loaded: pipeline.Pipeline) -> LiveFrames:
    """A new stream of one picture."""
    shape = (loaded.config.height, loaded.config.width, 3)
    picture = np.linspace(0, 255, num=shape[0] * shape[1] * 3).astype(np.uint8).reshape(shape)
    return LiveFrames(loaded.open(picture, "a person who speaks", 7, "killed"), loaded.config)


def make(loaded: pipeline.Pipeline, folder: Path) -> LongStream:
    """All of the stream, or what is left of it."""
    work = LongStream(folder, "one stream", part_s=PART_S)
    work.run(stream(loaded), voice)
    return work


if __name__ == "__main__":
    make(pipeline.load("nano"), Path(sys.argv[1]))
