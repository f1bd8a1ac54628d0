"""What the samples of a test set are, before anything is rendered or spoken: a seeded, stratified draw.

Style and composition advance together, so that 12 samples in a row hold each of the 3 x 4 pairs once and any set has
both in balance.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from genbench.atomic import canonical_json
from genbench.grammar import speech_for
from genbench.seeds import BENCHMARK_NAMESPACE, derive_seed, python_random, torch_generator
from genbench.speech import VOICES, Voice

if TYPE_CHECKING:
    from genbench.world import Character

# Text planned beyond the target duration; the build speaks the run of sentences whose length is nearest to it.
_TEXT_MARGIN = 1.15
_TEXT_MARGIN_S = 20.0


@dataclass(frozen=True)
class SetSize:
    """How many samples, and the range that their target durations are drawn from."""

    samples: int
    duration_s: tuple[float, float]
    purpose: str = ""

    def __post_init__(self) -> None:
        low, high = self.duration_s
        if self.samples < 1 or not 0 < low <= high:
            raise ValueError(f"{self.samples} samples of {low} to {high} s; give at least 1 sample and 0 < low <= high")


SETS: dict[tuple[str, str], SetSize] = {
    ("short", "quick"): SetSize(8, (4.5, 5.5), "smoke runs of the quality tables"),
    ("short", "full"): SetSize(100, (8.5, 11.5), "the quality tables"),
    ("long", "quick"): SetSize(2, (59.0, 61.0), "smoke runs of the drift curves"),
    ("long", "full"): SetSize(15, (312.0, 418.0), "quality over more than 5 minutes"),
}


@dataclass(frozen=True)
class SampleSpec:
    """One sample to be made; `text` is more than is spoken, `duration_s` the target, `seed` that of the motion."""

    id: str
    style: str
    composition: str
    character: Character
    text: str
    voice: Voice
    duration_s: float
    seed: int

    def fingerprint(self) -> str:
        """Hex digest of everything that the sample is made from."""
        return hashlib.sha256(canonical_json(self.to_record())).hexdigest()

    def to_record(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        return {
            "id": self.id,
            "style": self.style,
            "composition": self.composition,
            "character": self.character.to_json(),
            "text": self.text,
            "voice": asdict(self.voice),
            "duration_s": self.duration_s,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class SetSpec:
    """A whole set to be made."""

    set_name: str
    suite: str
    seed: int
    samples: tuple[SampleSpec, ...]

    def fingerprint(self) -> str:
        """Hex digest of the specs of all samples."""
        return hashlib.sha256(canonical_json([sample.to_record() for sample in self.samples])).hexdigest()


def draw_set(set_name: str, suite: str, seed: int = 0, size: SetSize | None = None) -> SetSpec:
    """The specs of a named set; `size` overrides the number of samples and their durations (as tests do)."""
    if size is None:
        if (set_name, suite) not in SETS:
            known = ", ".join(f"{name} {kind}" for name, kind in SETS)
            raise ValueError(f"there is no set {set_name!r} with a suite {suite!r}; choose one of: {known}")
        size = SETS[set_name, suite]
    samples = tuple(_draw_sample(set_name, suite, seed, index, size) for index in range(size.samples))
    return SetSpec(set_name, suite, seed, samples)


def _draw_sample(set_name: str, suite: str, seed: int, index: int, size: SetSize) -> SampleSpec:
    from genbench.world import sample_character

    style, composition = _cell(set_name, suite, seed, index)
    name = (BENCHMARK_NAMESPACE, set_name, suite, seed, index)
    source = python_random(*name, "speech")
    low, high = size.duration_s
    duration_s = round(low + source.random() * (high - low), 3)
    return SampleSpec(
        id=f"{set_name}-{index:03d}",
        style=style,
        composition=composition,
        character=sample_character(torch_generator(*name, "character"), style, composition),
        text=speech_for(source, duration_s * _TEXT_MARGIN + _TEXT_MARGIN_S),
        voice=_voice(set_name, suite, seed, index),
        duration_s=duration_s,
        seed=derive_seed(*name, "motion"),
    )


def _cell(set_name: str, suite: str, seed: int, index: int) -> tuple[str, str]:
    """(style, composition): 3 and 4 have no common factor, so 12 steps meet every pair."""
    from genbench.world import COMPOSITIONS, STYLES

    first = derive_seed(BENCHMARK_NAMESPACE, set_name, suite, seed, "first cell")
    return STYLES[(first + index) % len(STYLES)], COMPOSITIONS[(first + index) % len(COMPOSITIONS)]


def _voice(set_name: str, suite: str, seed: int, index: int) -> Voice:
    """All voices in a random order, over and over."""
    turn, place = divmod(index, len(VOICES))
    source = python_random(BENCHMARK_NAMESPACE, set_name, suite, seed, "voices", turn)
    return sorted(VOICES, key=lambda _: source.random())[place]
