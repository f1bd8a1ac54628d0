"""Ratings from five level logits, in the arithmetic of Q-Align: the published scale of IQA and ASE, 1 to 5.

    p = softmax(l),  score = 5 p1 + 4 p2 + 3 p3 + 2 p4 + 1 p5      for excellent, good, fair, poor, bad

(Wu et al. 2023.) The authors' command line prints the same ratings on 0..1; numbers of the two scales were mixed up in
public more than once, so only 1..5 ever leaves this project.
"""

from __future__ import annotations

import numpy as np

LEVELS = ("excellent", "good", "fair", "poor", "bad")
LEVEL_VALUES = (5.0, 4.0, 3.0, 2.0, 1.0)


def scores_of(logits: np.ndarray) -> np.ndarray:
    """Ratings float64 [n] in 1..5 of logits [n, 5], in the order of LEVELS.

    Raises ValueError for another shape or values that are not numbers.
    """
    logits = np.asarray(logits, np.float64)
    if logits.ndim != 2 or logits.shape[1] != len(LEVELS):
        raise ValueError(f"logits of shape {logits.shape}; give [n, 5] in the order {', '.join(LEVELS)}")
    if np.isnan(logits).any():
        raise ValueError("logits hold NaN; the network or its input is broken")
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted @ np.array(LEVEL_VALUES) / shifted.sum(1)


def soft_levels(ratings: np.ndarray) -> np.ndarray:
    """Probabilities [n, 5] whose score is the rating: shared between the two nearest levels."""
    ratings = np.asarray(ratings, np.float64)
    return np.clip(1 - np.abs(ratings[:, None] - np.array(LEVEL_VALUES)), 0, None)
