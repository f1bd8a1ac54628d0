"""Fréchet distance between two sets of feature vectors, without ever forming a product of covariances.

    FD = |a - b|^2 + tr S + tr T - 2 tr (S T)^(1/2)          (Heusel et al. 2017), S and T with divisor n - 1

From features: tr (S T)^(1/2) is the sum of the singular values of Xc Yc^T, with Xc and Yc the centred features over
sqrt(n - 1); a side with more rows than columns is first replaced by the R of its QR decomposition. From moments: the
same of P^T Q with S = P P^T and T = Q Q^T. Both are exact for sets of any rank: fewer vectors than dimensions need no
epsilon, and nothing becomes complex. Forming S T, as `sqrtm` does, squares small singular values and loses half of the
digits there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.metrics.moments import Moments

NEGATIVE_SHARE = 1e-3
"""A result below -0.1 % of the traces is no rounding."""


@dataclass(frozen=True)
class Frechet:
    """A distance and what it is made of; `raw` may lie below 0 by rounding, `value` never does.

    is_rank_deficient: a side has no more vectors than dimensions. The number is exact all the same, but it says
    little about the distribution: read it beside the kernel distance.
    """

    value: float
    raw: float
    mean_term: float
    trace_x: float
    trace_y: float
    trace_root: float
    n: int
    m: int
    dimensions: int
    is_rank_deficient: bool


def frechet_distance(x: np.ndarray, y: np.ndarray, divisor: int = 1) -> Frechet:
    """Distance of features x [n, D] and y [m, D]; covariances divide by n - `divisor` (0: population).

    Raises ValueError for fewer than two vectors on a side, other shapes, or values that are not finite.
    """
    x, y = _checked(x), _checked(y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features of {x.shape[1]} and {y.shape[1]} dimensions; both sides need the same network")
    mean_x, mean_y = x.mean(0), y.mean(0)
    root_x, root_y = _root_of_rows(x - mean_x, divisor), _root_of_rows(y - mean_y, divisor)
    trace_root = float(singular_values(root_x @ root_y.T).sum())
    traces = float(np.square(root_x).sum()), float(np.square(root_y).sum())
    return _result(mean_x, mean_y, traces, trace_root, (len(x), len(y)))


def frechet_from_moments(x: Moments, y: Moments, divisor: int = 1) -> Frechet:
    """The same from means and covariances alone, for sets too large to be kept."""
    if x.count < 2 or y.count < 2:
        raise ValueError(f"{x.count} and {y.count} feature vectors; a covariance needs at least 2 on each side")
    cov_x, cov_y = x.covariance(divisor), y.covariance(divisor)
    trace_root = float(singular_values(_root_of_covariance(cov_x).T @ _root_of_covariance(cov_y)).sum())
    traces = float(np.trace(cov_x)), float(np.trace(cov_y))
    return _result(x.mean, y.mean, traces, trace_root, (x.count, y.count))


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """Singular values of a float64 matrix; empty for an empty one."""
    return np.linalg.svd(matrix, compute_uv=False) if matrix.size else np.zeros(0)


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2:
        raise ValueError(f"features of shape {features.shape}; give [n, D]")
    if len(features) < 2:
        raise ValueError(f"{len(features)} feature vectors; a covariance needs at least 2 on each side")
    if not np.isfinite(features).all():
        raise ValueError("features hold values that are not finite; the network or its input is broken")
    return features


def _root_of_rows(centred: np.ndarray, divisor: int) -> np.ndarray:
    """A matrix R [min(n, D), D] with R^T R the covariance of centred rows [n, D]."""
    scaled = centred / np.sqrt(len(centred) - divisor)
    return np.asarray(np.linalg.qr(scaled, mode="r")) if len(scaled) > scaled.shape[1] else scaled


def _root_of_covariance(covariance: np.ndarray) -> np.ndarray:
    """P [D, r] with P P^T the covariance; eigenvalues that are rounding are left out."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 4 * len(values) * np.finfo(float).eps * max(values[-1], 0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


def _result(
    mean_x: np.ndarray, mean_y: np.ndarray, traces: tuple[float, float], trace_root: float, counts: tuple[int, int]
) -> Frechet:
    mean_term = float(np.square(mean_x - mean_y).sum())
    raw = mean_term + sum(traces) - 2 * trace_root
    if raw < -NEGATIVE_SHARE * sum(traces):
        raise ArithmeticError(f"a Fréchet distance of {raw:g} with traces {traces}: negative beyond rounding")
    dimensions = len(mean_x)
    is_deficient = min(counts) <= dimensions
    return Frechet(max(raw, 0.0), raw, mean_term, *traces, trace_root, *counts, dimensions, is_deficient)
