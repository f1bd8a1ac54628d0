"""Which video size a picture gets from an area: the release's rule, in which "720*400" is an area and not a size."""

from __future__ import annotations

import math

MULTIPLE = 64
_TRIES = 100
_SMALLEST_SCALE = 0.1


def released_size(height: int, width: int, area: int) -> tuple[int, int]:
    """(height, width) of the video for a picture: multiples of 64 whose product is at most `area`, near its shape.

    The picture is scaled down in a hundred even steps, each side then rounded up to a multiple; the first that fits is
    taken. Raises ValueError when none does.
    """
    if min(height, width) < 1 or area < MULTIPLE**2:
        raise ValueError(f"no size for a picture of {width}x{height} in an area of {area}; give at least {MULTIPLE**2}")
    largest, smallest = _scales(height, width, area)
    for step in range(_TRIES):
        scale = largest - (largest - smallest) * step / _TRIES
        size = _rounded_up(int(height * scale)), _rounded_up(int(width * scale))
        if 0 < size[0] * size[1] <= area:
            return size
    raise ValueError(f"a picture of {width}x{height} is too long for an area of {area}; crop it, or give a larger area")


def _scales(height: int, width: int, area: int) -> tuple[float, float]:
    """The largest and the smallest scale that are tried."""
    if height * width <= area:
        return 1.0, _SMALLEST_SCALE
    # Where both sides need the most padding, (s h + 63)(s w + 63) = area. The release solves it with 2ac for 4ac.
    pad = MULTIPLE - 1
    a, b, c = height * width, pad * (height + width), pad**2 - area
    return math.sqrt(area / a), (math.sqrt(b * b - 2 * a * c) - b) / (2 * a)


def _rounded_up(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE
