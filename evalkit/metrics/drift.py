"""How a value over time moves: slope per minute and last against first ten seconds."""

from __future__ import annotations

import numpy as np

SPAN_S = 10.0


def slope_per_minute(times_s: np.ndarray, values: np.ndarray) -> float | None:
    """Least-squares slope per 60 s; None below two distinct times."""
    if len(times_s) < 2 or np.ptp(times_s) == 0:
        return None
    centred = times_s - times_s.mean()
    return float(60 * (centred * (values - values.mean())).sum() / np.square(centred).sum())


def last_minus_first(times_s: np.ndarray, values: np.ndarray, span_s: float = SPAN_S) -> float | None:
    """Mean of the last `span_s` minus mean of the first; None for a clip shorter than both together."""
    if not len(times_s) or times_s[-1] - times_s[0] < 2 * span_s - 1:
        return None
    first, last = times_s < times_s[0] + span_s, times_s > times_s[-1] - span_s
    return float(values[last].mean() - values[first].mean())
