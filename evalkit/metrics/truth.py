"""The one place where a metric reads a sample's truth; methods never get here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np


def true_track(sample: Any, name: str) -> np.ndarray | None:
    """A truth track float32 [frames] of a manifest sample, e.g. "mouth_open"; None where there is no truth.

    Sets of real footage have samples without a `truth()` door, or one that returns None.
    """
    known = _known(sample)
    return None if known is None else np.asarray(getattr(known.truth, name), dtype=np.float32)


def true_sounds(sample: Any, names: Collection[str]) -> list[tuple[float, float]] | None:
    """Begin and end in seconds of every spoken sound of these names; None where there is no truth."""
    known = _known(sample)
    return None if known is None else [(begin, end) for name, begin, end in known.phonemes if name in names]


def _known(sample: Any) -> Any:
    door = getattr(sample, "truth", None)
    return door() if door is not None else None
