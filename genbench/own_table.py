"""A folder of a user's own pictures or recordings as rows: from its samples.csv, or one row per file.

Columns of samples.csv, all optional but one of the first two: picture, recording, id, style, composition, gender, age, look,
scene, prompt, transcript, language, emotion, duration_s, face_box ("x0 y0 x1 y1", relative).
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from genbench.composition import UNSTATED, check_style, composition_of
from genbench.paths import inside, sample_id
from genbench.providers.base import Box

TABLE_NAME = "samples.csv"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
RECORDINGS = (".wav", ".flac", ".mp3", ".m4a", ".ogg")


@dataclass(frozen=True)
class OwnRow:
    """One sample that a user has material for; paths are relative to the folder."""

    id: str
    picture: str = ""
    recording: str = ""
    style: str = UNSTATED
    composition: str = UNSTATED
    gender: str = UNSTATED
    age: str = UNSTATED
    look: str = UNSTATED
    scene: str = UNSTATED
    prompt: str = ""
    transcript: str = ""
    language: str = "en"
    emotion: str = "neutral"
    duration_s: float = 0.0
    face_box: Box | None = None


def read_rows(folder: Path) -> list[OwnRow]:
    """The rows of a folder, in order. Raises ValueError naming every fault: unknown columns, missing files, ids used twice.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give the one that holds the pictures or recordings")
    table = folder / TABLE_NAME
    rows = _from_table(table) if table.is_file() else _from_files(folder)
    if not rows:
        raise ValueError(f"{folder} holds no {TABLE_NAME} and no files that end in {', '.join(PICTURES + RECORDINGS)}")
    faults = [
        f"the id {name!r} is used {count} times" for name, count in Counter(row.id for row in rows).items() if count > 1
    ]
    for row in rows:
        faults += _faults(folder, row)
    if faults:
        raise ValueError(f"{folder} cannot be used as it is:\n  " + "\n  ".join(faults))
    return rows


def parse_box(text: str) -> Box:
    """A box of four numbers "x0 y0 x1 y1", relative to the picture. Raises ValueError unless 0 <= x0 < x1 <= 1 and so for
    y.
    """
    try:
        box = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        box = ()
    if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise ValueError(
            f"face box {text!r}: give x0 y0 x1 y1 as shares of the picture, 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1"
        )
    return cast(Box, box)


def _from_table(table: Path) -> list[OwnRow]:
    known = {field.name for field in fields(OwnRow)}
    rows = []
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        unknown = set(reader.fieldnames or ()) - known
        if unknown:
            raise ValueError(f"{table} has the columns {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
        for number, line in enumerate(reader, start=2):
            try:
                rows.append(_row(line))
            except ValueError as error:
                raise ValueError(f"{table}, line {number}: {error}") from error
    return rows


def _row(line: dict[str, str]) -> OwnRow:
    given = {name: (value or "").strip() for name, value in line.items() if name is not None}
    if "transcript" in given and given.get("recording") and not given["transcript"]:
        raise ValueError("the transcript is empty: write what is said, or leave the whole column out")
    values: dict[str, object] = {name: value for name, value in given.items() if value}
    if "duration_s" in values:
        values["duration_s"] = float(given["duration_s"])
    if "face_box" in values:
        values["face_box"] = parse_box(given["face_box"])
    file = given.get("picture") or given.get("recording")
    if not file:
        raise ValueError("neither a picture nor a recording is named")
    values.setdefault("id", sample_id(Path(file).stem))
    return OwnRow(**values)  # type: ignore[arg-type]


def _from_files(folder: Path) -> list[OwnRow]:
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    recordings = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in RECORDINGS}
    if not pictures:
        return [OwnRow(sample_id(stem), "", path.name, transcript=_beside(path)) for stem, path in recordings.items()]
    rows = []
    for path in pictures:
        own = recordings.get(path.stem)
        rows.append(OwnRow(sample_id(path.stem), path.name, own.name if own else "", transcript=_beside(own) if own else ""))
    return rows


def _beside(recording: Path) -> str:
    """The text file of the same name, if any. Raises ValueError where it is empty."""
    file = recording.with_suffix(".txt")
    if not file.is_file():
        return ""
    text = file.read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"{file} is empty: write what is said in {recording.name}, or delete it")
    return text


def _faults(folder: Path, row: OwnRow) -> list[str]:
    faults = []
    for relative in filter(None, (row.picture, row.recording)):
        try:
            path = inside(folder, relative)
        except ValueError as error:
            faults.append(f"{row.id}: {error}")
            continue
        if not path.is_file():
            faults.append(f"{row.id}: {relative} does not exist")
    try:
        check_style(row.style)
        composition_of(row.composition)
    except ValueError as error:
        faults.append(f"{row.id}: {error}")
    return faults
