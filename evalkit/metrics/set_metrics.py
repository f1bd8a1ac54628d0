"""FID, KID and FVD between the videos of a method and real videos, from stored features of both.

FID pools all pictures of all videos, never a distance per video. Videos of one name on both sides are cut to the shorter,
so that fake and real show the same moments. Intervals resample videos. Counts, floor (the distance of two halves of the
real set), extrapolation and kernel distance stand beside each number: at the sizes of avatar sets it ranks, it does not
measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from evalkit.metric_setup import NANO
from evalkit.metrics.backbones import kind_of
from evalkit.metrics.base import Bounds, Features, Score, SetMetric
from evalkit.metrics.frechet import frechet_distance, frechet_from_moments
from evalkit.metrics.kernel_distance import kernel_distance, mmd2
from evalkit.metrics.moments import Moments
from evalkit.metrics.set_arithmetic import DRAWS, extrapolated, floor_of, subsample_interval

Videos = Mapping[str, Mapping[str, Features]]
Rows = Sequence[np.ndarray]
"""Feature rows [k, D] of each video."""

LEAST_ROWS_FID, LEAST_VIDEOS_FVD = 2048, 256
"""Below these counts a value ranks methods on the same videos and is no absolute number."""
MOMENTS_FROM = 4
"""Rows per dimension from which draws work on moments, which are added up per video once."""


class _Distance(SetMetric):
    least_rows: ClassVar[int] = 0
    least_videos: ClassVar[int] = 0

    def rows(self, arrays: Features) -> np.ndarray:
        """What one video contributes, float32 [k, D], in order of time."""
        raise NotImplementedError

    def distance(self, made: Rows, real: Rows) -> tuple[float, dict[str, Any]]:
        """The number and what belongs to it."""
        raise NotImplementedError

    def score(self, made: Videos, real: Videos) -> Score:
        extractor = self.extractors[0]
        names, made_rows, real_names, real_rows = _paired(
            {name: self.rows(features[extractor]) for name, features in made.items()},
            {name: self.rows(features[extractor]) for name, features in real.items()},
        )
        counts = {
            "videos": len(made_rows),
            "real_videos": len(real_rows),
            "rows": sum(map(len, made_rows)),
            "real_rows": sum(map(len, real_rows)),
            "dimensions": int(made_rows[0].shape[1]) if made_rows else 0,
        }
        if min(counts["rows"], counts["real_rows"]) < 2:
            return Score.missing("too_few_videos", **counts)
        value, details = self.distance(made_rows, real_rows)
        details |= counts | self._interval(made_rows, real_rows, value, is_paired=names == real_names)
        shortfall = self._shortfall(counts)
        if shortfall:
            details["relative_only"] = shortfall
        return Score(value, None, details)

    def _interval(self, made: Rows, real: Rows, value: float, is_paired: bool) -> dict[str, Any]:
        draw = self._drawn(made, real, is_paired)
        dimensions = made[0].shape[1]
        draws = DRAWS if dimensions <= 128 else 200 if dimensions <= 1024 else 50
        found = subsample_interval(draw, len(made), value, draws=draws)
        return {} if found is None else asdict(found)

    def _drawn(self, made: Rows, real: Rows, is_paired: bool) -> Callable[[np.ndarray], float]:
        """The distance of some videos; of pairs both go, else as large a share of the real ones."""

        def chosen(kept: np.ndarray, rows: Rows) -> list[np.ndarray]:
            if is_paired:
                return [rows[index] for index in kept]
            share = len(kept) / len(made)
            random = np.random.default_rng(int(kept.sum()))
            count = max(2, round(share * len(rows)))
            return [rows[index] for index in np.sort(random.permutation(len(rows))[:count])]

        return lambda kept: self.distance_of([made[index] for index in kept], chosen(kept, real))

    def distance_of(self, made: Rows, real: Rows) -> float:
        """The bare number, for draws."""
        raise NotImplementedError

    def _shortfall(self, counts: Mapping[str, int]) -> str:
        """Why the number is relative only; empty when it is not."""
        if min(counts["rows"], counts["real_rows"]) < self.least_rows:
            return f"{min(counts['rows'], counts['real_rows'])} pictures instead of at least {self.least_rows}"
        if min(counts["videos"], counts["real_videos"]) < self.least_videos:
            return f"{min(counts['videos'], counts['real_videos'])} videos instead of at least {self.least_videos}"
        return ""


class _FrechetDistance(_Distance):
    bounds: ClassVar[Bounds] = (0.0, None)

    def distance(self, made: Rows, real: Rows) -> tuple[float, dict[str, Any]]:
        x, y = np.concatenate(made), np.concatenate(real)
        found = frechet_distance(x, y)
        beyond = extrapolated(x, y)
        kernel = kernel_distance(x, y)
        return found.value, {
            "raw": found.raw,
            "mean_term": found.mean_term,
            "traces": [found.trace_x, found.trace_y],
            "is_rank_deficient": found.is_rank_deficient,
            "fd_real_split": floor_of(real, lambda a, b: frechet_distance(a, b).value),
            "fd_inf": beyond.value if beyond else None,
            "kid": kernel.value,
        }

    def distance_of(self, made: Rows, real: Rows) -> float:
        dimensions = made[0].shape[1]
        if min(sum(map(len, made)), sum(map(len, real))) >= MOMENTS_FROM * dimensions:
            return frechet_from_moments(_moments(made), _moments(real)).value
        return frechet_distance(np.concatenate(made), np.concatenate(real)).value


class Fid(_FrechetDistance):
    """Fréchet distance of picture features, all pictures but each video's first, which is often given."""

    name, title, least_rows = "fid", "FID", LEAST_ROWS_FID
    official_extractor: ClassVar[str] = "inception"

    @property
    def extractors(self) -> tuple[str, ...]:  # type: ignore[override]
        """Inception where it is there; else the image encoder that Dino-S runs anyway."""
        setup = self.setup or NANO
        return (self.official_extractor,) if _is_official(self.official_extractor, setup) else ("image",)

    def rows(self, arrays: Features) -> np.ndarray:
        return arrays["pooled"][1:] if "pooled" in arrays else arrays["features"]


class Kid(Fid):
    """Kernel distance of the same features: unbiased for any number of pictures."""

    name, title, decimals = "kid", "KID", 4
    bounds: ClassVar[Bounds] = (None, None)

    def distance(self, made: Rows, real: Rows) -> tuple[float, dict[str, Any]]:
        found = kernel_distance(np.concatenate(made), np.concatenate(real))
        floor = floor_of(real, mmd2)
        return found.value, {"subset": found.subset, "subsets": found.subsets, "kd_real_split": floor}

    def distance_of(self, made: Rows, real: Rows) -> float:
        return mmd2(np.concatenate(made).astype(np.float64), np.concatenate(real).astype(np.float64))


class FidClean(Fid):
    """FID with the antialiased resize of clean-fid; official network only."""

    name, title = "fid_clean", "FID (clean)"
    extractors = ("inception_clean",)  # type: ignore[assignment]


class FidTf(Fid):
    """FID with TensorFlow's resize, as in the original code; official network only."""

    name, title = "fid_tf", "FID (TF)"
    extractors = ("inception_tf",)  # type: ignore[assignment]


class Fvd(_FrechetDistance):
    """Fréchet distance of features of 16 consecutive pictures, all windows of all videos."""

    name, title, least_videos = "fvd", "FVD", LEAST_VIDEOS_FVD
    extractors: tuple[str, ...] = ("clip",)

    def rows(self, arrays: Features) -> np.ndarray:
        return arrays["windows"]


class FvdOneClip(Fvd):
    """FVD with the first window of each video only, as several papers do."""

    name, title = "fvd_one_clip", "FVD, first windows"

    def rows(self, arrays: Features) -> np.ndarray:
        return arrays["windows"][:1]


class FvdLong(Fvd):
    """FVD of 16 pictures spread over 128: slow drift shows."""

    name, title = "fvd_long", "FVD, stride 8"

    def rows(self, arrays: Features) -> np.ndarray:
        return arrays["long"]


class FvdDebiased(Fvd):
    """Content-debiased FVD: features of VideoMAE, which look less at appearance and more at motion."""

    name, title = "fvd_cd", "FVD (content-debiased)"
    extractors = ("clip_debiased",)


def _is_official(extractor: str, setup: Any) -> bool:
    from evalkit.metrics.weights import WeightsError

    if setup.backbones == "nano":
        return False
    try:
        return kind_of(extractor, setup) == "official"
    except WeightsError:
        if setup.backbones == "official":
            raise
        return False


def _paired(
    made: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray]
) -> tuple[list[str], list[np.ndarray], list[str], list[np.ndarray]]:
    """Names and rows of both sides in order of names; of shared names, as many rows on both; empty videos are left out."""
    common = {name: min(len(made[name]), len(real[name])) for name in made if name in real}

    def side(rows: Mapping[str, np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
        cut = {name: value[: common.get(name, len(value))] for name, value in sorted(rows.items())}
        kept = {name: value for name, value in cut.items() if len(value)}
        return list(kept), list(kept.values())

    return (*side(made), *side(real))


def _moments(rows: Rows) -> Moments:
    made = Moments.empty(rows[0].shape[1])
    for part in rows:
        made.update(part)
    return made
