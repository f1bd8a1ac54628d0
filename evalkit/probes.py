"""Is a speed honest? Frames are counted from the file, pictures compared with those that were scored, caching looked for."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not checked"
COMPARED_FRAMES = 48
MOST_DIFFERENCE = 3.0  # grey levels of 255, mean over a frame: what another cut of the same encoding may differ by
FASTER_BY = 1.25  # a repeated input may not be more than this faster than different ones
SLOWER_BY = 0.8


@dataclass(frozen=True)
class Probe:
    """One check and what it found."""

    name: str
    state: str
    text: str


def frames_counted(video: Path, reported: int) -> Probe:
    """Frames in the decoded file against what the method said it made."""
    try:
        found = sum(1 for _ in _pictures(video))
    except Exception as error:
        return Probe("frames", NOT_CHECKED, f"the timed file cannot be decoded: {type(error).__name__}")
    state = PASSED if found == reported else FAILED
    return Probe("frames", state, f"{found} frames in the file, {reported} reported")


def same_pictures(timed: Path, scored: Path) -> Probe:
    """The timed clip shows what the scored clip shows: speed and quality are of the same pictures."""
    if not scored.is_file():
        return Probe("pictures", NOT_CHECKED, "there is no scored clip of this sample")
    try:
        pairs = zip(islice(_pictures(timed), COMPARED_FRAMES), islice(_pictures(scored), COMPARED_FRAMES), strict=False)
        differences = [float(abs(one.astype("f4") - other.astype("f4")).mean()) for one, other in pairs]
    except Exception as error:
        return Probe("pictures", NOT_CHECKED, f"a file cannot be decoded: {type(error).__name__}")
    if not differences:
        return Probe("pictures", NOT_CHECKED, "the files have no frames in common")
    worst = max(differences)
    text = f"the first {len(differences)} frames differ by at most {worst:.2f} grey levels from those that were scored"
    return Probe("pictures", PASSED if worst <= MOST_DIFFERENCE else FAILED, text)


def caching(different: Sequence[float], repeated: Sequence[float]) -> Probe:
    """Rates on different inputs and on one input over and over: a cache of answers would make the latter faster."""
    ratio = statistics.median(repeated) / statistics.median(different)
    state = PASSED if ratio <= FASTER_BY else FAILED
    return Probe("caching", state, f"one input repeated is {ratio:.2f} times as fast as different inputs")


def unseen(seen: Sequence[float], fresh: Sequence[float]) -> Probe:
    """Rates on the set's voices and on voices that exist nowhere else."""
    ratio = statistics.median(fresh) / statistics.median(seen)
    state = PASSED if ratio >= SLOWER_BY else FAILED
    return Probe("unseen", state, f"voices played backwards are {ratio:.2f} times as fast as those of the set")


def failures(probes: Sequence[Probe]) -> str:
    """Why probes make a measurement invalid; empty when they do not."""
    return "; ".join(f"probe {one.name} failed: {one.text}" for one in probes if one.state == FAILED)


def as_plain(probes: Sequence[Probe]) -> list[dict[str, Any]]:
    """For a record."""
    return [asdict(one) for one in probes]


def _pictures(path: Path) -> Any:
    """Frames of a file, grey."""
    import av

    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield frame.to_ndarray(format="gray")
