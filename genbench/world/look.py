"""Colours and proportions of a character, derived from its identity; nothing here depends on time."""

from __future__ import annotations

from dataclasses import dataclass

from genbench.world.character import Character

Colour = tuple[float, float, float]

SKIN_TONES = ("f9dcc8", "f1c5a4", "e0a680", "c58558", "99603d", "6f4530")
COLOURS = {
    # hair
    "black": "2b2530", "brown": "5b3a29", "chestnut": "8a4b2d", "red": "b5482a", "blond": "e0b565",
    "silver": "b9b6bd", "blue": "4a78c8", "pink": "ef8fb0", "teal": "2f9c95", "purple": "7d58b5",
    # fur
    "ginger": "e58f45", "grey": "8f939e", "cream": "efd9b4", "honey": "d79f55", "white": "f4f0ea", "golden": "dca75a",
}  # fmt: skip
CLOTHES_TONES = {
    "red": "c8433f", "orange": "e5853d", "yellow": "edbf45", "green": "4f9a5b", "teal": "2e8f8f", "blue": "3f72bf",
    "purple": "7b56a8", "pink": "e587a5", "white": "efece6", "navy": "2d3b5e",
}  # fmt: skip
BACKGROUND_TONES = {
    # name: (upper or main tone, lower or second tone, accent)
    "peach": ("ffd3b5", "f2a07f", "fff0dc"), "mint": ("c6ecd9", "84c7ae", "f3fff4"),
    "sky": ("c3e2f8", "7fb2e0", "ffffff"), "lavender": ("dccff3", "a390d0", "f8efff"),
    "sand": ("f2e3c4", "d3b385", "fffaf0"), "rose": ("f8cfd6", "d88fa2", "fff2f0"),
    "sea": ("7cb8c4", "33708a", "d6f2ef"), "dusk": ("5c5a93", "e08a7e", "ffd9a8"),
}  # fmt: skip
EYE_TONES = ("5a3a24", "7a5230", "4f7a4c", "3f7fb0", "5e7f91", "8a5a9c")
LIP_TONES = ("c0605c", "b64a56", "cf6f73", "a84a44")


@dataclass(frozen=True)
class Look:
    """Resolved appearance: colours in 0..1 RGB, proportions in head half-heights."""

    words: dict[str, str]
    is_soft: bool
    skin: Colour
    hair: Colour
    belly: Colour
    clothes: Colour
    accent: Colour
    trousers: Colour
    eye: Colour
    lips: Colour
    background: tuple[Colour, Colour, Colour]
    head_radius: float
    jaw_radius: float
    eye_radius: float
    eye_spacing: float
    mouth_half: float
    nose: float
    brow: float
    volume: float
    blush: float
    light: float
    facing: float

    @property
    def is_animal(self) -> bool:
        """Whether a muzzle, fur and animal ears replace the human face."""
        return "species" in self.words


def look_of(character: Character) -> Look:
    """The appearance that the identity encodes."""
    words, value = character.attributes(), character.value
    is_animal, is_cartoon = character.style == "animal", character.style == "cartoon"
    skin = _along(SKIN_TONES, value("skin") * 0.999)
    hair = hex_colour(COLOURS[words.get("hair_colour", "brown")])
    belly = skin
    if is_animal:
        skin, belly = _fur_colours(words)
        hair = skin
    clothes = hex_colour(CLOTHES_TONES[words["clothes_colour"]])
    lips = mix(
        _along(LIP_TONES, value("lips") * 0.999), scaled(skin, 0.72), 0.25 if words.get("person") == "woman" else 0.6
    )
    if is_animal:
        lips = mix((0.25, 0.14, 0.13), scaled(skin, 0.4), 0.4)
    upper, lower, accent = (hex_colour(tone) for tone in BACKGROUND_TONES[words["background_colour"]])
    widths = {"photo": 0.755, "cartoon": 0.86, "animal": 0.89}[character.style]
    return Look(
        words=words,
        is_soft=not is_cartoon,
        skin=skin,
        hair=mix(hair, (1.0, 0.9, 0.8), 0.10 * value("shade")),
        belly=belly,
        clothes=clothes,
        accent=(0.95, 0.93, 0.89) if sum(clothes) < 2.2 else (0.36, 0.45, 0.60),
        trousers=_along(("33405e", "5a5148", "3c3a44", "4a6078"), value("shade") * 0.999),
        eye=_along(EYE_TONES, value("eye_colour") * 0.999),
        lips=lips,
        background=(upper, lower, accent),
        head_radius=widths + 0.09 * (value("face_width") - 0.5),
        jaw_radius=(0.60 if not is_cartoon else 0.62)
        + 0.12 * (value("jaw") - 0.5)
        + (0.03 if words.get("person") == "man" else 0),
        eye_radius={"photo": 0.182, "cartoon": 0.225, "animal": 0.19}[character.style]
        * (0.9 + 0.22 * value("eye_size")),
        eye_spacing=(0.335 if not is_animal else 0.40)
        + 0.05 * (value("eye_spacing") - 0.5)
        + (0.02 if is_cartoon else 0),
        mouth_half=0.315 + 0.06 * (value("mouth_width") - 0.5),
        nose=0.8 + 0.4 * value("nose"),
        brow=value("brow"),
        volume=value("hair_volume"),
        blush=value("blush"),
        light=-1.0 if value("light") < 0.5 else 1.0,
        facing=-1.0 if value("facing") < 0.5 else 1.0,
    )


def hex_colour(text: str) -> Colour:
    """RGB in 0..1 of 'rrggbb'."""
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def mix(first: Colour, second: Colour, amount: float) -> Colour:
    """Linear blend: `first` at 0, `second` at 1."""
    red, green, blue = (a + (b - a) * amount for a, b in zip(first, second, strict=True))
    return red, green, blue


def scaled(colour: Colour, factor: float) -> Colour:
    """Brightness times `factor`, kept in range."""
    red, green, blue = (min(1.0, channel * factor) for channel in colour)
    return red, green, blue


def shadow(colour: Colour, amount: float = 0.5) -> Colour:
    """A darker version with the hue of a painted shadow; amount 0 keeps the colour."""
    # Warm colours (skin, fur) darken towards red, cool ones towards violet.
    tint = (0.60, 0.40, 0.37) if colour[0] > colour[2] + 0.08 else (0.50, 0.42, 0.52)
    red, green, blue = (channel * factor for channel, factor in zip(colour, tint, strict=True))
    return mix(colour, (red, green, blue), amount)


def tinted(colour: Colour, amount: float = 0.3) -> Colour:
    """A lighter version towards warm white."""
    return mix(colour, (1.0, 0.97, 0.90), amount)


def _along(tones: tuple[str, ...], position: float) -> Colour:
    """Piecewise-linear walk through curated tones, position 0..1."""
    scaled_position = position * (len(tones) - 1)
    index = int(scaled_position)
    return mix(hex_colour(tones[index]), hex_colour(tones[index + 1]), scaled_position - index)


def _fur_colours(words: dict[str, str]) -> tuple[Colour, Colour]:
    """(coat, muzzle and belly) of an animal."""
    coat = {"brown": "8f5f3f", "black": "4a4550", "silver": "9aa0ad"}.get(
        words["fur"], COLOURS.get(words["fur"], "8f5f3f")
    )
    is_pale = words["fur"] in ("white", "cream")
    belly = hex_colour("fff6ea") if not is_pale else hex_colour("fffaf4")
    return hex_colour(coat), mix(belly, hex_colour(coat), 0.10 if words["species"] != "bear" else 0.35)
