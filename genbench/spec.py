"""What the samples of a test set are, before anything is rendered or spoken: typed specifications from a seeded design.

The quick suites of `short` and `long` keep the draw of the first design, because shipped figures were measured on them;
every other set follows the stratified design of `genbench.design`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from genbench.atomic import canonical_json
from genbench.composition import UNSTATED, check_style, composition_of
from genbench.speech import VOICES, Voice

if TYPE_CHECKING:
    from genbench.world import Character

NANO, GENERATED, FILES = "nano", "generated", "files"
"""Kinds of pictures: drawn by the nano world, made by an image generator, a user's own."""
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_FIRST_DESIGN = (("short", "quick"), ("long", "quick"))


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
    ("in_domain", "quick"): SetSize(8, (5.0, 6.0), "smoke runs of the in-domain table (FID, FVD)"),
    ("in_domain", "full"): SetSize(50, (5.3, 9.6), "the in-domain table: clips like the training's, with truth"),
}


@dataclass(frozen=True)
class SampleSpec:
    """One sample to be made; `text` may be more than is spoken, `duration_s` is the target, `seed` that of the picture
    (generators) or the motion (nano world).

    prompt: what a talking-video method is told; picture_prompt: what an image generator is asked for.
    clip: (seed, index, frames) of a training-like clip of the nano world, which decides everything else.
    source: name of the user's own picture or recording behind the sample. attempt: 0, then 1.. where a check failed.
    """

    id: str
    style: str
    composition: str
    character: Character | None
    text: str
    voice: Voice
    duration_s: float
    seed: int
    gender: str = UNSTATED
    age: str = UNSTATED
    look: str = UNSTATED
    scene: str = UNSTATED
    language: str = "en"
    emotion: str = "neutral"
    prompt: str = ""
    picture_prompt: str = ""
    clip: tuple[int, int, int] | None = None
    source: str = ""
    attempt: int = 0

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"sample id {self.id!r} is not allowed: it names a folder, so "
                             "'_' and '-', beginning with a letter or digit")
        check_style(self.style)
        composition_of(self.composition)
        if self.duration_s <= 0:
            raise ValueError(f"sample {self.id}: duration_s={self.duration_s}; give a duration above 0")

    @property
    def framing(self) -> str:
        """How much of the body is shown."""
        return composition_of(self.composition).framing

    @property
    def view(self) -> str:
        """Frontal or profile."""
        return composition_of(self.composition).view

    def fingerprint(self) -> str:
        """Hex digest of everything that the sample is made from."""
        return hashlib.sha256(canonical_json(self.to_record())).hexdigest()

    def to_record(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        record = {name: value for name, value in vars(self).items() if name not in ("character", "voice", "clip")}
        character = self.character.to_json() if self.character else None
        clip = list(self.clip) if self.clip else None
        return record | {"character": character, "voice": asdict(self.voice), "clip": clip}

    def first_form(self) -> dict[str, Any]:
        """The fields that manifests of schema 1 took a sample's fingerprint from."""
        names = ("id", "style", "composition", "character", "text", "voice", "duration_s", "seed")
        record = self.to_record()
        return {name: record[name] for name in names}


@dataclass(frozen=True)
class SetSpec:
    """A whole set to be made. Raises ValueError where two samples share an id."""

    set_name: str
    suite: str
    seed: int
    samples: tuple[SampleSpec, ...]
    kind: str = NANO
    size: SetSize | None = None
    languages: tuple[str, ...] = ("en",)

    def __post_init__(self) -> None:
        twice = [name for name, count in Counter(sample.id for sample in self.samples).items() if count > 1]
        if twice:
            raise ValueError(f"the id {twice[0]!r} is given to {sum(s.id == twice[0] for s in self.samples)} samples; "
                             "every sample needs an id of its own")
        if not self.samples:
            raise ValueError(f"the set {self.set_name!r} has no samples; give at least one")

    def fingerprint(self) -> str:
        """Hex digest of the specs of all samples."""
        return hashlib.sha256(canonical_json([sample.to_record() for sample in self.samples])).hexdigest()

    def first_fingerprint(self) -> str:
        """The digest that a manifest of schema 1 has for the same samples."""
        return hashlib.sha256(canonical_json([sample.first_form() for sample in self.samples])).hexdigest()

    def redrawn(self, index: int, attempt: int) -> SampleSpec | None:
        """The sample's place filled again with another seed; None where a user's own files cannot be drawn again."""
        if attempt == 0:
            return self.samples[index]
        if self.kind == FILES or self.size is None:
            return None
        from genbench.draw import draw_sample

        return draw_sample(self.set_name, self.suite, self.seed, index, self.size, self.kind, attempt, self.languages)


def draw_set(
    set_name: str,
    suite: str,
    seed: int = 0,
    size: SetSize | None = None,
    kind: str = NANO,
    languages: tuple[str, ...] = ("en",),
) -> SetSpec:
    """The specs of a named set; `size` overrides the number of samples and their durations (as tests do).

    kind: "nano", or "generated" for image generators, which can show more views and need words for everything.
    languages: of the scripts of generated sets, in turn; templates and espeak-ng are set up for "en" only.
    """
    from genbench.draw import draw_sample

    if size is None:
        if (set_name, suite) not in SETS:
            known = ", ".join(f"{name} {kind}" for name, kind in SETS)
            raise ValueError(f"there is no set {set_name!r} with a suite {suite!r}; choose one of: {known}")
        size = SETS[set_name, suite]
    if kind != NANO and set_name == "in_domain":
        raise ValueError("an in-domain set of real videos is imported: python -m genbench import --videos DIR")
    samples = tuple(
        draw_sample(set_name, suite, seed, index, size, kind, languages=languages) for index in range(size.samples)
    )
    return SetSpec(set_name, suite, seed, samples, kind, size, languages)


def follows_first_design(set_name: str, suite: str, kind: str) -> bool:
    """Whether a set keeps the draw that shipped figures were measured on."""
    return kind == NANO and (set_name, suite) in _FIRST_DESIGN


def voices_of(gender: str) -> Sequence[Voice]:
    """The voices that fit a gender: espeak-ng's variants f1.. sound like women, all others like men."""
    women = tuple(voice for voice in VOICES if voice.variant.startswith("f"))
    return women if gender == "woman" else tuple(voice for voice in VOICES if voice not in women)
