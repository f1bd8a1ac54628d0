"""How metrics get their networks: nano or official, from which folder, on which device, in which Python. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from evalkit.names import unknown

if TYPE_CHECKING:
    from evalkit.metrics.weights_folder import WeightsFolder

Kind = Literal["nano", "official", "auto"]
KINDS: tuple[Kind, ...] = ("nano", "official", "auto")


@dataclass(frozen=True)
class MetricSetup:
    """Which networks metrics use.

    backbones: nano, official (absent weights are then an error), or auto: official where present.
    weights: folder of official weights. device: of official networks; nano ones run on the CPU.
    interpreters: (extractor, python) pairs for extractors that need packages of their own.
    """

    backbones: Kind = "nano"
    weights: str = ""
    device: str = "cpu"
    interpreters: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.backbones not in KINDS:
            raise unknown("backbones", self.backbones, KINDS)
        object.__setattr__(self, "interpreters", tuple((name, python) for name, python in self.interpreters))

    @property
    def folder(self) -> WeightsFolder:
        """The folder of official weights."""
        from evalkit.metrics.weights_folder import WeightsFolder

        return WeightsFolder(self.weights)

    def interpreter(self, extractor: str) -> str:
        """The Python that runs an extractor; empty for this one."""
        return dict(self.interpreters).get(extractor, "")


NANO = MetricSetup()
