"""Does a frame leave before the input ends? The voice is handed over piece by piece, and what comes is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.capabilities import PROBE
from evalkit.jobs import Part
from evalkit.makers.base import Maker, new_record
from evalkit.methods.base import Inputs
from evalkit.methods.remux import read_voice, voice_rate_hz
from evalkit.records import DONE, Record
from evalkit.speed import VALID

if TYPE_CHECKING:
    import numpy as np

    from evalkit.scenarios import Listening

PROBE_S = 9.6
PIECE_S = 0.1


def probe_streaming(maker: Maker, part: Part, given: Inputs) -> Record:
    """A record of how much of the voice a method had heard when its first frame was in the file."""
    key, record = part.key, new_record(part, DONE)
    session = maker.session(key.method)
    rate_hz = voice_rate_hz(given.audio)
    samples = read_voice(given.audio)[: round(PROBE_S * rate_hz)]
    heard_s, reason = None, None
    try:
        heard_s = heard_before_a_frame(session.listen(given, key.seed), samples, rate_hz)
    except NotImplementedError as error:
        reason = str(error)
    found = {"heard_s": heard_s, "voice_s": len(samples) / rate_hz, "reason": reason}
    record.outputs = {"scenario": PROBE, "verdict": VALID, **found}
    return record


def heard_before_a_frame(stream: Listening, samples: np.ndarray, rate_hz: int) -> float | None:
    """Seconds that had been heard, before the voice's end, when the first frame was handed over; None if none was.

    The last piece is not counted: a method that waits for all of a voice gives its frames then, or when it ends.
    """
    size = round(PIECE_S * rate_hz)
    for first in range(0, len(samples) - size, size):
        if any(frames > 0 for frames in stream.push(samples[first : first + size])):
            return (first + size) / rate_hz
    return None
