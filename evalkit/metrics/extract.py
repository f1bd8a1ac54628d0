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
    own_sound: bool = True,
    facts: dict[str, Any] | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by extractor name and array name for one video file.

    `sample` is the manifest entry the video was made from; `voice` a sound file that is heard instead of the video's own
    track, from the first picture on; without `own_sound` that track is not heard in any case. `facts` is filled with
    what the pass saw of the file. Raises VideoError for a file that cannot be decoded; a file without sound is no error
    here: metrics of speech then report `no_audio`.
    """
    from evalkit.video import AUDIO_RATE_HZ, FrameChunk, open_video, sound_chunks  # the decoder loads when it is needed

    seen = {"frames": 0, "last_s": 0.0, "uneven": 0.0, "samples": 0}
    with open_video(video) as opened:
        info = opened.info
        has_audio = voice is not None or (own_sound and info.has_audio)
        feeds = [_open_feed(name, opened, sample, setup, has_audio) for name in dict.fromkeys(names)]
        for chunk in opened.chunks(frames_per_chunk):
            if isinstance(chunk, FrameChunk):
                _note_times(seen, chunk.times_s, 1 / info.fps)
            elif voice is not None or not own_sound:
                continue
            else:
                seen["samples"] += len(chunk.samples)
            for feed in feeds:
                feed.push(chunk)
    for sound in sound_chunks(voice) if voice is not None else ():
        seen["samples"] += len(sound.samples)
        for feed in feeds:
            feed.push(sound)
    if facts is not None:
        facts |= {
            "width": info.width,
            "height": info.height,
            "fps": round(info.fps, 3),
            "frames": seen["frames"],
            "seconds": round(seen["last_s"] + 1 / info.fps, 3),
            "sound_seconds": round(seen["samples"] / AUDIO_RATE_HZ, 3) if has_audio else None,
            "is_variable_rate": seen["uneven"] > 0.5 / info.fps,
            "rotation_degrees": 90 * info.rotation,
            "pixel_format": info.pixel_format,
        }
    return {feed.name: feed.finish() for feed in feeds}


def _note_times(seen: dict[str, Any], times_s: np.ndarray, interval_s: float) -> None:
    """Count pictures and the worst departure of a step between pictures from the nominal interval."""
    before = [seen["last_s"]] if seen["frames"] else []
    steps = np.diff(np.concatenate([before, times_s]))
    if len(steps):
        seen["uneven"] = max(seen["uneven"], float(np.abs(steps - interval_s).max()))
    seen["frames"] += len(times_s)
    seen["last_s"] = float(times_s[-1])


def extract_arrays(
    frames: np.ndarray,
    fps: float,
    samples: np.ndarray | None,
    sample: Any,
    names: Iterable[str],
    setup: MetricSetup = NANO,
) -> dict[str, dict[str, np.ndarray]]:
    """The same from pictures uint8 [n, H, W, 3] of constant rate and sound float32 [m] at 16 kHz, without a file."""
    from evalkit.video import AudioChunk, FrameChunk, FrameGrid, VideoInfo

    info = VideoInfo(frames.shape[2], frames.shape[1], fps, 1e-6, len(frames), None)
    clip = Clip(info.width, info.height, fps, samples is not None, sample)
    feeds = []
    for name in dict.fromkeys(names):
        extractor = get_extractor(name, setup)
        feeds.append(_Feed(name, FrameGrid(extractor.rate_hz, info), extractor.open(clip)))
    times_s = np.arange(len(frames)) / fps
    for start in range(0, len(frames), FRAMES_PER_CHUNK):
        part = slice(start, start + FRAMES_PER_CHUNK)
        for feed in feeds:
            feed.push(FrameChunk(frames[part], times_s[part]))
    if samples is not None:
        for feed in feeds:
            feed.push(AudioChunk(samples.astype(np.float32)))
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
