"""Pictures of the nano world: drawn by a program, with the face box and every motion known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from genbench import __version__
from genbench.composition import NANO_COMPOSITIONS
from genbench.picture import png_bytes
from genbench.providers.base import Box, ImageProvider, Picture
from genbench.spec import NANO, SampleSpec

if TYPE_CHECKING:
    from genbench.world import Character, Truth

HEIGHT, WIDTH = 512, 384
_FACE_BOX_DIGITS = 5


class NanoWorld(ImageProvider):
    """The character of the spec, looking ahead with its mouth at rest."""

    name = "nano_world"
    purpose = "procedurally drawn characters whose every motion is known"
    kind = NANO
    compositions = NANO_COMPOSITIONS
    in_processes = True

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "genbench": __version__}

    def licence(self) -> str:
        return "CC0-1.0"

    def draw(self, spec: SampleSpec) -> Picture:
        if spec.character is None:
            raise ValueError(f"sample {spec.id} has no nano-world character; draw the set with kind='nano'")
        return draw_character(spec.character, neutral_frame())


def draw_character(character: Character, frame: Truth) -> Picture:
    """One frame [1, 1] of a character at the size of reference pictures, with its face box."""
    from genbench.world import face_box, render

    pixels = render([character], frame, height=HEIGHT, width=WIDTH)[0, 0]
    box = tuple(round(value, _FACE_BOX_DIGITS) for value in face_box([character], frame)[0, 0].tolist())
    return Picture(png_bytes(pixels.numpy()), cast(Box, box))


def neutral_frame() -> Truth:
    """One frame [1, 1] that looks ahead with the mouth at rest: the pose of reference pictures."""
    from genbench.timeline import FPS
    from genbench.world import Truth, mouth_from_phonemes, with_mouth

    return Truth.stack([with_mouth(Truth.still(1), *mouth_from_phonemes([], 1, FPS))])
