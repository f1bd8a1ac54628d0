"""One pass over a video for all extractors: decoded once, fed in bounded pieces, memory flat in its length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.metric_setup import NANO, MetricSetup
from evalkit.metrics.base import Clip, FeatureStream
from evalkit.metrics.registry import get_extractor

if TYPE_CHECKING:
    from evalkit.video import AudioChunk, FrameChunk, FrameGrid, Video

FRAMES_PER_CHUNK = 32


def extract(
    video: Path | str,
    sample: Any,
    names: Iterable[str],
    frames_per_chunk: int = FRAMES_PER_CHUNK,
    setup: MetricSetup = NANO,
    voice: Path | str | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by extractor name and array name for one video file.

    `sample` is the manifest entry the video was made from; `voice` a sound file that is heard instead of the video's own
    track, from the first picture on. Raises VideoError for a file that cannot be decoded; a file without sound is no
    error here: metrics of speech then report `no_audio`.
    """
    from evalkit.video import FrameChunk, open_video, sound_chunks  # the decoder library loads when it is needed

    with open_video(video) as opened:
        has_audio = opened.info.has_audio or voice is not None
        feeds = [_open_feed(name, opened, sample, setup, has_audio) for name in dict.fromkeys(names)]
        for chunk in opened.chunks(frames_per_chunk):
            if voice is None or isinstance(chunk, FrameChunk):
                for feed in feeds:
                    feed.push(chunk)
    if voice is not None:
        for sound in sound_chunks(voice):
            for feed in feeds:
                feed.push(sound)
    return {feed.name: feed.finish() for feed in feeds}


@dataclass
class _Feed:
    name: str
    grid: FrameGrid
    stream: FeatureStream

    def push(self, chunk: FrameChunk | AudioChunk) -> None:
        if hasattr(chunk, "samples"):
            self.stream.audio(chunk.samples)
        else:
            self._pass_on(self.grid.push(chunk))

    def finish(self) -> dict[str, np.ndarray]:
        self._pass_on(self.grid.flush())
        return self.stream.finish()

    def _pass_on(self, chunk: FrameChunk | None) -> None:
        if chunk is not None:
            self.stream.frames(chunk.frames, chunk.times_s)


def _open_feed(name: str, video: Video, sample: Any, setup: MetricSetup, has_audio: bool) -> _Feed:
    from evalkit.video import FrameGrid

    extractor, info = get_extractor(name, setup), video.info
    clip = Clip(info.width, info.height, info.fps, has_audio, sample)
    return _Feed(name, FrameGrid(extractor.rate_hz, info), extractor.open(clip))
