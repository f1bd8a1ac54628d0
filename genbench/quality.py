"""The quality gate: what a picture, a script and a recording must be before they count as a sample.

Cheap checks are integer or double arithmetic on the files' own content, so they say the same on every machine. Networks
(agreement with the prompt, face detection, recognition) run only where the gate names a model; else the check says that it
was not done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from genbench.providers.base import Box
from genbench.speech import SAMPLE_RATE_HZ

_LEVEL_FRAME = SAMPLE_RATE_HZ // 25
_SILENCE_DB = -50.0
_HASH_SIDE = 16
_TONE_SIDE = 8


@dataclass(frozen=True)
class Gate:
    """Limits of the checks, and the models of the optional ones (empty: not done).

    min_side, max_side: pixels. sharpness: least variance of the Laplacian, in squared grey levels. duplicate_bits,
    duplicate_tone: two pictures are near duplicates if at most so many of 256 gradient signs differ and their colours
    differ by at most so many levels. length_s, length_share: how far a recording may be from its target, whichever is more.
    level_db: loudness of speech, dBFS. clipped_share: samples at full scale. silence_s: longest silence. agreement_model:
    open_clip name of the model that compares picture and prompt; agreement: least cosine. detector, detector_model: "yunet"
    or "owlv2" and its file or folder; detector_score: least confidence. recogniser: faster-whisper model; error_rate: the
    most words (characters in Chinese and Japanese) that may differ.
    """

    min_side: int = 256
    max_side: int = 8192
    sharpness: float = 20.0
    duplicate_bits: int = 6
    duplicate_tone: float = 6.0
    length_s: float = 1.2
    length_share: float = 0.04
    level_db: tuple[float, float] = (-35.0, -8.0)
    clipped_share: float = 0.001
    silence_s: float = 2.8
    agreement_model: str = ""
    agreement: float = 0.22
    detector: str = ""
    detector_model: str = ""
    detector_score: float = 0.6
    recogniser: str = ""
    error_rate: float = 0.25

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Gate:
        """From plain JSON values; fields that are not named have their defaults."""
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
        return cls(**values)

    @property
    def needs_networks(self) -> bool:
        """Whether any check runs a network."""
        return bool(self.agreement_model or self.detector or self.recogniser)


@dataclass(frozen=True)
class Check:
    """One check of a sample. passed: None where it was not done, and `reason` says why."""

    name: str
    passed: bool | None
    value: float | None = None
    limit: str = ""
    reason: str = ""

    def to_record(self) -> dict[str, Any]:
        return dict(vars(self))


class Examiners(Protocol):
    """The networks of a gate, each None-able by its method's answer."""

    def agreement(self, pixels: np.ndarray, prompt: str) -> float | None:
        """Cosine of picture and prompt."""

    def faces(self, pixels: np.ndarray, style: str) -> list[Box] | None:
        """Boxes of all faces or heads found."""

    def transcript(self, samples: np.ndarray, language: str) -> str | None:
        """What a recogniser hears in int16 samples at 16 kHz."""


class NoExaminers:
    """No networks at all."""

    def agreement(self, pixels: np.ndarray, prompt: str) -> float | None:
        return None

    def faces(self, pixels: np.ndarray, style: str) -> list[Box] | None:
        return None

    def transcript(self, samples: np.ndarray, language: str) -> str | None:
        return None


def failures(checks: Sequence[Check]) -> list[str]:
    """Reasons of the checks that failed."""
    return [f"{check.name}: {check.reason}" for check in checks if check.passed is False]


def check_picture(pixels: np.ndarray, gate: Gate) -> list[Check]:
    """Size and sharpness of pixels uint8 [H, W, 3]."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    is_size_good = gate.min_side <= side and max(height, width) <= gate.max_side
    limit = f"{gate.min_side}..{gate.max_side} px"
    checks = [
        Check("size", is_size_good, side, limit, "" if is_size_good else f"the picture is {width}x{height}, wanted {limit}")
    ]
    found = round(sharpness(pixels), 1)
    is_sharp = found >= gate.sharpness
    checks.append(
        Check("sharpness", is_sharp, found, f">= {gate.sharpness:g}", "" if is_sharp else f"blurred or empty ({found:g})")
    )
    return checks


def check_face(box: Box | None, source: str, found: list[Box] | None) -> Check:
    """Exactly one face: the known box where there is one, else what a detector found."""
    if box is not None:
        return Check("one_face", True, 1, "exactly 1", f"box by {source}")
    if found is None:
        return Check("one_face", None, None, "exactly 1", "no detector is set and no box was drawn by hand (--boxes FILE)")
    return Check(
        "one_face", len(found) == 1, len(found), "exactly 1", "" if len(found) == 1 else f"{len(found)} faces found"
    )


def check_agreement(cosine: float | None, gate: Gate) -> Check:
    """Picture and prompt agree."""
    if cosine is None:
        return Check("prompt_agreement", None, None, f">= {gate.agreement:g}", "no model is set (quality.agreement_model)")
    value = round(cosine, 4)
    is_close = value >= gate.agreement
    return Check("prompt_agreement", is_close, value, f">= {gate.agreement:g}", "" if is_close else f"cosine {value:g}")


def check_script(transcript: str, is_recording: bool = False) -> Check:
    """There are words; a recording's need not be known."""
    if not transcript.strip() and is_recording:
        return Check("script", None, None, "not empty", "a recording without a transcript")
    words = len(transcript.split())
    return Check("script", words > 0, words, "not empty", "" if words else "the script is empty")


def check_speech(samples: np.ndarray, target_s: float, gate: Gate) -> list[Check]:
    """Length, level, clipping and silences of int16 samples at 16 kHz."""
    length = round(len(samples) / SAMPLE_RATE_HZ, 3)
    slack = max(gate.length_s, gate.length_share * target_s)
    limit = f"{target_s:g} s +- {slack:.2f}"
    is_long = abs(length - target_s) <= slack
    checks = [Check("speech_length", is_long, length, limit, "" if is_long else f"{length:g} s, wanted {limit}")]
    level, silence = level_db(samples), longest_silence_s(samples)
    low, high = gate.level_db
    is_loud = low <= level <= high
    limit = f"{low:g}..{high:g} dBFS"
    checks.append(Check("speech_level", is_loud, level, limit, "" if is_loud else f"{level:g} dBFS, wanted {limit}"))
    clipped = round(float((np.abs(samples.astype(np.int32)) >= 32767).mean()), 6)
    is_clean = clipped <= gate.clipped_share
    checks.append(
        Check(
            "clipping",
            is_clean,
            clipped,
            f"<= {gate.clipped_share:g}",
            "" if is_clean else f"{clipped:.2%} of samples clipped",
        )
    )
    is_steady = silence <= gate.silence_s
    limit = f"<= {gate.silence_s:g} s"
    checks.append(Check("silence", is_steady, silence, limit, "" if is_steady else f"silent for {silence:g} s at a stretch"))
    return checks


def check_transcript(heard: str | None, script: str, language: str, gate: Gate) -> Check:
    """A recogniser hears what the script says."""
    limit = f"<= {gate.error_rate:g}"
    if heard is None or not script.strip():
        reason = "no recogniser is set (quality.recogniser)" if heard is None else "the script is not known"
        return Check("transcript", None, None, limit, reason)
    value = round(error_rate(script, heard, by_character=language[:2] in ("zh", "ja")), 4)
    is_same = value <= gate.error_rate
    return Check("transcript", is_same, value, limit, "" if is_same else f"{value:.0%} of it is heard otherwise")


def sharpness(pixels: np.ndarray) -> float:
    """Variance of the four-neighbour Laplacian of the grey picture, scaled to at most 512 pixels on its longer side."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((512, 512), Image.Resampling.BOX)
    grey = _grey(np.asarray(image))
    edges = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(edges.astype(np.float64).var())


def likeness_print(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What near duplicates share: 256 signs of horizontal gradients, bool [256], and coarse colours, int [8, 8, 3]."""
    from PIL import Image

    image = Image.fromarray(pixels)
    grey = _grey(np.asarray(image.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX)))
    tones = np.asarray(image.resize((_TONE_SIDE, _TONE_SIDE), Image.Resampling.BOX)).astype(np.int32)
    return (grey[:, 1:] > grey[:, :-1]).ravel(), tones


def near_duplicates(prints: Mapping[str, tuple[np.ndarray, np.ndarray]], gate: Gate) -> dict[str, str]:
    """Samples, in the given order, whose picture nearly equals that of an earlier sample, and which one that is."""
    found: dict[str, str] = {}
    kept: list[str] = []
    for name, (signs, tones) in prints.items():
        for earlier in kept:
            bits = int((signs != prints[earlier][0]).sum())
            if bits <= gate.duplicate_bits and np.abs(tones - prints[earlier][1]).mean() <= gate.duplicate_tone:
                found[name] = earlier
                break
        else:
            kept.append(name)
    return found


def level_db(samples: np.ndarray) -> float:
    """Mean power of the frames (40 ms) that are not silent, dBFS, to a tenth; -120 for silence."""
    power = _frame_power(samples)
    loud = power[power > 10 ** (_SILENCE_DB / 10)]
    return round(10 * float(np.log10(loud.mean())), 1) if len(loud) else -120.0


def longest_silence_s(samples: np.ndarray) -> float:
    """Longest stretch of silent frames, seconds."""
    silent = _frame_power(samples) <= 10 ** (_SILENCE_DB / 10)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(np.int8)))
    return round(float((edges[1::2] - edges[::2]).max(initial=0)) * _LEVEL_FRAME / SAMPLE_RATE_HZ, 3)


def error_rate(script: str, heard: str, by_character: bool = False) -> float:
    """Word (or character) error rate: edits over the script's length, letters and digits only, case ignored."""
    wanted, got = (_units(text, by_character) for text in (script, heard))
    if not wanted:
        raise ValueError("the script holds no letter or digit to compare with")
    row = list(range(len(got) + 1))
    for index, unit in enumerate(wanted, start=1):
        previous, row[0] = row[0], index
        for column, other in enumerate(got, start=1):
            previous, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, previous + (unit != other))
    return row[-1] / len(wanted)


def _units(text: str, by_character: bool) -> list[str]:
    plain = "".join(char if char.isalnum() else "" if char in "'’" else " " for char in text.lower())
    return list(plain.replace(" ", "")) if by_character else plain.split()


def _grey(pixels: np.ndarray) -> np.ndarray:
    wide = pixels.astype(np.int32)
    return (299 * wide[..., 0] + 587 * wide[..., 1] + 114 * wide[..., 2]) // 1000


def _frame_power(samples: np.ndarray) -> np.ndarray:
    frames = len(samples) // _LEVEL_FRAME
    if not frames:
        return np.zeros(0)
    scaled = samples[: frames * _LEVEL_FRAME].astype(np.float64).reshape(frames, _LEVEL_FRAME) / 32768
    return (scaled**2).mean(axis=1)
