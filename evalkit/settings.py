"""evalkit.toml: where other systems lie on this machine, and methods that are a command or a folder of files.

    [systems.ditto]
    checkout = "/data/ditto-talkinghead"
    weights = "/data/weights/ditto"
    python = "/data/envs/ditto/bin/python"
    entry = "pytorch"

    [commands.mine]
    command = "python run.py --image {image} --audio {audio} --out {out_file}"
    folder = "/data/mine"

    [videos.theirs]
    folder = "/data/their-demo"

Single values are set on the command line too: --set systems.ditto.gpus=2. Paths in the file are relative to it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, PrerequisiteMissingError
from evalkit.names import unknown

FILE = "evalkit.toml"
SECTIONS = ("systems", "commands", "videos", "paradigms")

Table = dict[str, Any]


class Settings:
    """The file's tables with what was set besides; empty where there is no file."""

    def __init__(self, tables: Mapping[str, Mapping[str, Table]], home: Path) -> None:
        """home: what relative paths in the file start from."""
        self.tables, self.home = tables, home

    def names(self, section: str) -> list[str]:
        """What a section holds."""
        return list(self.tables.get(section, {}))

    def of(self, section: str, name: str, allowed: Sequence[str]) -> Table | None:
        """One table, None if there is none; raises UnknownNameError for a key that is not among `allowed`."""
        table = self.tables.get(section, {}).get(name)
        if table is None:
            return None
        for key in table:
            if key not in allowed:
                raise unknown(f"key in [{section}.{name}] of {FILE}", key, allowed)
        return table

    def path(self, text: str) -> Path:
        """A path of the file, absolute."""
        return (self.home / Path(text).expanduser()).resolve()


def read_settings(file: str = "", assigned: Sequence[str] = ()) -> Settings:
    """The settings of a file (none: no tables) and of assignments `section.name.key=value`.

    Raises PrerequisiteMissingError for a file that is missing or no TOML, EvalkitError for an assignment that is none.
    """
    tables: dict[str, dict[str, Table]] = {}
    home = Path.cwd()
    if file:
        path = Path(file)
        home = path.resolve().parent
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PrerequisiteMissingError(f"settings {path} cannot be read: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise PrerequisiteMissingError(f"settings {path} is no TOML: {error}") from error
    for section, table in tables.items():
        if section not in SECTIONS:
            raise unknown(f"section in {file}", section, SECTIONS)
        if not isinstance(table, dict) or not all(isinstance(one, dict) for one in table.values()):
            raise EvalkitError(f"{file}: write [{section}.NAME] with a name of your choice")
    for one in assigned:
        _assign(tables, one)
    return Settings(tables, home)


def _assign(tables: dict[str, dict[str, Table]], text: str) -> None:
    place, sign, value = text.partition("=")
    parts = place.split(".")
    if not sign or len(parts) < 3 or parts[0] not in SECTIONS:
        raise EvalkitError(f"--set {text}: write SECTION.NAME.KEY=VALUE, such as --set systems.ditto.gpus=2")
    table = tables.setdefault(parts[0], {}).setdefault(parts[1], {})
    for part in parts[2:-1]:
        table = table.setdefault(part, {})
    table[parts[-1]] = _value(value)


def _value(text: str) -> Any:
    """Numbers and true or false as such, everything else as text."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, bool | int | float) else text
