"""A stream of any length into files, in parts: whatever stops it, it goes on from its last part with the very same frames.

With as many threads as before, that is: with another number sums round differently, by some levels of 255 after a while.
Beside the parts lies one state, that of the stream after the newest part. Parts are closed before the state is written, so a
part without its state is made again. Memory and open files do not grow with the length.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from evalkit.store import read_json, write_text
from liveavatar.threads import map_beside

PART_S = 60.0
PROGRESS, STATE = "progress.json", "state"
Voice = Callable[[int], Iterator[np.ndarray]]
"""Given a sample's number, the voice from there on, in pieces, to its end."""


class FrameStream(Protocol):
    """A stream whose state can be kept. Frames are uint8 [n, H, W, 3].

    thread: where frames are written while the next ones are made; None: in between.
    """

    width: int
    height: int
    fps: float
    thread: Executor | None

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Frames of each block that these samples complete."""

    def flush(self) -> Iterator[np.ndarray]:
        """Frames of what is left when the sound has ended."""

    def save(self, path: Path) -> bool:
        """Write all that decides the coming frames to a file; False, and no file, while it cannot be kept."""

    def restore(self, path: Path) -> None:
        """Go on from a saved state; nothing may have been pushed before."""

    def position(self) -> float | None:
        """The highest rotary position in use now; None where there is no such thing."""


@dataclass
class Progress:
    """Where a stream stands: committed frames and samples, time spent making them, how often it was begun."""

    fingerprint: str
    frames: int = 0
    samples: int = 0
    wall_s: float = 0.0
    starts: int = 0
    highest_position: float | None = None

    def write(self, folder: Path) -> None:
        """Commit: everything it speaks of lies on the disk already."""
        write_text(folder / PROGRESS, json.dumps(self.__dict__) + "\n")


class LongStream:
    """One stream's working folder."""

    def __init__(self, folder: Path, fingerprint: str, part_s: float = PART_S) -> None:
        self.folder, self.part_s = folder, part_s
        folder.mkdir(parents=True, exist_ok=True)
        content = read_json(folder / PROGRESS)
        self.progress = Progress(fingerprint)
        if isinstance(content, dict) and content.get("fingerprint") == fingerprint:
            self.progress = Progress(**content)
        else:
            shutil.rmtree(folder)
            folder.mkdir(parents=True)

    def run(self, stream: FrameStream, voice: Voice) -> None:
        """Make what is left of the stream."""
        self._forget_uncommitted()
        if self.progress.frames:
            stream.restore(self.folder / _state_name(self.progress.frames))
        self.progress.starts += 1
        self.progress.write(self.folder)
        begin, spent_s = time.monotonic(), self.progress.wall_s
        samples, frames = self.progress.samples, self.progress.frames
        part = _Part(self.folder, frames, stream)
        for piece in voice(samples):
            frames += sum(map_beside(part.write, stream.push(piece), stream.thread))
            samples += len(piece)
            if part.frames >= self.part_s * stream.fps and stream.save(self.folder / _state_name(frames)):
                part.close()
                part = _Part(self.folder, frames, stream)
                self._commit(frames, samples, spent_s + time.monotonic() - begin, stream.position())
        frames += sum(map_beside(part.write, stream.flush(), stream.thread))
        part.close()
        # The end has no state to go on from; its frames are committed by the artefact that is made of the parts.
        self.progress.wall_s, self.progress.frames = spent_s + time.monotonic() - begin, frames
        self._saw(stream.position())

    def parts(self) -> list[Path]:
        """Finished parts in order."""
        return sorted(path for path in self.folder.glob("*.mp4") if path.stem.isdigit())

    def remove(self) -> None:
        """Let go of everything, once the parts have become one video."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _commit(self, frames: int, samples: int, wall_s: float, position: float | None) -> None:
        old = _state_name(self.progress.frames)
        self.progress.frames, self.progress.samples, self.progress.wall_s = frames, samples, wall_s
        self._saw(position)
        self.progress.write(self.folder)
        (self.folder / old).unlink(missing_ok=True)

    def _saw(self, position: float | None) -> None:
        if position is not None:
            self.progress.highest_position = max(position, self.progress.highest_position or 0.0)

    def _forget_uncommitted(self) -> None:
        """Parts and states beyond the last commit: an interrupted writer's."""
        for path in self.folder.iterdir():
            is_part = path.suffix == ".mp4" and path.stem.isdigit() and int(path.stem) < self.progress.frames
            if not is_part and path.name not in (PROGRESS, _state_name(self.progress.frames)):
                path.unlink()


def _state_name(frames: int) -> str:
    """The state after so many frames."""
    return f"{STATE}-{frames:012d}"


class _Part:
    """A part being written; it takes its name, the number of its first frame, when it is whole."""

    def __init__(self, folder: Path, first_frame: int, stream: FrameStream) -> None:
        from liveavatar.output import VideoWriter

        self.frames = 0
        path = folder / f"{first_frame:012d}.mp4"
        self._writer = VideoWriter(path, stream.width, stream.height, stream.fps, first_frame=first_frame)

    def write(self, frames: np.ndarray) -> int:
        """Encode frames; gives their number."""
        self._writer.write(frames)
        self.frames += len(frames)
        return len(frames)

    def close(self) -> None:
        """The file, unless nothing was written."""
        if self.frames:
            self._writer.close()


def join_parts(parts: list[Path], voice: Iterator[np.ndarray], rate_hz: int, out: Path) -> tuple[int, float]:
    """One file from all parts, packets copied, with the voice as FLAC; gives (frames, frames per second)."""
    import av

    from evalkit.methods.remux import sound_packets

    partial = out.with_name(f"{out.stem}.joining.mp4")
    with av.open(str(partial), "w", options={"movflags": "faststart"}) as target:
        video: Any = None
        sound: Any = None
        queue: Iterator[Any] = iter(())
        pending: Any = None
        frames, fps = 0, 0.0
        for path in parts:
            with av.open(str(path)) as source:
                old: Any = source.streams.video[0]
                if video is None:
                    video, fps = target.add_stream_from_template(old), float(old.average_rate or 0)
                    sound = target.add_stream("flac", rate=rate_hz, layout="mono")
                    sound.codec_context.format = "s16"
                    queue = sound_packets(sound, voice, rate_hz)
                    pending = next(queue, None)
                base = round(frames / fps / old.time_base)
                for packet in source.demux(old):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + base, packet.dts + base
                    now_s = float(packet.dts * packet.time_base)
                    while pending is not None and float(pending.dts * pending.time_base) <= now_s:
                        target.mux(pending)
                        pending = next(queue, None)
                    packet.stream = video
                    target.mux(packet)
                    frames += 1
        while pending is not None:
            target.mux(pending)
            pending = next(queue, None)
    os.replace(partial, out)
    return frames, fps
