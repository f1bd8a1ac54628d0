"""Sync-D, Sync-C and offset from SyncNet embeddings: pure arithmetic, as the reference code computes them.

With video embeddings v [N, D], audio embeddings u [N, D] and W = vshift, u padded by W zero rows on both sides:

    d[i, j] = || v[i] - u[i + j - W] + 1e-6 ||      j = 0 .. 2W
    m[j]    = mean_i d[i, j]
    Sync-D  = min m,   Sync-C = median m - min m,   offset = W - argmin m   (the first minimum wins)

Embeddings are not normalised. Positive offset: the matching sound sits earlier in the audio than the mouth movement.
A zero row can be nearer than an unrelated one, so unrelated sound tends to |offset| = W: read that as "no sync found".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VSHIFT = 15
FRAME_SAMPLES = 640
"""Sound samples per picture: 16 kHz over 25 fps."""
WINDOW_FRAMES = 5
_EPSILON = 1e-6
_ROWS_AT_ONCE = 2048
_MEDIAN_WIDTH = 9


@dataclass(frozen=True)
class SyncResult:
    """Numbers of one span; `mean_by_shift` [2 vshift + 1], `framewise` [N] is confidence per window."""

    distance: float
    confidence: float
    offset_frames: int
    distance_valid: float
    confidence_valid: float
    mean_by_shift: np.ndarray
    framewise: np.ndarray


def window_count(frames: int, samples: int) -> int:
    """N = min(frames, floor(samples / 640)) - 5; the reference drops one window more than it must, and so do we."""
    return max(0, min(frames, samples // FRAME_SAMPLES) - WINDOW_FRAMES)


def shift_distances(video: np.ndarray, audio: np.ndarray, vshift: int = VSHIFT) -> np.ndarray:
    """d [N, 2 vshift + 1] float64 of video and audio embeddings [N, D]; work and memory linear in N."""
    if video.shape != audio.shape or video.ndim != 2:
        raise ValueError(f"video {video.shape} and audio {audio.shape} embeddings must both be [N, D]")
    count = len(video)
    padded = np.pad(audio, ((vshift, vshift), (0, 0)))
    out = np.empty((count, 2 * vshift + 1))
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = video[start : start + _ROWS_AT_ONCE].astype(np.float64) + _EPSILON
        for shift in range(2 * vshift + 1):
            other = padded[start + shift : start + shift + len(rows)]
            out[start : start + len(rows), shift] = np.sqrt(np.square(rows - other).sum(1))
    return out


def summarise(distances: np.ndarray) -> SyncResult:
    """Distance, confidence and offset from d [N, 2W + 1], N >= 1."""
    vshift = distances.shape[1] // 2
    mean = distances.mean(0)
    best = int(mean.argmin())
    valid = _mean_over_unpadded(distances)
    return SyncResult(
        distance=float(mean[best]),
        confidence=float(np.median(mean) - mean[best]),
        offset_frames=vshift - best,
        distance_valid=float(np.nanmin(valid)),
        confidence_valid=float(np.nanmedian(valid) - np.nanmin(valid)),
        mean_by_shift=mean,
        framewise=np.median(mean) - distances[:, best],
    )


def smooth_framewise(framewise: np.ndarray) -> np.ndarray:
    """The reference's running median of width 9 (zeros beyond both ends)."""
    padded = np.pad(framewise, _MEDIAN_WIDTH // 2)
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, _MEDIAN_WIDTH), axis=1)


def _mean_over_unpadded(distances: np.ndarray) -> np.ndarray:
    """Mean per shift over pairs whose audio row exists; NaN where there is none."""
    count, shifts = distances.shape
    source = np.arange(count)[:, None] + np.arange(shifts)[None] - shifts // 2
    exists = (source >= 0) & (source < count)
    with np.errstate(invalid="ignore"):
        return np.where(exists, distances, 0).sum(0) / np.where(exists.any(0), exists.sum(0), np.nan)
