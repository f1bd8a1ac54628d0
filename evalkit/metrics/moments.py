"""Mean and scatter of a stream of vectors in float64: memory does not grow, parts merge, large offsets cancel nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Moments:
    """Count, mean [D] and scatter [D, D] (sum of centred outer products)."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def empty(cls, dimensions: int) -> Moments:
        """Of no vectors yet."""
        return cls(0, np.zeros(dimensions), np.zeros((dimensions, dimensions)))

    @classmethod
    def of(cls, rows: np.ndarray) -> Moments:
        """Of rows [n, D]."""
        made = cls.empty(rows.shape[1])
        made.update(rows)
        return made

    def update(self, rows: np.ndarray) -> None:
        """Add rows [n, D]."""
        rows = np.asarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise ValueError(f"rows of shape {rows.shape}; this set has {len(self.mean)} dimensions")
        if not len(rows):
            return
        mean = rows.mean(0)
        centred = rows - mean
        self.merge(Moments(len(rows), mean, centred.T @ centred))

    def merge(self, other: Moments) -> None:
        """Add another set's vectors: pairwise, so that a mean far from 0 costs no digits (Chan et al. 1979)."""
        if not other.count:
            return
        total = self.count + other.count
        difference = other.mean - self.mean
        self.scatter = self.scatter + other.scatter
        self.scatter += np.outer(difference, difference) * (self.count * other.count / total)
        self.mean = self.mean + difference * (other.count / total)
        self.count = total

    def covariance(self, divisor: int = 1) -> np.ndarray:
        """Scatter over count - `divisor`, exactly symmetric."""
        if self.count <= divisor:
            raise ValueError(f"{self.count} vectors are too few for a covariance with divisor n - {divisor}")
        return (self.scatter + self.scatter.T) / (2 * (self.count - divisor))
