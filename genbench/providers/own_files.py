"""A user's own pictures and recordings as generators: read, checked, converted to the sets' own forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genbench.own_table import OwnRow, read_rows
from genbench.paths import inside
from genbench.picture import png_bytes, read_pixels
from genbench.providers.base import ImageProvider, Picture, SpeechProvider, Utterance
from genbench.sound import read_recording, whole_blocks
from genbench.spec import FILES, SampleSpec
from genbench.speech import Speech


class OwnPictures(ImageProvider):
    """The picture that the spec's row names. folder: holds them, and samples.csv where there is one."""

    name = "files"
    purpose = "your own pictures (options: folder)"
    kind = FILES
    in_processes = True
    is_personal = True

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._rows: dict[str, OwnRow] = {}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def licence(self) -> str:
        return "the giver's: see the set's licence"

    def draw(self, spec: SampleSpec) -> Picture:
        self._rows = self._rows or {row.id: row for row in read_rows(self.folder)}
        row = self._rows[spec.id]
        # Written anew: what a camera noted about place and person does not travel.
        return Picture(png_bytes(read_pixels(inside(self.folder, row.picture))), row.face_box)


class OwnRecordings(SpeechProvider):
    """The recording that the spec's row names, at 16 kHz. folder: holds them, and samples.csv where there is one."""

    name = "files"
    purpose = "your own recordings, 16 kHz or more (options: folder)"
    in_processes = True
    is_personal = True

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def licence(self) -> str:
        return "the giver's: see the set's licence"

    def speak(self, spec: SampleSpec) -> Utterance:
        samples, _ = read_recording(inside(self.folder, spec.source))
        return Utterance(Speech(whole_blocks(samples), []), spec.text)
