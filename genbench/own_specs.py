"""Specifications of a set made from a user's own pictures, recordings or both; what is not given is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from genbench.own_table import OwnRow, read_rows
from genbench.paths import inside
from genbench.picture import read_pixels
from genbench.sound import read_recording
from genbench.spec import FILES, SETS, SampleSpec, SetSize, SetSpec, draw_set
from genbench.speech import SAMPLE_RATE_HZ

_PROMPT = "A person talking to the camera."


def own_set(
    set_name: str,
    suite: str,
    seed: int,
    pictures: Path | None,
    recordings: Path | None,
    kind: str,
    size: SetSize | None = None,
    limit: int | None = None,
) -> SetSpec:
    """A sample per picture, or per recording where pictures are not the user's. Raises ValueError naming every broken file.

    limit: only the first so many. kind: of the pictures that are drawn where none are given ("nano" or "generated").
    """
    rows = read_rows(pictures or recordings or Path())[:limit]
    if pictures and recordings and recordings != pictures:
        rows = _joined(rows, recordings)
    lengths_s = _check_files(rows, pictures, recordings)
    low, high = (size or SETS[set_name, suite]).duration_s
    drawn = draw_set(set_name, suite, seed, SetSize(len(rows), (low, high)), kind)
    samples = tuple(
        _own_sample(spec, row, lengths_s.get(row.id, row.duration_s), is_picture_own=pictures is not None)
        for spec, row in zip(drawn.samples, rows, strict=True)
    )
    return SetSpec(set_name, suite, seed, samples, FILES)


def _joined(rows: list[OwnRow], recordings: Path) -> list[OwnRow]:
    """Pictures and recordings of two folders, matched by id."""
    spoken = {row.id: row for row in read_rows(recordings)}
    missing = [row.id for row in rows if row.id not in spoken]
    if missing:
        raise ValueError(
            f"{recordings} has no recording for {', '.join(missing[:5])}; recordings are matched by id or file name"
        )
    return [
        replace(row, recording=spoken[row.id].recording, transcript=row.transcript or spoken[row.id].transcript)
        for row in rows
    ]


def _check_files(rows: list[OwnRow], pictures: Path | None, recordings: Path | None) -> dict[str, float]:
    """Seconds of every recording, by id; all files are opened before anything is made."""
    faults, lengths_s = [], {}
    for row in rows:
        try:
            if pictures:
                read_pixels(inside(pictures, row.picture))
            if recordings:
                if not row.recording:
                    raise ValueError(f"{row.id} has a picture but no recording of the same name")
                lengths_s[row.id] = len(read_recording(inside(recordings, row.recording))[0]) / SAMPLE_RATE_HZ
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("these files cannot be used:\n  " + "\n  ".join(faults))
    return lengths_s


def _own_sample(spec: SampleSpec, row: OwnRow, duration_s: float, is_picture_own: bool) -> SampleSpec:
    spec = replace(spec, id=row.id, source=row.recording, language=row.language, emotion=row.emotion)
    if row.recording or row.transcript:
        spec = replace(spec, text=row.transcript)
    if duration_s:
        spec = replace(spec, duration_s=duration_s)
    if not is_picture_own:
        return spec
    return replace(
        spec,
        style=row.style,
        composition=row.composition,
        character=None,
        gender=row.gender,
        age=row.age,
        look=row.look,
        scene=row.scene,
        prompt=row.prompt or _PROMPT,
        picture_prompt="",
    )
