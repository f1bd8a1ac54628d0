"""Who a nano-world character is: style, framing and an identity vector, and the words that describe them.

Everything visible follows from these three; colours and proportions are worked out in `look.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

STYLES = ("photo", "cartoon", "animal")
COMPOSITIONS = ("frontal", "profile", "half_body", "full_body")

IDENTITY_FIELDS = (
    "person", "skin", "hair_colour", "hair_style", "hair_volume", "face_width", "jaw", "eye_size",
    "eye_spacing", "eye_colour", "nose", "mouth_width", "lips", "brow", "glasses", "hat",
    "beard", "freckles", "blush", "clothes_colour", "clothes_style", "clothes_pattern", "background_colour",
    "background_kind", "background_layout", "species", "fur", "fur_pattern", "light", "facing", "ears", "shade",
)  # fmt: skip
IDENTITY_DIM = len(IDENTITY_FIELDS)

PERSONS = ("woman", "man")
HAIR_COLOURS = ("black", "brown", "chestnut", "red", "blond", "silver")
CARTOON_HAIR_COLOURS = ("black", "brown", "red", "blond", "blue", "pink", "teal", "purple")
HAIR_STYLES = {
    "woman": ("long", "bob", "curly", "bun", "ponytail", "short"),
    "man": ("short", "swept", "curly", "spiky", "buzzed", "short"),
}
SPECIES = ("cat", "bear", "rabbit", "fox", "panda", "dog")
FURS = {
    "cat": ("ginger", "grey", "cream", "black"),
    "bear": ("brown", "honey", "white"),
    "rabbit": ("white", "grey", "cream"),
    "fox": ("ginger", "silver"),
    "panda": ("white",),
    "dog": ("golden", "brown", "white", "grey"),
}
CLOTHES_COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white", "navy")
CLOTHES = ("shirt", "sweater", "jacket", "scarf")
CLOTHES_PATTERNS = ("plain", "striped", "dotted")
BACKGROUND_COLOURS = ("peach", "mint", "sky", "lavender", "sand", "rose", "sea", "dusk")
BACKGROUND_KINDS = ("gradient", "sun", "bokeh", "stripes", "room")
HATS = ("none", "beanie", "bow", "flower")

_STYLE_WORDS = {"photo": "photo", "cartoon": "cartoon", "animal": "animal"}
_FRAMING_WORDS = {
    "frontal": "frontal portrait", "profile": "profile portrait",
    "half_body": "half body picture", "full_body": "full body picture",
}  # fmt: skip
_GLUE = (
    "a of with and wearing in front background talking to the camera , . hair fur eyes glasses beard moustache freckles"
)


@dataclass(frozen=True)
class Character:
    """One speaking character; `identity` holds IDENTITY_DIM values in 0..1, named by IDENTITY_FIELDS."""

    style: str
    composition: str
    identity: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style {self.style!r} is unknown; choose one of {STYLES}")
        if self.composition not in COMPOSITIONS:
            raise ValueError(f"composition {self.composition!r} is unknown; choose one of {COMPOSITIONS}")
        if len(self.identity) != IDENTITY_DIM or not all(0 <= value <= 1 for value in self.identity):
            raise ValueError(f"identity needs {IDENTITY_DIM} values in 0..1, got {len(self.identity)}: {self.identity}")

    def value(self, field: str) -> float:
        """The 0..1 identity value of one IDENTITY_FIELDS name."""
        return self.identity[IDENTITY_FIELDS.index(field)]

    def choice(self, field: str, options: tuple[str, ...]) -> str:
        """The option that one identity value selects, all equally likely."""
        return options[min(int(self.value(field) * len(options)), len(options) - 1)]

    def attributes(self) -> dict[str, str]:
        """Every nameable attribute in words of PROMPT_VOCABULARY; the drawing follows the same words."""
        words = {"style": self.style, "framing": _FRAMING_WORDS[self.composition]}
        words |= self._animal_words() if self.style == "animal" else self._human_words()
        words["clothes_colour"] = self.choice("clothes_colour", CLOTHES_COLOURS)
        words["clothes_pattern"] = self.choice("clothes_pattern", CLOTHES_PATTERNS)
        words["clothes"] = self.choice("clothes_style", CLOTHES)
        words["background_colour"] = self.choice("background_colour", BACKGROUND_COLOURS)
        words["background"] = self.choice("background_kind", BACKGROUND_KINDS)
        return words

    def prompt(self) -> str:
        """One sentence of PROMPT_VOCABULARY words that describes the picture."""
        words = self.attributes()
        who = words["species"] if self.style == "animal" else words["person"]
        coat = f"{words['fur']} fur" if self.style == "animal" else f"{words['hair']} {words['hair_colour']} hair"
        extras = [words[key] for key in ("facial_hair", "freckles", "glasses") if words.get(key, "none") != "none"]
        worn = [] if words["hat"] == "none" else [f"a {words['hat']}"]
        # A scarf has its own colour; the named one is the sweater's.
        garment = "sweater and a scarf" if words["clothes"] == "scarf" else words["clothes"]
        worn.append(f"a {words['clothes_pattern']} {words['clothes_colour']} {garment}")
        return (
            f"a {_STYLE_WORDS[self.style]} {words['framing']} of a {who} with {' and '.join([coat, *extras])} , "
            f"wearing {' and '.join(worn)} , in front of a {words['background_colour']} {words['background']} "
            "background , talking to the camera ."
        )

    def to_json(self) -> str:
        """A one-line JSON object; `from_json` restores an equal character."""
        return json.dumps({"style": self.style, "composition": self.composition, "identity": list(self.identity)})

    @classmethod
    def from_json(cls, text: str) -> Character:
        """Inverse of `to_json`."""
        record = json.loads(text)
        return cls(record["style"], record["composition"], tuple(record["identity"]))

    def _human_words(self) -> dict[str, str]:
        person = self.choice("person", PERSONS)
        colours = CARTOON_HAIR_COLOURS if self.style == "cartoon" else HAIR_COLOURS
        beard = self.choice("beard", ("none", "none", "none", "beard", "moustache")) if person == "man" else "none"
        hats = HATS if person == "woman" else ("none", "none", "beanie", "none")
        return {
            "person": person,
            "hair": self.choice("hair_style", HAIR_STYLES[person]),
            "hair_colour": self.choice("hair_colour", colours),
            "hat": self.choice("hat", ("none", "none", *hats)),
            "glasses": "glasses" if self.value("glasses") > 0.75 else "none",
            "facial_hair": beard,
            "freckles": "freckles" if self.value("freckles") > 0.75 else "none",
        }

    def _animal_words(self) -> dict[str, str]:
        species = self.choice("species", SPECIES)
        return {
            "species": species,
            "fur": self.choice("fur", FURS[species]),
            "hat": self.choice("hat", ("none", "none", "bow", "flower")),
            "glasses": "glasses" if self.value("glasses") > 0.85 else "none",
        }


def sample_character(generator: torch.Generator, style: str | None = None, composition: str | None = None) -> Character:
    """A random character; fixing style or composition leaves the identity drawn the same."""
    draws = torch.rand(IDENTITY_DIM + 2, generator=generator, dtype=torch.float64).tolist()
    style = style or STYLES[int(draws[0] * len(STYLES))]
    composition = composition or COMPOSITIONS[int(draws[1] * len(COMPOSITIONS))]
    # Six digits survive JSON exactly and keep records short.
    return Character(style, composition, tuple(round(value, 6) for value in draws[2:]))


def _vocabulary() -> tuple[str, ...]:
    groups = [
        _GLUE.split(), _STYLE_WORDS.values(), " ".join(_FRAMING_WORDS.values()).split(), PERSONS, HAIR_COLOURS,
        CARTOON_HAIR_COLOURS, *HAIR_STYLES.values(), SPECIES, *FURS.values(), CLOTHES_COLOURS, CLOTHES,
        CLOTHES_PATTERNS, BACKGROUND_COLOURS, BACKGROUND_KINDS, HATS,
    ]  # fmt: skip
    return tuple(sorted({word for group in groups for word in group}))


PROMPT_VOCABULARY: tuple[str, ...] = _vocabulary()
