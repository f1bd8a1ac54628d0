"""The one place where a metric reads a sample's truth; methods never get here."""

from __future__ import annotations

from typing import Any

import numpy as np


def true_track(sample: Any, name: str) -> np.ndarray | None:
    """A truth track float32 [frames] of a manifest sample, e.g. "mouth_open"; None where there is no truth.

    Sets of real footage have samples without a `truth()` door, or one that returns None.
    """
    door = getattr(sample, "truth", None)
    known = door() if door is not None else None
    if known is None:
        return None
    return np.asarray(getattr(known.truth, name), dtype=np.float32)
