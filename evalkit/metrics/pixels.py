"""Motion, jerk, flicker and colour drift of a clip, from pixels alone.

They guard the other metrics: a still picture has perfect identity and quality, so its motion must show as none; shaking
and flashing may pass a network by. Each has a closed form on simple signals, which is how it is tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evalkit.metrics.base import Features, Metric, Score
from evalkit.metrics.drift import last_minus_first, slope_per_minute
from evalkit.metrics.pixel_features import ROWS

FPS = 25
LEAST_CHANGE = 1e-7
"""Mean squared change per picture (brightness 0..1) below which nothing moves: half a grey level is 4e-6."""
_ROWS_AT_ONCE = 4096
SETTLE_FRAMES = FPS
"""The first second, whose mean colour drift is measured against."""


class PixelMetric(Metric):
    """A number from the arrays of `PixelFeatures`."""

    extractors = ("pixels",)
    least_frames = 4

    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        arrays = features["pixels"]
        count = len(arrays["luma"])
        if count < self.least_frames:
            return Score.missing("too_short", frames=count, frames_needed=self.least_frames)
        return self._score(arrays, {"frames": count})

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        raise NotImplementedError


class Motion(PixelMetric):
    """Mean speed of what is seen moving, in per cent of the picture's height per second; 0 for a still picture."""

    name, title, direction, unit, bounds = "motion", "Motion", "none", "% height/s", (0.0, None)
    least_frames = 2

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        speeds = arrays["speed"][1:].astype(np.float64) * FPS * 100 / ROWS
        changes = arrays["change"][1:].astype(np.float64)
        still = float((changes < LEAST_CHANGE).mean())
        details |= {"still_share": still, "median": float(np.median(speeds)), "sharpness": float(arrays["sharpness"].mean())}
        return Score(float(speeds.mean()), None, details, per_second("motion", speeds))


class Jerk(PixelMetric):
    """Third difference in time over first difference, as root mean squares.

    Smooth motion of f Hz gives (2 sin(pi f / 25))^2, below 0.25 up to 2 Hz; uncorrelated pictures give sqrt(10).
    """

    name, title, direction, bounds = "jerk", "Jerk", "down", (0.0, None)

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        first, third = arrays["change"][3:].astype(np.float64), arrays["third"][3:].astype(np.float64)
        if first.mean() < LEAST_CHANGE:
            return Score.missing("no_motion", **details)
        return Score(float(np.sqrt(third.mean() / first.mean())), None, details)


class Flicker(PixelMetric):
    """Amplitude of brightness jumping from picture to picture, in grey levels of 0..255.

    A quarter of the second difference of each of 48 cells' brightness, root mean square in time, median over cells: a
    brightness that alternates by +-a reads a, steady change of light reads 0, and what moves sits in few cells.
    """

    name, title, direction, unit, bounds = "flicker", "Flicker", "down", "grey levels", (0.0, None)

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        cells = arrays["cells"]
        total, count = np.zeros(cells.shape[1]), len(cells) - 2
        for start in range(0, count, _ROWS_AT_ONCE):
            part = np.asarray(cells[start : start + _ROWS_AT_ONCE + 2], np.float64)
            total += np.square((part[2:] - 2 * part[1:-1] + part[:-2]) / 4).sum(0)
        by_cell = np.sqrt(total / count)
        details |= {"worst_cell": float(by_cell.max()), "luma": float(arrays["luma"].mean())}
        return Score(float(np.median(by_cell)), None, details)


class ColourDrift(PixelMetric):
    """Slope per minute of the mean colour's distance (CIELAB, delta E 1976) from that of the first second."""

    name, title, direction, unit, bounds = "colour_drift", "Colour drift", "down", "delta E/min", (None, None)
    least_frames = 2 * SETTLE_FRAMES

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        lab = arrays["lab"].astype(np.float64)
        distance = np.linalg.norm(lab - lab[:SETTLE_FRAMES].mean(0), axis=1)
        times_s = np.arange(len(lab)) / FPS
        slope = slope_per_minute(times_s, distance)
        assert slope is not None  # two seconds at least
        details |= {"last_minus_first": last_minus_first(times_s, distance), "largest": float(distance.max())}
        return Score(slope, None, details, per_second("colour_distance", distance))


def per_second(name: str, values: np.ndarray) -> dict[str, tuple[list[float], list[float]]]:
    """Means over each second."""
    parts = [values[start : start + FPS] for start in range(0, len(values), FPS)]
    times_s = [index + len(part) / 2 / FPS for index, part in enumerate(parts)]
    return {name: (times_s, [round(float(part.mean()), 5) for part in parts])}
