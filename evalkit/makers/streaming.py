"""Does a frame leave before the input ends? The voice is handed over piece by piece, and the file is watched meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.jobs import Part
from evalkit.makers.base import Maker, new_record
from evalkit.methods.base import Inputs
from evalkit.methods.remux import read_voice, voice_rate_hz
from evalkit.records import DONE, Record

PROBE_S = 9.6
PIECE_S = 0.1


def probe_streaming(maker: Maker, part: Part, given: Inputs) -> Record:
    """A record of how much of the voice a method had heard when its first frame was in the file."""
    key, record = part.key, new_record(part, DONE)
    session = maker.session(key.method)
    made = maker.store.temporary(key.artefact_dir)
    rate_hz = voice_rate_hz(given.audio)
    voice = WatchedVoice(read_voice(given.audio)[: round(PROBE_S * rate_hz)], rate_hz, made)
    try:
        session.stream(given, voice.pieces(), key.seed, made)
        record.outputs = {**voice.found(), "reason": None}
    except NotImplementedError as error:
        record.outputs = {"heard_s": None, "voice_s": len(voice.samples) / rate_hz, "reason": str(error)}
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return record


class WatchedVoice:
    """Hands out a voice in pieces; before each, looks whether a frame can be seen in the folder."""

    def __init__(self, samples: np.ndarray, rate_hz: int, folder: Path) -> None:
        self.samples, self.rate_hz, self.folder = samples, rate_hz, folder
        self.heard_s: float | None = None

    def pieces(self) -> Iterator[np.ndarray]:
        """The voice, `PIECE_S` at a time."""
        size = round(PIECE_S * self.rate_hz)
        for first in range(0, len(self.samples), size):
            if self.heard_s is None and first and shows_a_frame(self.folder):
                self.heard_s = first / self.rate_hz
            yield self.samples[first : first + size]

    def found(self) -> dict[str, Any]:
        """Seconds heard when a first frame was seen, None if none was before the voice ended, and the voice's length."""
        return {"heard_s": self.heard_s, "voice_s": len(self.samples) / self.rate_hz}


def shows_a_frame(folder: Path) -> bool:
    """Whether a video in the folder, finished or not, holds a picture that can be decoded."""
    import av

    for path in folder.glob("*.mp4"):
        try:
            with av.open(str(path)) as container:
                if next(container.decode(video=0), None) is not None:
                    return True
        except (av.FFmpegError, IndexError):
            continue  # nothing to be seen in it yet
    return False
