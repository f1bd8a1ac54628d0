"""One training clip of the nano world from (seed, index): character, voice, sound and truth, but no pixels yet.

Every clip is drawn from its own seed, so any process can make any clip. The names of those seeds start with the training
namespace, never with the benchmark's; the in-domain test set draws the same kind of clip from a namespace of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from genbench.grammar import speech_for
from genbench.seeds import TRAINING_NAMESPACE, python_random, torch_generator
from genbench.speech import RATE_RANGE_WPM, VOICES, Speech, TimedLabel, Voice, synthesise
from genbench.timeline import FPS, SAMPLES_PER_FRAME, cut_labels, frame_energy, insert_silence, pause_middles, to_int16

if TYPE_CHECKING:
    import random

    import torch

    from genbench.world import Character, Truth

# Audio frames before frame 0 and after the last frame: what a causal encoder with look-ahead may hear.
AUDIO_LEAD_FRAMES = 16
AUDIO_TAIL_FRAMES = 8
SILENT_SHARE = 0.02
PAUSE_SHARE = 0.06
PAUSE_RANGE_S = (0.4, 2.6)
GAIN_RANGE = (0.6, 1.0)


@dataclass(frozen=True)
class Clip:
    """A clip ready to render: int16 audio from frame -16 to frames + 8, truth [frames] and reference truth [2].

    Phonemes and words are timed in seconds from frame 0 and cut at both ends of the clip.
    """

    index: int
    character: Character
    voice: Voice
    text: str
    kind: str  # "speech", "pause" (a long pause was inserted) or "silence"
    audio: np.ndarray
    truth: Truth
    references: Truth
    phonemes: list[TimedLabel] = field(default_factory=list)
    words: list[TimedLabel] = field(default_factory=list)


@dataclass(frozen=True)
class ClipDraw:
    """Who will say what in a clip, and the two random sources as they stand after that choice."""

    character: Character
    voice: Voice
    text: str
    source: random.Random
    generator: torch.Generator


def draw_clip(
    seed: int, index: int, frames: int, namespace: str = TRAINING_NAMESPACE, cell: tuple[str, str] | None = None
) -> ClipDraw:
    """Character, voice and text of a clip; cheap, nothing is spoken. cell: (style, composition), else a balanced one."""
    from genbench.world import sample_character

    source = python_random(namespace, seed, "speech", index)
    generator = torch_generator(namespace, seed, "clip", index)
    style, composition = cell or balanced_cell(seed, index)
    character = sample_character(generator, style, composition)
    heard = AUDIO_LEAD_FRAMES + frames + AUDIO_TAIL_FRAMES
    voice, text = _random_voice(source), speech_for(source, 1.5 * heard / FPS + 3)
    return ClipDraw(character, voice, text, source, generator)


def make_clip(
    seed: int, index: int, frames: int, namespace: str = TRAINING_NAMESPACE, cell: tuple[str, str] | None = None
) -> Clip:
    """Clip `index` of the world `seed` (by default the training world); the same arguments always give the same clip."""
    from genbench.world import mouth_from_phonemes, sample_motion, with_mouth

    drawn = draw_clip(seed, index, frames, namespace, cell)
    source, generator = drawn.source, drawn.generator
    heard = AUDIO_LEAD_FRAMES + frames + AUDIO_TAIL_FRAMES
    spoken = synthesise(drawn.text, drawn.voice)
    speech, kind, start = _cut(source, spoken, heard * SAMPLES_PER_FRAME)
    window = _window(speech, start, heard * SAMPLES_PER_FRAME)
    window *= GAIN_RANGE[0] + source.random() * (GAIN_RANGE[1] - GAIN_RANGE[0])
    mouth = mouth_from_phonemes(_phonemes_from(speech, start), heard, FPS)
    motion = sample_motion(generator, heard, FPS, frame_energy(window, heard))
    truth = with_mouth(motion, *mouth).slice(AUDIO_LEAD_FRAMES, AUDIO_LEAD_FRAMES + frames)
    references = _references(generator, spoken)
    first_s = start / speech.sample_rate_hz + AUDIO_LEAD_FRAMES / FPS
    phonemes, words = (cut_labels(labels, first_s, first_s + frames / FPS) for labels in (speech.phonemes, speech.words))
    return Clip(
        index, drawn.character, drawn.voice, drawn.text, kind, to_int16(window), truth, references, phonemes, words
    )


def balanced_cell(seed: int, index: int) -> tuple[str, str]:
    """(style, composition) such that each run of styles x compositions clips holds every pair once, in random order."""
    from genbench.world import COMPOSITIONS, STYLES

    cells = [(style, composition) for style in STYLES for composition in COMPOSITIONS]
    turn, place = divmod(index, len(cells))
    source = python_random(TRAINING_NAMESPACE, seed, "cells", turn)
    order = sorted(cells, key=lambda _: source.random())
    return order[place]


def _random_voice(source: random.Random) -> Voice:
    """One of VOICES with its own pace and pitch."""
    voice = VOICES[int(source.random() * len(VOICES))]

    def near(value: int, spread: int, low: int, high: int) -> int:
        return min(high, max(low, value + round((2 * source.random() - 1) * spread)))

    return replace(
        voice,
        rate_wpm=near(voice.rate_wpm, 15, *RATE_RANGE_WPM),
        pitch=near(voice.pitch, 8, 0, 99),
        pitch_range=near(voice.pitch_range, 10, 0, 99),
    )


def _cut(source: random.Random, speech: Speech, length: int) -> tuple[Speech, str, int]:
    """(speech, kind, first sample of the window); some windows get a long pause or nothing but silence."""
    draw = source.random()
    if draw < SILENT_SHARE:
        return Speech(np.zeros(length, dtype=np.float32), [], []), "silence", 0
    room = max(0, len(speech.samples) - length)
    if draw >= SILENT_SHARE + PAUSE_SHARE:
        return speech, "speech", int(source.random() * room)
    low, high = PAUSE_RANGE_S
    pause = round((low + source.random() * (high - low)) * speech.sample_rate_hz)
    # Position 0 is the silence before a stream's first word, the case every stream starts with.
    places = [0, *pause_middles(speech)[1:]]
    at = 0 if source.random() < 0.4 else places[int(source.random() * len(places))]
    paused = insert_silence(speech, at, pause)
    # The pause starts inside the window; a negative start hears zeros before the speech began.
    start = at - int(source.random() * length * 0.8)
    return paused, "pause", start


def _window(speech: Speech, start: int, length: int) -> np.ndarray:
    """Samples [start, start + length), zeros where there is no speech; a copy."""
    window = np.zeros(length, dtype=np.float32)
    low, high = max(start, 0), min(start + length, len(speech.samples))
    if low < high:
        window[low - start : high - start] = speech.samples[low:high]
    return window


def _phonemes_from(speech: Speech, start: int) -> list[tuple[str, float, float]]:
    """Phonemes in seconds from sample `start`."""
    offset_s = start / speech.sample_rate_hz
    return [(name, begin - offset_s, end - offset_s) for name, begin, end in speech.phonemes]


def _references(generator: torch.Generator, spoken: Speech) -> Truth:
    """Truth [2] of two pictures of the character: mouth closed and eyes open, then any moment of speaking."""
    import torch

    from genbench.world import Truth, mouth_from_phonemes, sample_motion, with_mouth

    frames = max(1, len(spoken.samples) // SAMPLES_PER_FRAME)
    moment = int(torch.randint(frames, (1,), generator=generator))
    silent = mouth_from_phonemes([], 1, FPS)
    speaking = [track[moment : moment + 1] for track in mouth_from_phonemes(spoken.phonemes, frames, FPS)]
    # Calm scales the pose towards the neutral one that the benchmark's reference pictures show.
    calm = float(torch.rand(1, generator=generator))
    # Motion is stationary, so one frame of a fresh performance is a random moment of it.
    pose = {
        name: track * (0 if name == "blink" else calm)
        for name, track in sample_motion(generator, 1, FPS).to_dict().items()
    }
    neutral = with_mouth(Truth.from_dict(pose), *silent)
    moving = with_mouth(sample_motion(generator, 1, FPS), *speaking)
    return Truth.from_dict({
        name: torch.cat([track, getattr(moving, name)]) for name, track in neutral.to_dict().items()
    })
