"""Faces of drawn characters in pictures of any size, by the shipped nano network: the stand-in for S3FD.

A picture is shrunk until its longer side is 128 pixels and laid on a black square. It finds the characters of the nano
world; what it says of photographs means nothing.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evalkit.metrics.base import Backbone
from evalkit.metrics.boxes import keep_best
from evalkit.metrics.detectors import Detector
from evalkit.metrics.face_finder_net import FaceFinderNet
from evalkit.metrics.weights import load_nano, nano_backbone

WEIGHTS = "face_finder"
LEAST_SCORE = 0.4
SAME_FACE_OVERLAP = 0.3


@cache
def shared_finder() -> FaceFinder:
    """One finder per process."""
    return FaceFinder()


class FaceFinder(Detector):
    """Detector of the nano profile."""

    def __init__(self) -> None:
        self._network = load_nano(WEIGHTS, FaceFinderNet())

    @property
    def backbone(self) -> Backbone:
        return nano_backbone(WEIGHTS)

    def detect(self, picture: np.ndarray, scale: float = 1.0) -> np.ndarray:
        return self.detect_many(picture[None])[0]

    @torch.inference_mode()
    def detect_many(self, pictures: np.ndarray) -> list[np.ndarray]:
        """Faces of each of several pictures uint8 [n, H, W, 3] of one size."""
        square, factor = on_square(pictures, self._network.config.side)
        found = find_in_square(self._network, square)
        for faces in found:
            faces[:, :4] /= factor
        return found


def on_square(pictures: np.ndarray, side: int) -> tuple[Tensor, float]:
    """Float32 [n, 3, side, side] in -1..1, black beyond the picture, and the factor by which it was resized."""
    height, width = pictures.shape[1:3]
    factor = side / max(height, width)
    tensor = torch.as_tensor(pictures).permute(0, 3, 1, 2).float() / 255
    if factor != 1:
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        tensor = F.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
    square = torch.zeros(len(tensor), 3, side, side)
    square[:, :, : tensor.shape[2], : tensor.shape[3]] = tensor
    return square * 2 - 1, factor


def find_in_square(network: FaceFinderNet, squares: Tensor) -> list[np.ndarray]:
    """Faces float64 [k, 5] in pixels of each square [n, 3, side, side], best first."""
    out = network(squares)
    scores, boxes = out[:, 0].sigmoid(), network.boxes(out)
    peaks = scores == F.max_pool2d(scores[:, None], 3, 1, 1)[:, 0]
    found = []
    for score, box, peak in zip(scores, boxes, peaks, strict=True):
        chosen = peak & (score > LEAST_SCORE)
        rows = torch.cat([box[:, chosen].T, score[chosen][:, None]], 1).double().numpy()
        found.append(rows[keep_best(rows, SAME_FACE_OVERLAP)])
    return found
