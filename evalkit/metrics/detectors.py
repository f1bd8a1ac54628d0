"""Face detectors behind one small interface; tracking and cropping do not care which one found a face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch

from evalkit.metrics.base import Backbone
from evalkit.metrics.boxes import decode, keep_best
from evalkit.metrics.official.s3fd import MEAN_RGB, S3FD
from evalkit.metrics.resize import bilinear_fixed_point

LEAST_SCORE = 0.9
SAME_FACE_OVERLAP = 0.1
_CANDIDATE_SCORE, _CANDIDATE_OVERLAP = 0.05, 0.3
_CANDIDATES, _CANDIDATES_KEPT = 5000, 750


class Detector(ABC):
    """Finds faces in one picture; `scales` are the sizes at which it may look, the usual one first."""

    scales: ClassVar[tuple[float, ...]] = (1.0,)

    @property
    @abstractmethod
    def backbone(self) -> Backbone:
        """The network in use."""

    @abstractmethod
    def detect(self, picture: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """Faces float64 [k, 5] (x1, y1, x2, y2 in pixels, score) of RGB uint8 [H, W, 3] seen at `scale` of its size."""


class S3fdDetector(Detector):
    """The published SyncNet pipeline's detector: a quarter of the size first, finer where nothing is found."""

    scales = (0.25, 0.5, 1.0)

    def __init__(self, network: S3FD, backbone: Backbone, device: torch.device | str = "cpu"):
        self._network, self._backbone = network.to(device), backbone
        self._device = torch.device(device)

    @property
    def backbone(self) -> Backbone:
        return self._backbone

    @torch.inference_mode()
    def detect(self, picture: np.ndarray, scale: float = 0.25) -> np.ndarray:
        height, width = picture.shape[:2]
        small = bilinear_fixed_point(picture, max(1, round(height * scale)), max(1, round(width * scale)))
        given = torch.as_tensor(small).permute(2, 0, 1).float() - torch.tensor(MEAN_RGB)[:, None, None]
        offsets, probabilities, priors = self._network(given[None].to(self._device))
        found = candidates(decode(offsets, priors)[0].cpu().numpy(), probabilities[0, :, 1].cpu().numpy())
        found = found[found[:, 4] > LEAST_SCORE]
        found[:, :4] *= (width, height, width, height)
        return found[keep_best(found, SAME_FACE_OVERLAP)]


def candidates(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Detections float64 [k, 5], best first, of relative boxes [P, 4] and face probabilities [P], thinned once."""
    likely = scores > _CANDIDATE_SCORE
    found = np.concatenate([boxes[likely], scores[likely, None]], 1).astype(np.float64)
    return found[keep_best(found, _CANDIDATE_OVERLAP, _CANDIDATES)[:_CANDIDATES_KEPT]]
