"""What a metric is: features from a video (needs a network), then a number from features (needs nothing).

`Extractor` -> `FeatureStream` turns pieces of one video into arrays; `Metric.score` turns stored arrays into a
`Score`. Several metrics share an extractor, so a video is decoded and pushed through each network once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

if TYPE_CHECKING:
    from evalkit.metric_setup import MetricSetup

Features = Mapping[str, np.ndarray]
Bounds = tuple[float | None, float | None]
Series = dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class Backbone:
    """The network behind a number: values with different digests never share a table column.

    kind: "nano" (trained by our recipe on the nano world), "official" (published weights) or "none".
    protocol: everything between the file and the network: frame rate, crop, resize, value range, number format.
    """

    name: str
    digest: str | None
    kind: Literal["nano", "official", "none"]
    protocol: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """One number for one clip, or None with a one-word reason: missing is not zero.

    `details` holds JSON values; `series` holds name -> (times in seconds, values) for plots over time.
    """

    value: float | None
    reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    series: Series = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.value is None) != (self.reason is not None):
            raise ValueError(f"value {self.value!r} with reason {self.reason!r}: give a number, or None and a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a score of {self.value!r} is not a number; return Score.missing(reason) instead")

    @classmethod
    def missing(cls, reason: str, **details: Any) -> Score:
        """A clip that cannot be scored; reasons are short words such as too_short, no_audio, no_truth."""
        return cls(None, reason, details)


@dataclass(frozen=True)
class Clip:
    """What an extractor may know before the first picture. `sample` is the manifest's own entry."""

    width: int
    height: int
    fps: float
    has_audio: bool
    sample: Any


class FeatureStream(ABC):
    """The features of one clip, made as it is decoded; memory must not grow with pictures, only with features."""

    @abstractmethod
    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        """Take pictures uint8 [n, H, W, 3] of the extractor's grid, in order."""

    def audio(self, samples: np.ndarray) -> None:  # noqa: B027 - silent extractors need no override
        """Take sound float32 [n], 16 kHz, in order; independent of how far the pictures are."""

    @abstractmethod
    def finish(self) -> dict[str, np.ndarray]:
        """End of the clip: all arrays of this extractor."""


class Extractor(ABC):
    """A loaded network that can open one FeatureStream per clip."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    rate_hz: ClassVar[float]
    """Pictures per second that the streams want, chosen by time from the video."""

    @property
    @abstractmethod
    def backbone(self) -> Backbone:
        """The network in use."""

    @abstractmethod
    def open(self, clip: Clip) -> FeatureStream:
        """Start on a new clip."""


class Metric(ABC):
    """Arithmetic on stored features of one clip.

    direction: which way is better; "zero" means nearer to 0, "none" that neither is. `bounds` are limits that a value
    cannot leave.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int] = 1
    is_set: ClassVar[bool] = False
    """A set metric compares the videos of a method with reference videos; see `SetMetric`."""
    direction: ClassVar[Literal["up", "down", "zero", "none"]]
    unit: ClassVar[str] = ""
    bounds: ClassVar[Bounds] = (None, None)
    extractors: tuple[str, ...]
    decimals: ClassVar[int] = 2
    setup: MetricSetup | None = None
    """Which networks to use; None: the nano ones."""

    @property
    def backbone(self) -> Backbone:
        """The network that made the features; read from manifests, nothing is loaded."""
        from evalkit.metric_setup import NANO
        from evalkit.metrics.backbones import backbone_of

        return backbone_of(self.extractors[0], self.setup or NANO)

    @abstractmethod
    def score(self, features: Mapping[str, Features], sample: Any) -> Score:
        """The number from `features[extractor][array]`; `sample` gives access to truth where it exists."""


class SetMetric(ABC):
    """A distance between two sets of videos, from stored features: one number for all videos of a method together."""

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int] = 1
    is_set: ClassVar[bool] = True
    direction: ClassVar[Literal["up", "down", "zero"]] = "down"
    unit: ClassVar[str] = ""
    bounds: ClassVar[Bounds] = (None, None)
    extractors: tuple[str, ...]
    decimals: ClassVar[int] = 2
    setup: MetricSetup | None = None

    @property
    def backbone(self) -> Backbone:
        """The network that made the features."""
        from evalkit.metric_setup import NANO
        from evalkit.metrics.backbones import backbone_of

        return backbone_of(self.extractors[0], self.setup or NANO)

    @abstractmethod
    def score(self, made: Mapping[str, Mapping[str, Features]], real: Mapping[str, Mapping[str, Features]]) -> Score:
        """The distance of the made videos from the real ones; both map video names to features by extractor.

        `details` holds counts, floor, bias and interval (`low`, `high`). Videos of one name are cut to equal length.
        """
