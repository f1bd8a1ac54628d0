"""Drift as a number: the straight-line slope of quality over a clip, per minute, with an interval.

Over several clips the clip is the unit (bootstrap over clips). Within a single stream the interval is that of the line
through its 10-second means, widened for the correlation of neighbours: it says how sure this stream's slope is, nothing
of other streams.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evalkit import stats
from evalkit.comparisons import SIGNS, clusters_of
from evalkit.results import Results

OVER_CLIPS, WITHIN_STREAM = "clips", "one stream"
LEAST_BINS = 3
LEAST_BINS_FOR_INTERVAL = 8
SECONDS_A_MINUTE = 60.0


@dataclass(frozen=True)
class Line:
    """A line through points: slope per minute, its standard error widened for correlated residuals, None for few points."""

    slope: float
    error: float | None


@dataclass(frozen=True)
class Slope:
    """Mean drift per minute. basis: what the interval is over; n: clips, or bins of the one stream."""

    per_minute: float
    low: float | None
    high: float | None
    n: int
    basis: str
    span_s: float


def drift_slopes(results: Results, curves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One slope per method, set and curve, with what it means for the metric."""
    groups: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for curve in curves:
        groups.setdefault((curve["method"], curve["dataset"], curve["metric"]), {})[curve["sample"]] = curve
    made = []
    for (method, dataset, metric), samples in groups.items():
        found = slope_of(samples, clusters_of(results.definition, dataset))
        if found is not None:
            info = results.definition.metric(metric)
            who = {"method": method, "dataset": dataset, "metric": metric}
            made.append({**who, **asdict(found), "reading": reading(found, info.direction if info else "")})
    return made


def slope_of(samples: Mapping[str, Mapping[str, Any]], clusters: Mapping[str, str]) -> Slope | None:
    """The slope of a method's curves by sample; None where no curve has three bins."""
    kept = {name: one for name, one in samples.items() if len(one["t_s"]) >= LEAST_BINS}
    if not kept:
        return None
    lines = {name: fit(one["t_s"], one["value"]) for name, one in kept.items()}
    span_s = max(one["t_s"][-1] - one["t_s"][0] for one in kept.values())
    if len(lines) > 1:
        found = stats.estimate([one.slope for one in lines.values()], [clusters.get(name, name) for name in lines])
        return Slope(found.mean, found.low, found.high, found.n, OVER_CLIPS, span_s)
    ((name, line),) = lines.items()
    n = len(kept[name]["t_s"])
    half = None if line.error is None else _t_quantile(n - 2) * line.error
    low, high = (None, None) if half is None else (line.slope - half, line.slope + half)
    return Slope(line.slope, low, high, n, WITHIN_STREAM, span_s)


def fit(times_s: Sequence[float], values: Sequence[float]) -> Line:
    """Least squares. The error takes residuals for a first-order autoregression: fewer independent points, wider error."""
    n = len(times_s)
    minutes = [t / SECONDS_A_MINUTE for t in times_s]
    middle, mean = math.fsum(minutes) / n, math.fsum(values) / n
    square = math.fsum((t - middle) ** 2 for t in minutes)
    slope = math.fsum((t - middle) * (v - mean) for t, v in zip(minutes, values, strict=True)) / square
    if n < LEAST_BINS_FOR_INTERVAL:
        return Line(slope, None)
    left = [v - mean - slope * (t - middle) for t, v in zip(minutes, values, strict=True)]
    total = math.fsum(one * one for one in left)
    if total == 0:
        return Line(slope, 0.0)
    correlation = math.fsum(a * b for a, b in itertools.pairwise(left)) / total
    correlation = min(max(correlation, 0.0), 0.99)
    widening = math.sqrt((1 + correlation) / (1 - correlation))
    return Line(slope, math.sqrt(total / (n - 2) / square) * widening)


def reading(found: Slope, direction: str) -> str:
    """What the slope says: `no drift shown` unless the interval leaves zero out."""
    if found.low is None or found.high is None:
        return "too few points for an interval"
    if found.low <= 0 <= found.high:
        return "no drift shown"
    sign = SIGNS.get(direction)
    if sign is None:
        return "rises" if found.per_minute > 0 else "falls"
    return "improves" if sign * found.per_minute > 0 else "degrades"


def _t_quantile(degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - (1 - stats.INTERVAL) / 2))
