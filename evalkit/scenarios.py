"""Speed as a viewer meets it: sound that arrives in real time, a player that needs each frame at its moment.

Everything here takes a clock, so that answers are known in closed form; nothing knows a method or a file. Times are seconds
from the moment the first sample begins to arrive.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

SILENCE_S, SPEECH_S = (1.0, 3.0), (1.5, 2.5)
SEED = 20_251_206
AFTER_SWITCH_S = 2.0


class Clock(Protocol):
    """What tells the time and lets it pass."""

    def now(self) -> float:
        """Seconds, monotonic."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class WallClock:
    """The machine's own."""

    def now(self) -> float:
        """Seconds, monotonic."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


class Listening(Protocol):
    """A stream that takes sound as it comes."""

    def push(self, samples: np.ndarray) -> Iterator[int]:
        """Frames of each chunk that these samples complete."""

    def flush(self) -> Iterator[int]:
        """Frames of what is left when the sound has ended."""


@dataclass(frozen=True)
class Chunk:
    """Frames that came at once: when they were in the consumer's hands, and which they are."""

    ready_s: float
    first_frame: int
    frames: int


@dataclass(frozen=True)
class Playback:
    """What a player at the nominal rate saw. It begins buffer_s after the first frame and waits where a frame is late."""

    misses: int
    longest_freeze_s: float
    frozen_s: float
    buffer_s: float
    shown_s: tuple[float, ...] = field(default=(), repr=False)


def listen(stream: Listening, voice: np.ndarray, rate_hz: int, piece_s: float, clock: Clock) -> list[Chunk]:
    """Feed a voice in real time; a piece is heard once it has wholly arrived, however late we are."""
    begin = clock.now()
    step = max(1, round(piece_s * rate_hz))
    chunks: list[Chunk] = []
    frames = 0

    def take(found: Iterator[int]) -> None:
        nonlocal frames
        for count in found:
            chunks.append(Chunk(clock.now() - begin, frames, count))
            frames += count

    for first in range(0, len(voice), step):
        piece = voice[first : first + step]
        early = (first + len(piece)) / rate_hz - (clock.now() - begin)
        if early > 0:
            clock.sleep(early)
        take(stream.push(piece))
    take(stream.flush())
    return chunks


def latencies(chunks: Sequence[Chunk], fps: float) -> list[float]:
    """Per chunk: from the arrival of the last sample that belongs to its frames to its frames in hand."""
    return [chunk.ready_s - (chunk.first_frame + chunk.frames) / fps for chunk in chunks]


def play(chunks: Sequence[Chunk], fps: float, buffer_s: float) -> Playback:
    """Show frames at the nominal rate; a late one freezes the picture until it is there, and all later ones wait as long."""
    clock = chunks[0].ready_s + buffer_s
    freezes, shown = [], []
    for chunk in chunks:
        if chunk.ready_s > clock + 1e-9:
            freezes.append(chunk.ready_s - clock)
            clock = chunk.ready_s
        shown += [clock + frame / fps for frame in range(chunk.frames)]
        clock += chunk.frames / fps
    return Playback(len(freezes), max(freezes, default=0.0), sum(freezes), buffer_s, tuple(shown))


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p90, p95, p99 (nearest rank) and the largest."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {f"p{share}": ordered[min(last, -(-share * len(ordered) // 100) - 1)] for share in (50, 90, 95, 99)} | {
        "max": ordered[-1]
    }


def switching(voice: np.ndarray, rate_hz: int, switches: int) -> tuple[np.ndarray, list[float]]:
    """Silence and pieces of a voice in turn, and the moment each piece begins: always the same for the same voice."""
    import numpy as np

    chance, parts, onsets = random.Random(SEED), [], []
    at = 0
    for _ in range(switches):
        silence, speech = (round(chance.uniform(*span) * rate_hz) for span in (SILENCE_S, SPEECH_S))
        begin = _loud_place(voice, speech, rate_hz, chance)
        parts += [np.zeros(silence, voice.dtype), voice[begin : begin + speech]]
        onsets.append((at + silence) / rate_hz)
        at += silence + len(parts[-1])
    return np.concatenate(parts), onsets


def switch_latencies(chunks: Sequence[Chunk], onsets: Sequence[float], fps: float) -> list[float]:
    """Per onset: from its arrival to the first frame that belongs to it in the consumer's hands."""
    found = []
    for onset in onsets:
        frame = int(onset * fps + 1e-9)
        ready = next((one.ready_s for one in chunks if one.first_frame <= frame < one.first_frame + one.frames), None)
        if ready is not None:
            found.append(ready - onset)
    return found


def switch_stalls(playback: Playback, onsets: Sequence[float], fps: float) -> list[float]:
    """Per onset: how much later than before it the player shows the frames of the following two seconds."""
    late = [moment - frame / fps for frame, moment in enumerate(playback.shown_s)]
    found = []
    for onset in onsets:
        first, last = int(onset * fps), min(len(late) - 1, int((onset + AFTER_SWITCH_S) * fps))
        if 0 < first < last:
            found.append(late[last] - late[first - 1])
    return found


def _loud_place(voice: np.ndarray, length: int, rate_hz: int, chance: random.Random) -> int:
    """Where a piece of this length begins with sound: the loudest of a few places drawn."""
    import numpy as np

    room = max(1, len(voice) - length)
    places = [chance.randrange(room) for _ in range(16)]
    heard = round(0.1 * rate_hz)
    return max(places, key=lambda place: float(np.abs(voice[place : place + heard].astype(np.float32)).mean()))
