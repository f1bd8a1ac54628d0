"""A box followed from picture to picture by its looks: for faces that no detector knows.

Normalised correlation of a small grey patch in a window about its last place. The patch is that of the first picture,
renewed slowly, so that it neither loses a talking face nor wanders off with the background.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evalkit.metrics.face_crop import Box

PATCH_PX = 24
SEARCH_SHARE = 0.25
RENEWAL = 0.05
LEAST_MATCH = 0.3


class TemplateTracker:
    """Follows one box, given relative to the first picture."""

    def __init__(self, box: Box):
        self._relative = np.asarray(box, np.float64)
        self._box: np.ndarray | None = None
        self._patch: Tensor | None = None

    def push(self, picture: np.ndarray) -> np.ndarray:
        """The box in this picture uint8 [H, W, 3], in pixels."""
        if self._box is None:
            self._box = self._relative * ([picture.shape[1], picture.shape[0]] * 2)
        factor = PATCH_PX / max(self._box[2] - self._box[0], self._box[3] - self._box[1])
        grey, offset = self._window(picture, factor)
        rows, columns = (max(4, round(side * factor)) for side in (self._box[3] - self._box[1], self._box[2] - self._box[0]))
        if self._patch is None:
            top, left = ((self._box[axis] - offset[axis]) * factor for axis in (1, 0))
            self._patch = _cut(grey, round(top), round(left), rows, columns)
            return self._box.copy()
        scores = correlation(grey, self._patch)
        best = int(scores.argmax())
        top, left = divmod(best, scores.shape[1])
        if float(scores[top, left]) >= LEAST_MATCH:
            size = self._box[2:] - self._box[:2]
            low = offset + np.array([left, top]) / factor
            self._box = np.concatenate([low, low + size])
            found = _cut(grey, top, left, *self._patch.shape)
            self._patch = (1 - RENEWAL) * self._patch + RENEWAL * found
        return self._box.copy()

    def _window(self, picture: np.ndarray, factor: float) -> tuple[Tensor, np.ndarray]:
        """The surroundings of the last place, small and grey, and where they begin (x, y) in the picture."""
        assert self._box is not None
        size = self._box[2:] - self._box[:2]
        low = np.maximum(np.floor(self._box[:2] - SEARCH_SHARE * size), 0).astype(int)
        high = np.minimum(np.ceil(self._box[2:] + SEARCH_SHARE * size), [picture.shape[1], picture.shape[0]]).astype(int)
        part = torch.from_numpy(np.ascontiguousarray(picture[low[1] : high[1], low[0] : high[0]])).float().mean(-1)
        target = [max(4, round(side * factor)) for side in part.shape]
        small = F.interpolate(part[None, None], target, mode="bilinear", antialias=True, align_corners=False)[0, 0]
        return small, low.astype(np.float64)


def correlation(grey: Tensor, patch: Tensor) -> Tensor:
    """Normalised correlation [H - h + 1, W - w + 1] of a patch [h, w] at every place of a picture [H, W]."""
    if grey.shape[0] < patch.shape[0] or grey.shape[1] < patch.shape[1]:
        return torch.full((1, 1), -1.0)
    views = grey.unfold(0, patch.shape[0], 1).unfold(1, patch.shape[1], 1)
    centred = views - views.mean((2, 3), keepdim=True)
    wanted = patch - patch.mean()
    strength = (centred.square().sum((2, 3)) * wanted.square().sum()).sqrt().clamp(min=1e-6)
    return (centred * wanted).sum((2, 3)) / strength


def _cut(grey: Tensor, top: int, left: int, rows: int, columns: int) -> Tensor:
    top = max(0, min(top, grey.shape[0] - rows))
    left = max(0, min(left, grey.shape[1] - columns))
    return grey[top : top + rows, left : left + columns].clone()
