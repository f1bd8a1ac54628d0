"""Control rows made from the set's own truth: as it is, with another sample's voice, and with the voice late.

They show what the metrics say about a perfect video, and that they do notice a wrong voice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from evalkit.methods.base import CONTROL, VIDEO, ControlInputs, Generation, Inputs, Method, Session
from evalkit.methods.remux import add_voice, read_voice, write_pictures

SHIFT_S = 0.2
VOICE_RATE_HZ = 16_000
VoiceOf = Callable[[ControlInputs], np.ndarray]


class Truth(Method):
    """The drawn truth with a voice chosen by `voice_of`."""

    kind = CONTROL
    version = "1"
    needs = "genbench"

    def __init__(self, name: str, title: str, voice_of: VoiceOf) -> None:
        self.name, self.title, self.voice_of = name, title, voice_of

    def load(self, profile: str) -> Session:
        """Nothing to load: the pictures are drawn."""
        return TruthSession(self.voice_of)


class TruthSession(Session):
    """Draws the pictures of a sample once and lays a voice under them."""

    def __init__(self, voice_of: VoiceOf) -> None:
        self.voice_of = voice_of

    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        """The same pictures for every control; only the voice differs."""
        if not isinstance(inputs, ControlInputs):
            raise TypeError("a control row needs ControlInputs, which hold the truth")
        if not inputs.pictures.is_file():
            draw(inputs)
        frames, fps = add_voice(inputs.pictures, self.voice_of(inputs), VOICE_RATE_HZ, out_dir / VIDEO)
        return Generation(out_dir / VIDEO, None, frames, fps)


def draw(inputs: ControlInputs) -> None:
    """Render the truth of the sample to `inputs.pictures`, without sound."""
    from genbench.truth_video import render_truth

    chunks = (np.asarray(chunk) for chunk in render_truth(inputs.entry))
    write_pictures(chunks, float(inputs.entry.fps), inputs.pictures)


def own_voice(inputs: ControlInputs) -> np.ndarray:
    """The sample's own voice."""
    return read_voice(inputs.audio)


def other_voice(inputs: ControlInputs) -> np.ndarray:
    """The next sample's voice, repeated or cut to the length of this one's."""
    if inputs.other_audio == inputs.audio:
        raise ValueError("the set has a single sample, so there is no other voice to lend; use a set of two or more")
    own, other = read_voice(inputs.audio), read_voice(inputs.other_audio)
    return np.resize(other, own.shape)


def late_voice(inputs: ControlInputs) -> np.ndarray:
    """The sample's own voice, 200 ms late: silence first, the end cut off."""
    own = read_voice(inputs.audio)
    silence = np.zeros(round(SHIFT_S * VOICE_RATE_HZ), own.dtype)
    return np.concatenate([silence, own])[: len(own)]


def truth() -> Method:
    """What a perfect method would score."""
    return Truth("truth", "Truth", own_voice)


def truth_swapped() -> Method:
    """Sync-C and Sync-D must collapse."""
    return Truth("truth_swapped", "Truth, another voice", other_voice)


def truth_shifted() -> Method:
    """Sync-C and Sync-D must hardly move, while the offset reads 5 frames."""
    return Truth("truth_shifted", "Truth, voice 200 ms late", late_voice)
