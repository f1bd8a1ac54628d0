"""Detail and change of a clip, from pixels alone: how sharp it is and stays, how much it changes, and where.

Distillation may sharpen or blur, enliven or still; a stream made block by block may jump where blocks meet. Each number has
a closed form on simple signals. None is better high or low by itself: the truth's row says what it should be.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evalkit.metrics.base import Features, Score
from evalkit.metrics.pixels import FPS, LEAST_CHANGE, PixelMetric, per_second

EDGE_FRAMES = 5 * FPS
"""The first and the last five seconds, which drift compares."""
BLOCK_FRAMES = 12
"""Frames of one block of three latents; both profiles have it."""


class Sharpness(PixelMetric):
    """Mean length of the brightness gradient, in grey levels of 0..255 per pixel, over all frames."""

    name, title, direction, unit, bounds = "sharpness", "Sharpness", "none", "grey levels", (0.0, None)
    least_frames = 1

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        sharpness = arrays["sharpness"].astype(np.float64)
        return Score(float(sharpness.mean()), None, details, per_second("sharpness", sharpness))


class SharpnessDrift(PixelMetric):
    """Sharpness of the last five seconds over that of the first five, less 1, in per cent: nearer to 0 is better."""

    name, title, direction, unit, bounds = "sharpness_drift", "Sharpness drift", "zero", "%", (-100.0, None)
    least_frames = 2 * EDGE_FRAMES

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        sharpness = arrays["sharpness"].astype(np.float64)
        first, last = sharpness[:EDGE_FRAMES].mean(), sharpness[-EDGE_FRAMES:].mean()
        if first == 0:
            return Score.missing("plain_picture", **details)
        return Score(float(100 * (last / first - 1)), None, details | {"first": float(first), "last": float(last)})


class ColourShift(PixelMetric):
    """Largest change of a channel's mean (sRGB, 0..255) from the first five seconds to the last five."""

    name, title, direction, unit, bounds = "colour_shift", "Colour shift", "down", "of 255", (0.0, 255.0)
    least_frames = 2 * EDGE_FRAMES

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        rgb = arrays["rgb"].astype(np.float64)
        shift = rgb[-EDGE_FRAMES:].mean(0) - rgb[:EDGE_FRAMES].mean(0)
        return Score(float(np.abs(shift).max()), None, details | {"channels": [float(one) for one in shift]})


class FrameChange(PixelMetric):
    """Change from frame to frame on a picture of 64 rows, root mean square, in grey levels of 0..255."""

    name, title, direction, unit, bounds = "frame_change", "Frame change", "none", "grey levels", (0.0, 255.0)
    least_frames = 2

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        return Score(float(255 * np.sqrt(arrays["change"][1:].astype(np.float64).mean())), None, details)


class BorderChange(PixelMetric):
    """Change across the borders of 12-frame blocks over that inside blocks, as root mean squares; 1: no border is seen."""

    name, title, direction, bounds = "border_change", "Change at borders", "none", (0.0, None)
    least_frames = 2 * BLOCK_FRAMES

    def _score(self, arrays: Features, details: dict[str, Any]) -> Score:
        change = arrays["change"].astype(np.float64)
        at_border = np.arange(len(change)) % BLOCK_FRAMES == 0
        inside = change[~at_border].mean()
        if inside < LEAST_CHANGE:
            return Score.missing("no_motion", **details)
        return Score(float(np.sqrt(change[at_border][1:].mean() / inside)), None, details)
