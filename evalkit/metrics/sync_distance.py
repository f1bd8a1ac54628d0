"""Sync-D, Sync-C and offset from SyncNet embeddings: pure arithmetic, as the reference code computes them.

With video embeddings v [N, D], audio embeddings u [N, D] and W = vshift, u padded by W zero rows on both sides:

    d[i, j] = || v[i] - u[i + j - W] + 1e-6 ||      j = 0 .. 2W
    m[j]    = mean_i d[i, j]
    Sync-D  = min m,   Sync-C = median m - min m,   offset = W - argmin m   (the first minimum wins)

Embeddings are not normalised. Positive offset: the matching sound sits earlier in the audio than the mouth movement.
A zero row can be nearer than an unrelated one, so unrelated sound tends to |offset| = W: read that as "no sync found".
"""

from __future__ import annotations

from collections.abc import Iterator
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
    parts = [part for _, part in _in_pieces(video, audio, vshift)]
    return np.concatenate(parts) if parts else np.zeros((0, 2 * vshift + 1))


def _in_pieces(video: np.ndarray, audio: np.ndarray, vshift: int) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, rows of d) a piece at a time, so that a long stream needs no more memory than a short one."""
    if video.shape != audio.shape or video.ndim != 2:
        raise ValueError(f"video {video.shape} and audio {audio.shape} embeddings must both be [N, D]")
    count = len(video)
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = np.asarray(video[start : start + _ROWS_AT_ONCE], np.float64) + _EPSILON
        low, high = start - vshift, start + len(rows) + vshift
        heard = np.asarray(audio[max(low, 0) : min(high, count)], np.float64)
        heard = np.pad(heard, ((max(-low, 0), max(high - count, 0)), (0, 0)))
        out = np.empty((len(rows), 2 * vshift + 1))
        for shift in range(2 * vshift + 1):
            out[:, shift] = np.sqrt(np.square(rows - heard[shift : shift + len(rows)]).sum(1))
        yield start, out


def summarise_pair(video: np.ndarray, audio: np.ndarray, vshift: int = VSHIFT) -> SyncResult:
    """`summarise(shift_distances(video, audio))` without ever holding all distances; N >= 1."""
    count, shifts = len(video), 2 * vshift + 1
    total, valid_total, valid_count = np.zeros(shifts), np.zeros(shifts), np.zeros(shifts)
    for start, part in _in_pieces(video, audio, vshift):
        exists = _exists(start, len(part), count, shifts)
        total += part.sum(0)
        valid_total += np.where(exists, part, 0).sum(0)
        valid_count += exists.sum(0)
    mean = total / count
    best = int(mean.argmin())
    median = float(np.median(mean))
    framewise = np.concatenate([median - part[:, best] for _, part in _in_pieces(video, audio, vshift)])
    return _result(mean, valid_total, valid_count, framewise)


def summarise(distances: np.ndarray) -> SyncResult:
    """Distance, confidence and offset from d [N, 2W + 1], N >= 1."""
    mean = distances.mean(0)
    best = int(mean.argmin())
    exists = _exists(0, len(distances), len(distances), distances.shape[1])
    framewise = np.median(mean) - distances[:, best]
    return _result(mean, np.where(exists, distances, 0).sum(0), exists.sum(0), framewise)


def _result(mean: np.ndarray, valid_total: np.ndarray, valid_count: np.ndarray, framewise: np.ndarray) -> SyncResult:
    best = int(mean.argmin())
    with np.errstate(invalid="ignore"):
        valid = valid_total / np.where(valid_count > 0, valid_count, np.nan)
    return SyncResult(
        distance=float(mean[best]),
        confidence=float(np.median(mean) - mean[best]),
        offset_frames=len(mean) // 2 - best,
        distance_valid=float(np.nanmin(valid)),
        confidence_valid=float(np.nanmedian(valid) - np.nanmin(valid)),
        mean_by_shift=mean,
        framewise=framewise,
    )


def smooth_framewise(framewise: np.ndarray) -> np.ndarray:
    """The reference's running median of width 9 (zeros beyond both ends)."""
    padded = np.pad(framewise, _MEDIAN_WIDTH // 2)
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, _MEDIAN_WIDTH), axis=1)


def _exists(start: int, rows: int, count: int, shifts: int) -> np.ndarray:
    """Which of the pairs d[start .. start + rows - 1, :] have an audio row that is no padding, bool [rows, shifts]."""
    source = start + np.arange(rows)[:, None] + np.arange(shifts)[None] - shifts // 2
    return (source >= 0) & (source < count)
