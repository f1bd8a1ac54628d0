"""The nano world: procedurally drawn speaking characters with exact ground truth of every motion.

`character` says who, `motion` and `visemes` say what moves when, `render` makes frames from both.
"""

from genbench.world.character import (
    COMPOSITIONS,
    IDENTITY_DIM,
    IDENTITY_FIELDS,
    PROMPT_VOCABULARY,
    STYLES,
    Character,
    sample_character,
)
from genbench.world.motion import Truth, sample_motion, with_mouth
from genbench.world.render import face_box, mouth_box, render
from genbench.world.visemes import mouth_from_phonemes

__all__ = [
    "COMPOSITIONS",
    "IDENTITY_DIM",
    "IDENTITY_FIELDS",
    "PROMPT_VOCABULARY",
    "STYLES",
    "Character",
    "Truth",
    "face_box",
    "mouth_box",
    "mouth_from_phonemes",
    "render",
    "sample_character",
    "sample_motion",
    "with_mouth",
]
