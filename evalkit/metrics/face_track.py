"""Faces followed through a clip as it is decoded, and the crops that SyncNet was trained on.

Rules of the published pipeline (Chung & Zisserman 2016 and its code): a detection joins a track when its box overlaps
the track's last by more than half and not more than 25 pictures lie between; gaps are filled by straight lines; centre
and size are smoothed by a running median of 13. All of it works on pictures as they come, with a bounded look-back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from evalkit.metrics.boxes import overlaps
from evalkit.metrics.resize import bilinear_fixed_point
from evalkit.metrics.rows import Rows

CROP_SIZE = 224
PAD_VALUE = 110
DOWN_SCALE, SIDE_SCALE = 1.8, 1.4
"""The crop reaches 1.8 half-sizes below the face's centre, 1 above, 1.4 to either side: the mouth is central."""
MEDIAN_WIDTH = 13

Rect = tuple[int, int, int, int]
Edge = Literal["zero", "replicate"]


@dataclass(frozen=True)
class TrackRules:
    """min_track: a track has more detections than that; min_face_px: its mean box is wider or higher than that.

    edge: what the median sees beyond both ends; the published code sees zeros, which zooms in there.
    """

    max_gap: int = 25
    least_overlap: float = 0.5
    min_track: int = 50
    min_face_px: float = 100.0
    edge: Edge = "zero"


@dataclass
class Track:
    """One face: `first` is the picture where it begins; boxes of every picture since, gaps filled."""

    first: int
    last: int
    detected: int = 0
    _boxes: Rows = field(default_factory=lambda: Rows(4, dtype=np.float64))

    @property
    def boxes(self) -> np.ndarray:
        """x1, y1, x2, y2 in pixels, float64 [pictures, 4]."""
        return self._boxes.array()

    def smoothed(self, begin: int, end: int, edge: Edge) -> np.ndarray:
        """Half size, x and y [end - begin, 3] of pictures begin .. end - 1 of the track, after the running median.

        Looks only at the boxes about them, so that a long track costs no more per picture than a short one.
        """
        half = MEDIAN_WIDTH // 2
        low, high = max(0, begin - half), min(len(self), end + half)
        return smooth(centres(self._boxes.span(low, high)), edge)[begin - low : end - low]

    @property
    def last_box(self) -> np.ndarray:
        return self._boxes.last()

    def __len__(self) -> int:
        return self.last - self.first + 1

    def append(self, picture: int, box: np.ndarray) -> None:
        """The next detection; pictures between are filled by a straight line."""
        if self.detected:
            steps = picture - self.last
            share = np.arange(1, steps + 1)[:, None] / steps
            self._boxes.append(self.last_box * (1 - share) + box * share)
        else:
            self._boxes.append(box[None])
        self.last, self.detected = picture, self.detected + 1

    def mean_side_px(self) -> float:
        """The larger of mean width and mean height."""
        boxes = self.boxes
        return float(max((boxes[:, 2] - boxes[:, 0]).mean(), (boxes[:, 3] - boxes[:, 1]).mean()))


class Tracker:
    """Links detections of consecutive pictures; `live` tracks may still grow, `ended` ones may not."""

    def __init__(self, rules: TrackRules | None = None):
        self.rules = rules or TrackRules()
        self.live: list[Track] = []
        self.ended: list[Track] = []

    def push(self, picture: int, detections: np.ndarray) -> None:
        """Detections [k, 4 or 5] of the next picture; older tracks choose first, what is left begins new ones."""
        still = [track for track in self.live if picture - track.last <= self.rules.max_gap]
        self.ended += [track for track in self.live if picture - track.last > self.rules.max_gap]
        left = [np.asarray(row[:4], np.float64) for row in detections]
        for track in still:
            for index, box in enumerate(left):
                if overlaps(track.last_box, box[None])[0] > self.rules.least_overlap:
                    track.append(picture, left.pop(index))
                    break
        for box in left:
            track = Track(picture, picture)
            track.append(picture, box)
            still.append(track)
        self.live = still

    def finish(self) -> list[Track]:
        """All tracks, in the order in which they began."""
        self.ended += self.live
        self.live = []
        return sorted(self.ended, key=lambda track: track.first)

    def is_long(self, track: Track) -> bool:
        """Whether a track has enough detections to count."""
        return track.detected > self.rules.min_track

    def is_kept(self, track: Track) -> bool:
        """Whether a finished track counts: long enough and large enough."""
        return self.is_long(track) and track.mean_side_px() > self.rules.min_face_px


def link_tracks(rows: np.ndarray, rules: TrackRules | None = None) -> list[Track]:
    """Tracks that count, from detections [n, 5] (picture, x1, y1, x2, y2) of a whole clip."""
    tracker = Tracker(rules)
    for picture in np.unique(rows[:, 0]).astype(int):
        tracker.push(picture, rows[rows[:, 0] == picture, 1:])
    return [track for track in tracker.finish() if tracker.is_kept(track)]


def centres(boxes: np.ndarray) -> np.ndarray:
    """Half of the longer side, centre x and centre y [n, 3] of boxes [n, 4]."""
    sides = np.maximum(boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]) / 2
    return np.stack([sides, (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2], 1)


def smooth(values: np.ndarray, edge: Edge = "zero") -> np.ndarray:
    """Running median of width 13 of [n, k] along n."""
    half = MEDIAN_WIDTH // 2
    padded = np.pad(values, ((half, half), (0, 0)), mode="constant" if edge == "zero" else "edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_WIDTH, axis=0), axis=-1)


def crop_rect(size: float, x: float, y: float) -> Rect:
    """Top, bottom, left, right of the crop in pixels, end excluded; may reach beyond the picture.

    Rounding towards zero happens after the published code's padding, so that it is always downwards.
    """
    pad = int(size * DOWN_SCALE)
    x, y = x + pad, y + pad
    return (
        int(y - size) - pad,
        int(y + size * DOWN_SCALE) - pad,
        int(x - size * SIDE_SCALE) - pad,
        int(x + size * SIDE_SCALE) - pad,
    )


def crop_face(picture: np.ndarray, rect: Rect, size: int = CROP_SIZE) -> np.ndarray:
    """The rectangle of uint8 [H, W, 3], grey beyond the border, resized to [size, size, 3]."""
    top, bottom, left, right = rect
    height, width = picture.shape[:2]
    part = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if top < 0 or left < 0 or bottom > height or right > width:
        whole = np.full((bottom - top, right - left, 3), PAD_VALUE, np.uint8)
        rows, columns = max(0, -top), max(0, -left)
        whole[rows : rows + part.shape[0], columns : columns + part.shape[1]] = part
        part = whole
    return bilinear_fixed_point(part, size, size)
