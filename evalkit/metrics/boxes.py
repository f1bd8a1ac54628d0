"""Boxes: decoding of detector output, overlap, and the thinning of boxes that show the same thing.

A box is x1, y1, x2, y2; a detection has its score as a fifth number.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


def decode(offsets: Tensor, priors: Tensor) -> Tensor:
    """Boxes [..., P, 4] of SSD offsets [..., P, 4] and priors [P, 4] (centre and size)."""
    centres = priors[:, :2] + offsets[..., :2] * CENTRE_VARIANCE * priors[:, 2:]
    sizes = priors[:, 2:] * (offsets[..., 2:] * SIZE_VARIANCE).exp()
    low = centres - sizes / 2
    return torch.cat([low, low + sizes], -1)


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with others [n, 4+]."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    return shared / np.maximum(_area(box[None]) + _area(others) - shared, 1e-12)


def keep_best(detections: np.ndarray, limit: float, most: int | None = None) -> np.ndarray:
    """Indices, best first, of detections [n, 5] that no better one overlaps by more than `limit`."""
    # Of equal scores the later comes first, as in the published code, where many faces saturate at 1.
    order = np.argsort(detections[:, 4], kind="stable")[::-1][:most]
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[overlaps(detections[best], detections[rest]) <= limit]
    return np.array(kept, np.int64)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

