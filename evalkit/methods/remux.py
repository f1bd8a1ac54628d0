"""Video files taken apart and put together without touching the pictures: the same packets, another voice."""

from __future__ import annotations

import os
import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

VOICE_CHUNK_SAMPLES = 4096
INT16_SCALE = 32_768.0


def read_voice(path: Path) -> np.ndarray:
    """Samples float32 [n] in -1..1 of a mono 16-bit WAV file."""
    with wave.open(str(path), "rb") as file:
        if file.getnchannels() != 1 or file.getsampwidth() != 2:
            raise ValueError(f"{path.name}: expected mono 16-bit WAV, as genbench writes it")
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, "<i2").astype(np.float32) / INT16_SCALE


def voice_rate_hz(path: Path) -> int:
    """Samples per second of a WAV file."""
    with wave.open(str(path), "rb") as file:
        return file.getframerate()


def write_pictures(chunks: Iterable[np.ndarray], fps: float, path: Path) -> None:
    """Encode chunks of frames uint8 [n, H, W, 3] to a silent video that appears at `path` only when whole."""
    from liveavatar.output import VideoWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.making-{os.getpid()}.mp4")
    source = iter(chunks)
    first = next(source)
    try:
        with VideoWriter(partial, first.shape[2], first.shape[1], fps, audio=None) as writer:
            writer.write(first)
            for chunk in source:
                writer.write(chunk)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def add_voice(pictures: Path, voice: np.ndarray, rate_hz: int, out: Path) -> tuple[int, float]:
    """Copy the picture packets of a file and lay `voice` under them as FLAC; gives (frames, frames per second)."""
    import av

    with av.open(str(pictures)) as source, av.open(str(out), "w", options={"movflags": "faststart"}) as target:
        old = source.streams.video[0]
        new = target.add_stream_from_template(old)
        sound = target.add_stream("flac", rate=rate_hz, layout="mono")
        sound.codec_context.format = "s16"
        fps = float(old.average_rate or 0)
        queue = sound_packets(sound, iter([voice]), rate_hz)
        pending = next(queue, None)
        frames = 0
        for packet in source.demux(old):
            if packet.dts is None:
                continue
            now_s = float(packet.dts * packet.time_base)
            while pending is not None and float(pending.dts * pending.time_base) <= now_s:
                target.mux(pending)
                pending = next(queue, None)
            packet.stream = new
            target.mux(packet)
            frames += 1
        while pending is not None:
            target.mux(pending)
            pending = next(queue, None)
    return frames, fps


def cut_pictures(source: Path, begin_s: float, end_s: float, out: Path) -> int:
    """Copy the pictures of [begin, end) to a silent file; gives their number. A key frame must lie at `begin_s`."""
    import av

    half_tick_s = 0.005
    with av.open(str(source)) as reader, av.open(str(out), "w", options={"movflags": "faststart"}) as writer:
        old: Any = reader.streams.video[0]
        new = writer.add_stream_from_template(old)
        shift, frames = round(Fraction(begin_s) / old.time_base), 0
        reader.seek(shift, stream=old)
        for packet in reader.demux(old):
            if packet.pts is None or packet.dts is None:
                continue
            at_s = float(packet.pts * packet.time_base)
            if at_s < begin_s - half_tick_s:
                continue
            if at_s >= end_s - half_tick_s:
                break
            if not frames and not packet.is_keyframe:
                raise ValueError(f"no key frame at {begin_s:g} s: write one at least every 2 s, on whole seconds")
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = new
            writer.mux(packet)
            frames += 1
    return frames


def sound_packets(stream: Any, voice: Iterator[np.ndarray], rate_hz: int) -> Iterator[Any]:
    """Encoded packets of a voice that comes in pieces, float32 in -1..1; memory does not grow with its length."""
    import av

    at = 0
    for piece in voice:
        samples = np.clip(np.rint(piece * INT16_SCALE), -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)
        for first in range(0, len(samples), VOICE_CHUNK_SAMPLES):
            part = samples[None, first : first + VOICE_CHUNK_SAMPLES]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, at, Fraction(1, rate_hz)
            at += part.shape[1]
            yield from stream.encode(frame)
    yield from stream.encode(None)
