"""From the last stage to the viewer: consumers of finished blocks, and the thread that serves one beside the decoding.

A consumer that leaves ends its stream, not the engine; one that is slow makes the pipeline wait.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from liveavatar.config import ProfileConfig
from liveavatar.output import Mp4Stream, OutputError, VideoFormat, VideoWriter
from liveavatar.streaming.showing import VideoChunk
from liveavatar.tpp.trace import Trace
from liveavatar.tpp.watch import Watch

LOOK_S = 0.1


@dataclass(frozen=True)
class Finished:
    """A block that has passed all stages: its frames (None where the layout does not decode), latents and int16 sound."""

    number: int
    frames: int
    chunk: VideoChunk | None
    latents: Tensor
    samples: np.ndarray


class Consumer(Protocol):
    """Takes blocks in order. `take` may wait; any exception means that the viewer is gone."""

    def take(self, done: Finished) -> None: ...

    def close(self) -> None:
        """All blocks have come."""

    def abort(self) -> str:
        """No more will come; says what is kept."""


class Nobody:
    """Looks at nothing: for measurements."""

    def take(self, done: Finished) -> None:
        """See `Consumer`."""

    def close(self) -> None:
        """See `Consumer`."""

    def abort(self) -> str:
        """See `Consumer`."""
        return ""


class ToFile:
    """A video file with its sound."""

    def __init__(self, path: Path, profile: ProfileConfig) -> None:
        self._writer = VideoWriter(path, profile.width, profile.height, profile.fps, audio_rate=profile.sample_rate)

    def take(self, done: Finished) -> None:
        """See `Consumer`."""
        self._writer.write_audio(done.samples)
        if done.chunk is not None:
            self._writer.write(done.chunk.frames)

    def close(self) -> None:
        """See `Consumer`."""
        self._writer.close()

    def abort(self) -> str:
        """See `Consumer`."""
        return self._writer.abort()


class ToPipe:
    """A live MP4 to an object with `write`, such as standard output."""

    def __init__(self, pipe: Any, profile: ProfileConfig) -> None:
        form = VideoFormat(profile.width, profile.height, Fraction(profile.fps), profile.sample_rate, is_live=True)
        self._pipe, self._stream = pipe, Mp4Stream(pipe, form)

    def take(self, done: Finished) -> None:
        """See `Consumer`."""
        self._stream.write_audio(done.samples)
        if done.chunk is not None:
            self._stream.write(done.chunk.frames)
        self._check()

    def close(self) -> None:
        """See `Consumer`."""
        try:
            self._stream.close()
        finally:
            self._check()

    def abort(self) -> str:
        """See `Consumer`."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.close(pad=False)
        return ""

    def _check(self) -> None:
        check = getattr(self._pipe, "check", None)
        if check is not None:
            check()


class Paced:
    """A consumer behind a viewer who takes a block only when the one before has been played."""

    def __init__(self, consumer: Consumer, profile: ProfileConfig) -> None:
        self.consumer, self.profile = consumer, profile
        self._due: float | None = None
        self.stalls_s = 0.0  # how long the picture stood still for want of a block

    def take(self, done: Finished) -> None:
        """See `Consumer`."""
        now = time.perf_counter()
        if self._due is not None and now < self._due:
            time.sleep(self._due - now)
        elif self._due is not None:
            self.stalls_s += now - self._due
        begin = max(time.perf_counter(), self._due or 0.0)
        self._due = begin + done.frames / self.profile.fps
        self.consumer.take(done)

    def close(self) -> None:
        """See `Consumer`."""
        self.consumer.close()

    def abort(self) -> str:
        """See `Consumer`."""
        return self.consumer.abort()


class Delivery:
    """Serves one consumer from a thread. `put` waits while the consumer is slow."""

    def __init__(self, consumer: Consumer, trace: Trace, watch: Watch, shown: Callable[[int], None]) -> None:
        """shown: told the number of each block that the consumer has taken."""
        self.consumer, self.trace, self.watch, self.shown = consumer, trace, watch, shown
        self.gone = ""  # why the viewer is not there any more
        self.frames = self.blocks = 0
        self._waiting: queue.Queue[Finished | None] = queue.Queue(maxsize=1)
        self._lock = threading.Lock()
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, name="deliver", daemon=True)
        self._thread.start()

    def put(self, done: Finished) -> None:
        """Hand on a block; does nothing once the viewer is gone. Raises StageFaultError."""
        self.watch.rests()
        with self.trace.waiting("viewer", done.number):
            while not self.gone:
                self.watch.check()
                with contextlib.suppress(queue.Full):
                    self._waiting.put(done, timeout=LOOK_S)
                    return

    def close(self) -> None:
        """Wait until the consumer has everything. Raises StageFaultError."""
        while not self.gone:
            self.watch.check()
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=LOOK_S)
                break
        while self._thread.is_alive():
            self._thread.join(LOOK_S)
            self.watch.check()

    def abort(self) -> str:
        """Stop now, from any thread; says what is kept."""
        # The consumer may be stuck in the viewer's pipe: then nothing can be closed, and what is there must do.
        if not self._lock.acquire(timeout=1.0):
            return ""
        try:
            if self._is_over:
                return ""
            self._is_over = True
            return self.consumer.abort()
        finally:
            self._lock.release()

    def _serve(self) -> None:
        while (done := self._waiting.get()) is not None:
            begin = time.perf_counter()
            try:
                with self._lock:
                    if self._is_over:
                        return
                    self.consumer.take(done)
            except Exception as error:
                self._leave(error)
                return
            self.blocks += 1
            self.frames += 0 if done.chunk is None else len(done.chunk.frames)
            self.trace.work("output", begin, time.perf_counter(), done.number, frames=done.frames)
            self.shown(done.number)
        try:
            with self._lock:
                if not self._is_over:
                    self._is_over = True
                    self.consumer.close()
        except Exception as error:
            self._leave(error)

    def _leave(self, error: Exception) -> None:
        if isinstance(error, BrokenPipeError):
            self.gone = "the reader of the video has gone"
        else:
            self.gone = str(error) or type(error).__name__
        if not isinstance(error, OutputError) and not self._is_over:
            self._is_over = True
            kept = self.consumer.abort()
            self.gone += f"; {kept}" if kept else ""
