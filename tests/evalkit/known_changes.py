"""Truth videos of the nano world and changes of known kind and degree, for checks of the metrics themselves."""

from __future__ import annotations

import wave
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

SEED = 31_337
CLIPS, SECONDS = 6, (2.6, 2.8)
Change = Callable[[np.ndarray, float], np.ndarray]
"""(pictures uint8 [n, H, W, 3], degree 0..1) -> pictures of the same shape."""


class Truth:
    """One rendered sample: pictures, sound float32 at 16 kHz, and the manifest's entry."""

    def __init__(self, sample: Any, folder: Path):
        from genbench.truth_video import render_truth

        self.sample = sample
        self.frames = np.concatenate([piece.numpy() for piece in render_truth(sample)])
        with wave.open(str(sample.inputs().audio)) as file:
            self.sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def render(folder: Path, seed: int = SEED, clips: int = CLIPS) -> list[Truth]:
    """Truth of a few samples that no training saw."""
    from genbench.build import build_set
    from genbench.spec import SetSize, draw_set

    samples = build_set(draw_set("short", "quick", seed, SetSize(clips, SECONDS)), folder / f"set-{seed}").samples
    return [Truth(sample, folder) for sample in samples]


def blur(frames: np.ndarray, degree: float) -> np.ndarray:
    """Gaussian of up to 2.5 pixels."""
    sigma = 2.5 * degree
    if sigma < 0.05:
        return frames
    offsets = np.arange(-8, 9)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    out = frames.astype(np.float32)
    for axis in (1, 2):
        padded = np.pad(out, [(8, 8) if dim == axis else (0, 0) for dim in range(4)], mode="edge")
        size = out.shape[axis]
        slices = [padded[(slice(None),) * axis + (slice(shift, shift + size),)] for shift in range(17)]
        out = sum(weight * part for weight, part in zip(kernel, slices, strict=True))  # type: ignore[assignment]
    return out.round().astype(np.uint8)


def noise(frames: np.ndarray, degree: float) -> np.ndarray:
    """Independent noise of up to 40 grey levels."""
    return clipped(frames + 40 * degree * np.random.default_rng(1).normal(size=frames.shape))


def blocks(frames: np.ndarray, degree: float) -> np.ndarray:
    """Towards the means of 8 x 8 blocks."""
    count, height, width, _ = frames.shape
    means = frames.reshape(count, height // 8, 8, width // 8, 8, 3).mean((2, 4))
    flat = means.repeat(8, 1).repeat(8, 2)
    return clipped(frames + 0.85 * degree * (flat - frames))


def colour(frames: np.ndarray, degree: float) -> np.ndarray:
    """A cast: red up, blue down, by up to 70 levels."""
    return clipped(frames + 70 * degree * np.array([1, 0, -1]))


def exposure(frames: np.ndarray, degree: float) -> np.ndarray:
    """Darker by a factor of up to 3."""
    return clipped(frames / (1 + 2 * degree))


def saturation(frames: np.ndarray, degree: float) -> np.ndarray:
    """Towards grey."""
    grey = frames.mean(-1, keepdims=True)
    return clipped(grey + (frames - grey) * (1 - degree))


def framing(frames: np.ndarray, degree: float) -> np.ndarray:
    """The right part enlarged: up to six tenths of the width lost on the left, where most faces begin."""
    if degree == 0:
        return frames
    keep = 1 - 0.6 * degree
    height, width = frames.shape[1:3]
    rows = (np.arange(height) * keep).astype(int)
    columns = (width * (1 - keep) + np.arange(width) * keep).astype(int)
    return frames[:, rows][:, :, columns]


def frozen(frames: np.ndarray, degree: float) -> np.ndarray:
    """Stands still in a growing share of each half second."""
    index = np.arange(len(frames))
    moving = max(1, round(12 * (1 - degree)))
    return frames[index // 12 * 12 + np.minimum(index % 12, moving - 1)]


def shuffled(frames: np.ndarray, degree: float) -> np.ndarray:
    """Moments exchanged with others up to ten pictures away."""
    index = np.arange(len(frames)) + np.random.default_rng(2).normal(size=len(frames)) * 8 * degree
    return frames[np.clip(index.round().astype(int), 0, len(frames) - 1)]


def slow(frames: np.ndarray, degree: float) -> np.ndarray:
    """Down to a third of the speed."""
    return frames[(np.arange(len(frames)) / (1 + 2 * degree)).astype(int)]


def shaken(frames: np.ndarray, degree: float) -> np.ndarray:
    """The picture jumps by up to four pixels."""
    moves = (np.random.default_rng(3).integers(-4, 5, (len(frames), 2)) * degree).round().astype(int)
    return np.stack([np.roll(frame, tuple(move), (0, 1)) for frame, move in zip(frames, moves, strict=True)])


def flashing(frames: np.ndarray, degree: float) -> np.ndarray:
    """Brightness alternates by up to a fifth."""
    sign = np.where(np.arange(len(frames)) % 2, 1, -1)[:, None, None, None]
    return clipped(frames * (1 + 0.2 * degree * sign))


def clipped(values: np.ndarray) -> np.ndarray:
    """Rounded to uint8."""
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


CHANGES: dict[str, Change] = {
    one.__name__: one
    for one in (blur, noise, blocks, colour, exposure, saturation, framing, frozen, shuffled, slow, shaken, flashing)
}
GRADES = (0.0, 0.25, 0.5, 1.0)


TIMED = ("frozen", "shuffled", "slow", "shaken", "flashing")
"""Changes in which the order of pictures counts; the others may be applied to a picture alone."""


class Ladder:
    """Mean score of the truth clips under one change, grade by grade."""

    def __init__(self, truths: list[Truth]):
        self.truths = truths

    @cache  # noqa: B019  (lives as long as the module's fixture)
    def clip_scores(self, metric: str, change: str, grades: tuple[float, ...] = GRADES) -> list[float]:
        """Means over clips of a per-clip metric."""
        from evalkit.metrics import get_metric

        made = get_metric(metric)
        means = []
        for grade in grades:
            found = self.features(made.extractors, change, grade)
            values = [made.score(found[str(i)], truth.sample).value for i, truth in enumerate(self.truths)]
            means.append(float(np.mean([np.nan if value is None else value for value in values])))
        return means

    @cache  # noqa: B019
    def distances(self, metric: str, change: str, grades: tuple[float, ...] = GRADES[1:]) -> list[float]:
        """Distance of the changed clips from the clips as they are."""
        from evalkit.metrics import get_metric

        made = get_metric(metric)
        real = self.features(made.extractors, None, 0.0)
        return [
            made.distance(*_rows(made, self.features(made.extractors, change, grade), real))[0] for grade in grades
        ]

    @cache  # noqa: B019
    def features(self, extractors: tuple[str, ...], change: str | None, grade: float) -> dict[str, Any]:
        """Features by clip and extractor; where pictures stand alone, only those that are looked at are changed."""
        from evalkit.metrics import get_extractor
        from evalkit.metrics.extract import extract_arrays

        fps = max(get_extractor(name).rate_hz for name in extractors)
        step = 1 if change in TIMED else round(25 / fps)
        return {
            str(index): extract_arrays(
                CHANGES[change](truth.frames[::step], grade) if change else truth.frames[::step],
                25.0 / step,
                truth.sound if step == 1 else None,
                truth.sample,
                extractors,
            )
            for index, truth in enumerate(self.truths)
        }


def _rows(metric: Any, *sides: dict[str, Any]) -> list[list[np.ndarray]]:
    """Feature rows of each side's clips, without the interval that a full score would draw."""
    return [[metric.rows(arrays[metric.extractors[0]]) for arrays in side.values()] for side in sides]
