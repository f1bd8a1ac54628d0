"""Relative paths that come from files of others: used only where they stay inside their folder."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath


def inside(folder: Path, relative: str) -> Path:
    """`folder / relative`. Raises ValueError for absolute paths, drive letters, "..", and links that lead outside."""
    pure = PurePosixPath(relative)
    climbs = (
        not relative or pure.is_absolute() or ".." in pure.parts or "\\" in relative or ":" in relative or "\0" in relative
    )
    if climbs:
        raise ValueError(f"the path {relative!r} leaves its folder or names none; use a plain path below {folder}")
    path = folder / pure
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the path {relative!r} leads out of {folder} through a link; copy the file into the folder")
    return path


def sample_id(text: str) -> str:
    """A sample id made of any text: lower case, other characters than a-z 0-9 _ - replaced, at most 80 long."""
    made = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:80]
    if not made:
        raise ValueError(f"the name {text!r} holds no letter or digit for an id; rename the file or give an id")
    return made
