"""Sync-C, Sync-D and the sync offset of a clip, from stored SyncNet embeddings.

Protocol `sync`: pictures and sound as decoded, the manifest's face box, every window of the clip. For clips of 20 s
and more the same arithmetic also runs on non-overlapping 10-s windows: over minutes a wandering offset would flatten
the curve of the whole clip although each part is in sync.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from evalkit.metrics.base import Bounds, Features, Metric, Score, Series
from evalkit.metrics.drift import last_minus_first, slope_per_minute
from evalkit.metrics.face_crop import FACE_SOURCE
from evalkit.metrics.sync_distance import (
    VSHIFT,
    WINDOW_FRAMES,
    SyncResult,
    smooth_framewise,
    summarise_pair,
)

FPS = 25
FRAME_MS = 1000 / FPS
SPAN_FRAMES = 10 * FPS
TRACK_COLUMNS = ("first_frame", "frames", "detected", "mean_side_px", "sync_d", "sync_c", "offset_frames")
"""Columns of the `tracks` array that extractors with face tracking store: every face, the one that was scored first."""


@dataclass(frozen=True)
class SyncAnalysis:
    """A clip as a whole, and its 10-s spans (centre times in seconds; empty for clips under 20 s)."""

    whole: SyncResult
    spans: list[SyncResult]
    span_times_s: list[float]


class _SyncMetric(Metric):
    extractors: tuple[str, ...] = ("syncnet",)
    protocol: ClassVar[str] = "sync"

    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        arrays = features[self.extractors[0]]
        counts = {"frames": int(arrays["frames"]), "samples": int(arrays["samples"]), "windows": len(arrays["video"])}
        face = _face(arrays)
        if not int(arrays["has_audio"]) or not counts["samples"]:
            return Score.missing("no_audio", **counts)
        if face["coverage"] == 0 and counts["frames"]:
            return Score.missing("no_face_track", **counts, **face)
        if not len(arrays["video"]):
            return Score.missing("too_short", **counts, **face, frames_needed=WINDOW_FRAMES + 1)
        analysis = analyse(arrays["video"], arrays["audio"])
        return self._score(analysis, {**counts, "protocol": self.protocol, **face, **_details(analysis)})

    def _score(self, analysis: SyncAnalysis, details: dict[str, Any]) -> Score:
        raise NotImplementedError


class SyncC(_SyncMetric):
    """Confidence: how far the best shift stands out from the median shift."""

    name, title, direction, bounds = "sync_c", "Sync-C", "up", (0.0, None)

    def _score(self, analysis: SyncAnalysis, details: dict[str, Any]) -> Score:
        details["sync_c_valid"] = analysis.whole.confidence_valid
        values = [span.confidence for span in analysis.spans]
        series = {**_framewise_series(analysis.whole), **_span_series("sync_c", analysis, values)}
        return Score(analysis.whole.confidence, None, {**details, **_windowed("sync_c", analysis, values)}, series)


class SyncD(_SyncMetric):
    """Distance between mouth and sound at the best shift."""

    name, title, direction, bounds = "sync_d", "Sync-D", "down", (0.0, None)

    def _score(self, analysis: SyncAnalysis, details: dict[str, Any]) -> Score:
        details["sync_d_valid"] = analysis.whole.distance_valid
        values = [span.distance for span in analysis.spans]
        return Score(
            analysis.whole.distance,
            None,
            {**details, **_windowed("sync_d", analysis, values)},
            _span_series("sync_d", analysis, values),
        )


class SyncOffset(_SyncMetric):
    """Frames by which the matching sound sits earlier in the sound track; missing at the end of the search range.

    A voice that is late by k frames reads -k; `details.offset_ms` is the same in milliseconds.
    """

    name, title, direction, unit = "sync_offset", "Sync offset", "zero", "frames"
    bounds: ClassVar[Bounds] = (-VSHIFT, VSHIFT)
    decimals = 1

    def _score(self, analysis: SyncAnalysis, details: dict[str, Any]) -> Score:
        values = [float(span.offset_frames) for span in analysis.spans]
        details.update(_windowed("sync_offset", analysis, values))
        if abs(analysis.whole.offset_frames) == VSHIFT:
            return Score.missing("no_sync_found", **details)
        return Score(float(analysis.whole.offset_frames), None, details, _span_series("sync_offset", analysis, values))


class SyncOffsetMs(SyncOffset):
    """The same in milliseconds: what a viewer would have to shift the sound by."""

    name, title, unit = "sync_offset_ms", "Sync offset", "ms"
    bounds: ClassVar[Bounds] = (-VSHIFT * FRAME_MS, VSHIFT * FRAME_MS)
    decimals = 0

    def _score(self, analysis: SyncAnalysis, details: dict[str, Any]) -> Score:
        frames = super()._score(analysis, details)
        return frames if frames.value is None else replace(frames, value=frames.value * FRAME_MS)


class SyncCReference(SyncC):
    """Sync-C of the published pipeline step by step, with its re-encodings, for comparison with published figures."""

    name, title, extractors, protocol = "sync_c_reference", "Sync-C, reference", ("syncnet_reference",), "sync_reference"


class SyncDReference(SyncD):
    """Sync-D of the published pipeline step by step."""

    name, title, extractors, protocol = "sync_d_reference", "Sync-D, reference", ("syncnet_reference",), "sync_reference"


class SyncCWholeFrame(SyncC):
    """Sync-C of videos that are a face crop already."""

    name, title, extractors = "sync_c_wholeframe", "Sync-C, whole frame", ("syncnet_wholeframe",)
    protocol = "sync_wholeframe"


class SyncDWholeFrame(SyncD):
    """Sync-D of videos that are a face crop already."""

    name, title, extractors = "sync_d_wholeframe", "Sync-D, whole frame", ("syncnet_wholeframe",)
    protocol = "sync_wholeframe"


def analyse(video: np.ndarray, audio: np.ndarray) -> SyncAnalysis:
    """Whole clip and 10-s spans from embeddings [N, D]; each span is padded as if it were a clip of its own."""
    whole = summarise_pair(video, audio)
    # The last partial span is left out, and the whole clip is counted with the 5 windows that rule N drops.
    count = (len(video) + WINDOW_FRAMES) // SPAN_FRAMES
    if count < 2:
        return SyncAnalysis(whole, [], [])
    starts = [SPAN_FRAMES * index for index in range(count)]
    kept = SPAN_FRAMES - WINDOW_FRAMES
    spans = [summarise_pair(video[s : s + kept], audio[s : s + kept]) for s in starts]
    return SyncAnalysis(whole, spans, [(s + SPAN_FRAMES / 2) / FPS for s in starts])


def _face(arrays: Features) -> dict[str, Any]:
    """Where the mouth was looked for; features of older versions were cut by the manifest's box throughout."""
    face: dict[str, Any] = {
        "face_source": str(arrays.get("face_source", FACE_SOURCE)),
        "coverage": float(arrays.get("coverage", 1.0)),
    }
    for name in ("first_frame", "faces"):
        if name in arrays:
            face[name] = int(arrays[name])
    if "tracks" in arrays:
        face["tracks"] = [dict(zip(TRACK_COLUMNS, map(float, row), strict=True)) for row in arrays["tracks"]]
    return face


def _details(analysis: SyncAnalysis) -> dict[str, Any]:
    whole = analysis.whole
    return {
        "offset_frames": whole.offset_frames,
        "offset_ms": whole.offset_frames * FRAME_MS,
        "is_sync_found": abs(whole.offset_frames) < VSHIFT,
        "mean_by_shift": [round(float(value), 5) for value in whole.mean_by_shift],
    }


def _windowed(name: str, analysis: SyncAnalysis, values: list[float]) -> dict[str, Any]:
    """Mean over 10-s spans and how the value moves from first to last."""
    if not values:
        return {}
    times_s, array = np.array(analysis.span_times_s), np.array(values)
    return {
        f"{name}_windowed": float(array.mean()),
        "windowed_spans": len(values),
        "slope_per_minute": slope_per_minute(times_s, array),
        "last_minus_first": last_minus_first(times_s, array),
    }


def _span_series(name: str, analysis: SyncAnalysis, values: list[float]) -> Series:
    return {name: (analysis.span_times_s, values)} if values else {}


def _framewise_series(whole: SyncResult) -> Series:
    """Median-filtered confidence per window, averaged over each second."""
    smooth = smooth_framewise(whole.framewise)
    seconds = [smooth[start : start + FPS] for start in range(0, len(smooth), FPS)]
    times_s = [
        start / FPS + len(part) / 2 / FPS for start, part in zip(range(0, len(smooth), FPS), seconds, strict=True)
    ]
    return {"sync_confidence": (times_s, [round(float(part.mean()), 5) for part in seconds])}
