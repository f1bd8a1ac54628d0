"""Canaries: a tiny clip whose scores are known, measured before anything else is, so that a broken metric stays silent.

A two-and-a-half second clip of the nano world is shipped with the values that its own networks gave when they were
shipped, and with changes whose effect is known beforehand: a voice five frames late, a picture that stands still, blur,
a wrong exposure. Official networks have the published canaries, as far as their files are present.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from evalkit.errors import brief
from evalkit.metric_setup import NANO, MetricSetup

FOLDER = Path(__file__).parent / "canary"
CLIP, EXPECTED = FOLDER / "speaker.mkv", FOLDER / "expected.json"
FPS = 25
LATE_FRAMES = 5
OK, FAIL, SKIPPED = "ok", "fail", "skipped"


@dataclass(frozen=True)
class Finding:
    """One canary of one metric: its state, and in words what was measured and what should have been."""

    metric: str
    canary: str
    state: str
    message: str
    value: float | None = None
    expected: float | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class Known:
    """Pictures, sound and face of the shipped clip."""

    frames: np.ndarray
    sound: np.ndarray
    sample: Any


def check_canaries(names: Iterable[str], setup: MetricSetup = NANO) -> list[dict[str, Any]]:
    """Findings (as plain data) for the named metrics; metrics without a canary are left out."""
    return [asdict(found) for name in names for found in _of_metric(name, setup)]


@cache
def _of_metric(name: str, setup: MetricSetup) -> tuple[Finding, ...]:
    from evalkit.metrics.registry import get_metric, metric_names

    if name not in metric_names():
        return ()  # a plug-in's metric brings its own checks
    try:
        kind = get_metric(name, setup).backbone.kind
        if kind == "official":
            return _official(name, setup)
        return _shipped(name, setup)
    except Exception as error:  # a canary that cannot run is a canary that fails
        return (Finding(name, "shipped clip", FAIL, f"{name}: its canary stopped: {type(error).__name__}: {brief(error)}"),)


def _shipped(name: str, setup: MetricSetup) -> tuple[Finding, ...]:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    found = []
    for variant, values in expected["values"].items():
        if name in values:
            want, tolerance = values[name]
            value = measure(name, variant, setup)
            found.append(_compared(name, variant, value, want, tolerance))
    return tuple(found)


def _compared(name: str, canary: str, value: float | None, expected: float, tolerance: float) -> Finding:
    good = value is not None and abs(value - expected) <= tolerance
    shown = "nothing" if value is None else f"{value:.4g}"
    text = f"{name} of the {canary} clip reads {shown}, {expected:.4g} +- {tolerance:.2g} expected"
    return Finding(name, canary, OK if good else FAIL, text, value, expected, tolerance)


def measure(name: str, variant: str, setup: MetricSetup = NANO) -> float | None:
    """A metric's value for one variant of the shipped clip; set metrics compare it with the plain one."""
    from evalkit.metrics.registry import get_metric

    metric = get_metric(name, setup)
    arrays = _features(variant, metric.extractors, setup)
    if metric.is_set:
        real = _features("plain", metric.extractors, setup)
        return metric.score({"canary": arrays}, {"canary": real}).value
    return metric.score(arrays, known_clip().sample).value


def _features(variant: str, extractors: Iterable[str], setup: MetricSetup) -> dict[str, Any]:
    return {name: _extracted(variant, name, setup) for name in extractors}


@cache
def _extracted(variant: str, extractor: str, setup: MetricSetup) -> dict[str, np.ndarray]:
    from evalkit.metrics.extract import extract_arrays

    made = VARIANTS[variant](known_clip())
    return extract_arrays(made.frames, FPS, made.sound, made.sample, [extractor], setup)[extractor]


@cache
def known_clip() -> Known:
    """The shipped clip, decoded."""
    from evalkit.video import read_audio, read_frames

    frames, _ = read_frames(CLIP)
    box = json.loads(EXPECTED.read_text(encoding="utf-8"))["face_box"]
    return Known(frames, read_audio(CLIP), SimpleNamespace(face_box=tuple(box)))


def _late(clip: Known) -> Known:
    silence = np.zeros(LATE_FRAMES * 640, np.float32)
    return Known(clip.frames, np.concatenate([silence, clip.sound])[: len(clip.sound)], clip.sample)


def _still(clip: Known) -> Known:
    return Known(np.repeat(clip.frames[:1], len(clip.frames), 0), clip.sound, clip.sample)


def _blurred(clip: Known) -> Known:
    """Averages of 5 x 5 pixels: too simple to go wrong."""
    padded = np.pad(clip.frames, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge").astype(np.uint16)
    height, width = clip.frames.shape[1:3]
    total = sum(padded[:, y : y + height, x : x + width] for y in range(5) for x in range(5))
    return Known((np.asarray(total) // 25).astype(np.uint8), clip.sound, clip.sample)


def _dark(clip: Known) -> Known:
    return Known(clip.frames // 3, clip.sound, clip.sample)


def _black(clip: Known) -> Known:
    return Known(np.zeros_like(clip.frames), clip.sound, SimpleNamespace())


VARIANTS: dict[str, Callable[[Known], Known]] = {
    "plain": lambda clip: clip,
    "late": _late,
    "still": _still,
    "blurred": _blurred,
    "dark": _dark,
    "black": _black,
}


def _official(name: str, setup: MetricSetup) -> tuple[Finding, ...]:
    """The published values, as far as the files for them are here."""
    from evalkit.metrics import official_canaries

    return tuple(
        _compared(name, *found) if isinstance(found, tuple) else Finding(name, "official", SKIPPED, f"{name}: {found}")
        for found in official_canaries.published(name, setup)
    )
