"""What a viewer sees of frames that become ready at known moments: waits, stalls, and how far ahead of time they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TICK_SHARE = 1e-6
"""Moments this near to a boundary (in intervals) are on it: sums of decimal times are never exact."""


@dataclass(frozen=True)
class Stalls:
    """How often and how long playback stood still."""

    count: int
    seconds: float


def stalls(ready_s: Sequence[float], fps: float) -> Stalls:
    """Playback at `fps` from the first ready frame; `ready_s` are the moments of all frames, in order.

    Each frame is shown one interval after the one before, or when it is ready, whichever is later.
    """
    count, seconds = 0, 0.0
    due = ready_s[0] if ready_s else 0.0
    for ready in ready_s:
        late = ready - due
        if late > _TICK_SHARE / fps:
            count, seconds, due = count + 1, seconds + late, ready
        due += 1 / fps
    return Stalls(count, seconds)


def real_time_factor(compute_s: float, frames: int, playback_fps: float) -> float:
    """Seconds of computing per second of video: below 1 keeps up."""
    return compute_s / (frames / playback_fps)


def boundary_wait(arrival_s: float, fps: float) -> float:
    """Seconds from an arrival to the next frame boundary; 0 on a boundary."""
    intervals = arrival_s * fps
    boundary = round(intervals) if abs(intervals - round(intervals)) < _TICK_SHARE else math.ceil(intervals)
    return max(0.0, boundary / fps - arrival_s)
