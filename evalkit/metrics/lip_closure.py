"""Do the lips meet at p, b and m? The share of these sounds, at their true times, at which the mouth is seen shut.

A generator that follows loudness alone correlates well with speech and never closes its lips; this tells them apart. Only
the nano world knows when sounds are spoken; other sets report `no_truth`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evalkit.metrics.base import Backbone, Features, Metric, Score
from evalkit.metrics.mouth import FPS
from evalkit.metrics.truth import true_sounds
from evalkit.metrics.weights import nano_backbone

BILABIALS = ("p", "b", "m")
SHUT = 0.2  # opening in 0..1 below which lips count as met: pictures are read with some noise
MARGIN_FRAMES = 1
MIN_SOUNDS = 3


class LipClosure(Metric):
    """Share, in 0..1, of p, b and m with a shut mouth in one of their frames or the frame on either side."""

    name, title, direction, bounds = "lip_closure", "Lip closure", "up", (0.0, 1.0)
    extractors = ("mouth",)

    @property
    def backbone(self) -> Backbone:
        return nano_backbone("mouth")

    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        read, sounds = features["mouth"]["opening"], true_sounds(sample, BILABIALS)
        if sounds is None:
            return Score.missing("no_truth")
        spans = [_frames(begin, end) for begin, end in sounds]
        smallest = [float(read[first:last].min()) for first, last in spans if last <= len(read)]
        if len(smallest) < MIN_SOUNDS:
            return Score.missing("too_few_sounds", sounds=len(smallest), sounds_needed=MIN_SOUNDS)
        details = {"sounds": len(smallest), "mean_smallest_opening": float(np.mean(smallest))}
        return Score(float(np.mean([opening < SHUT for opening in smallest])), None, details)


def _frames(begin_s: float, end_s: float) -> tuple[int, int]:
    """First frame and one past the last that show a sound, with the margin."""
    first, last = int(begin_s * FPS), int(np.ceil(end_s * FPS))
    return max(0, first - MARGIN_FRAMES), last + MARGIN_FRAMES
