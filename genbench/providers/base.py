"""The three small interfaces of generators, and what they hand over: words, a picture, speech."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from genbench.composition import COMPOSITIONS
from genbench.spec import GENERATED, SampleSpec
from genbench.speech import Speech

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 relative to the picture."""


@dataclass(frozen=True)
class Usage:
    """What was asked of a paid service; `estimated` before, counted after. Prices are the user's, per million tokens."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True)
class Picture:
    """A reference picture as PNG bytes. face_box: where it is known from the making. raw: answers to keep, by file name."""

    png: bytes
    face_box: Box | None = None
    raw: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Utterance:
    """Spoken text: mono samples at 16 kHz of whole blocks; phonemes only where the synthesiser knows them."""

    speech: Speech
    transcript: str
    raw: dict[str, bytes] = field(default_factory=dict)


class Provider(ABC):
    """What every generator can say of itself. `settings` must be plain values: workers make their own from them."""

    name: ClassVar[str]
    purpose: ClassVar[str]
    needs: ClassVar[str] = "nothing"
    in_processes: ClassVar[bool] = False
    """Whether several processes may each run one; generators that hold a large model or a connection may not."""
    is_personal: ClassVar[bool] = False
    """Whether its material may show or voice real people, so that a licence and a consent note must be given."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Name, versions and options, as they stand in the manifest; nothing secret, nothing of this machine."""

    def licence(self) -> str:
        """The licence of what it makes, as far as it is known."""
        return "not stated by the generator: see its terms"

    def close(self) -> None:  # noqa: B027  (most have nothing to let go of)
        """Let go of models and processes."""


class TextProvider(Provider):
    """Writes scene, prompt and script of a sample. A paid one is asked in a process of its own (genbench.asking)."""

    is_paid: ClassVar[bool] = False

    def request(self, spec: SampleSpec) -> dict[str, Any] | None:
        """What is asked for a sample, as JSON values; None where nothing needs to be asked."""
        return None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The raw answer. Raises SampleRefusedError, or ProviderError where going on makes no sense."""
        raise NotImplementedError(f"{self.name} answers no requests")

    def apply(self, spec: SampleSpec, answer: dict[str, Any] | None) -> SampleSpec:
        """The spec with the answer's words in it. Raises SampleRefusedError for an answer that cannot be used."""
        return spec

    def estimate(self, request: dict[str, Any]) -> Usage:
        """What a request will cost, roughly."""
        return Usage()

    def usage(self, answer: dict[str, Any]) -> Usage:
        """What an answer did cost."""
        return Usage()


class ImageProvider(Provider):
    """Makes the reference picture of a sample."""

    kind: ClassVar[str] = GENERATED
    compositions: ClassVar[tuple[str, ...]] = tuple(COMPOSITIONS)

    @abstractmethod
    def draw(self, spec: SampleSpec) -> Picture:
        """The picture; the same spec gives the same picture wherever the generator allows it."""


class SpeechProvider(Provider):
    """Speaks the script of a sample."""

    @abstractmethod
    def speak(self, spec: SampleSpec) -> Utterance:
        """The speech, near `spec.duration_s`, padded to whole blocks of 0.48 s."""
