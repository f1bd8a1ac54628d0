"""A clip as a viewer gets it: through H.264 and AAC and back through the decoder that scoring uses."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from evalkit.video import AUDIO_RATE_HZ, AudioChunk, FrameChunk, open_video

FPS = 25


def write_video(path: Path, frames: np.ndarray, audio: np.ndarray | None = None, crf: int = 20, fps: int = FPS) -> None:
    """Write pictures uint8 [n, H, W, 3] and mono int16 sound [m] at 16 kHz as H.264 and AAC in MP4."""
    with av.open(str(path), "w") as container:
        options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        pictures = container.add_stream("libx264", rate=fps, options=options)
        pictures.width, pictures.height, pictures.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        sound = container.add_stream("aac", rate=AUDIO_RATE_HZ, layout="mono") if audio is not None else None
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        if sound is not None and audio is not None:
            samples = av.AudioFrame.from_ndarray(audio[None].astype(np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = AUDIO_RATE_HZ, 0
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))


def through_codec(frames: np.ndarray, audio: np.ndarray, crf: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and int16 sound after coding; as many of each as went in."""
    chunks = _coded_chunks(frames, audio, crf)
    sound = np.concatenate([chunk.samples for chunk in chunks if isinstance(chunk, AudioChunk)])[: len(audio)]
    sound = np.pad(sound, (0, len(audio) - len(sound)))
    return _pictures(chunks), np.clip(np.round(sound * 32768), -32768, 32767).astype(np.int16)


def pictures_through_codec(frames: np.ndarray, crf: int) -> np.ndarray:
    """Pictures after coding, without sound."""
    return _pictures(_coded_chunks(frames, None, crf))


def _coded_chunks(frames: np.ndarray, audio: np.ndarray | None, crf: int) -> list[FrameChunk | AudioChunk]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, audio, crf)
        with open_video(path) as video:
            return list(video.chunks())


def _pictures(chunks: list[FrameChunk | AudioChunk]) -> np.ndarray:
    return np.concatenate([chunk.frames for chunk in chunks if isinstance(chunk, FrameChunk)])
