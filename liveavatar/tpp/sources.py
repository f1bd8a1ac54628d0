"""Where the first stage's sound comes from: samples at hand, samples in real time, a pipe; silence where there is none.

A source is asked for its next piece when the pipeline has room, and says when that piece arrived.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

LOOK_S = 0.05  # how often a wait for sound looks around
LIVE_PIECE_S = 0.02
PIPE_PIECES = 16  # pieces read ahead from a pipe; then its writer waits
Check = Callable[[], None]


@dataclass(frozen=True)
class Piece:
    """Samples float [n] in [-1, 1], and when they arrived (time.perf_counter)."""

    samples: np.ndarray
    arrived: float


class Source(Protocol):
    """Sound, a piece at a time."""

    def next(self, check: Check) -> Piece | None:
        """The next piece, None at the end; while it waits it calls `check`, which may raise."""


class WholeSound:
    """Sound that is all there: each piece arrives when it is asked for."""

    def __init__(self, samples: np.ndarray, piece_samples: int) -> None:
        self.samples, self.piece_samples, self._at = samples, piece_samples, 0

    def next(self, check: Check) -> Piece | None:
        """See `Source`."""
        check()
        piece = self.samples[self._at : self._at + self.piece_samples]
        self._at += len(piece)
        return Piece(piece, time.perf_counter()) if len(piece) else None


class LiveSound:
    """Sound released as it would be spoken, from the moment of the first call on."""

    def __init__(self, samples: np.ndarray, sample_rate: int) -> None:
        self.samples, self.sample_rate, self._at = samples, sample_rate, 0
        self.piece_samples = max(1, round(LIVE_PIECE_S * sample_rate))
        self._begin: float | None = None

    def next(self, check: Check) -> Piece | None:
        """See `Source`."""
        self._begin = time.perf_counter() if self._begin is None else self._begin
        piece = self.samples[self._at : self._at + self.piece_samples]
        self._at += len(piece)
        due = self._begin + self._at / self.sample_rate
        while (left := due - time.perf_counter()) > 0:
            check()
            time.sleep(min(left, LOOK_S))
        return Piece(piece, due) if len(piece) else None


class PipedSound:
    """Sound read from a pipe: its iterator runs in a thread of its own, so that arrivals are what they are."""

    def __init__(self, pieces: Iterator[np.ndarray]) -> None:
        self._pieces = pieces
        self._read: queue.Queue[Piece | BaseException | None] = queue.Queue(PIPE_PIECES)
        self.is_over = False
        threading.Thread(target=self._reading, name="sound", daemon=True).start()

    def next(self, check: Check) -> Piece | None:
        """See `Source`; raises what reading raised."""
        while True:
            check()
            try:
                piece = self._read.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if isinstance(piece, BaseException):
                raise piece
            return piece

    def take_waiting(self) -> Piece | None:
        """What is there already, None if nothing is."""
        try:
            piece = self._read.get_nowait()
        except queue.Empty:
            return None
        if isinstance(piece, BaseException):
            raise piece
        self.is_over = piece is None
        return piece

    def _reading(self) -> None:
        try:
            for samples in self._pieces:
                self._read.put(Piece(samples, time.perf_counter()))
            self._read.put(None)
        except Exception as error:
            self._read.put(error)


class FilledSound:
    """Speech where there is some, else silence, so that the picture keeps moving until the speech has ended.

    A piece counts as arrived when the pipeline takes it: how long speech waits behind silence that was taken before is the
    pipeline's doing.
    """

    def __init__(self, speech: PipedSound, piece_samples: int) -> None:
        self.speech = speech
        self._silence = np.zeros(piece_samples, dtype=np.float32)

    def next(self, check: Check) -> Piece | None:
        """See `Source`."""
        check()
        piece = self.speech.take_waiting()
        if piece is None and self.speech.is_over:
            return None
        return Piece(self._silence if piece is None else piece.samples, time.perf_counter())
