"""Where a published system lies on this machine, and what identifies the code and the weights found there."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from evalkit.environment import git_state
from evalkit.errors import EvalkitError
from evalkit.fingerprint import digest
from evalkit.generator import GeneratorSetup
from evalkit.methods.official.system import Place, System
from evalkit.names import unknown
from evalkit.settings import read_settings

HEAD_BYTES = 1 << 16
_PATHS = ("checkout", "weights")
_PLAIN = {one.name for one in fields(Place)} - {"own"}


def read_place(system: System, setup: GeneratorSetup) -> Place | None:
    """The system's table of evalkit.toml; None where there is none.

    Raises EvalkitError for a table without a checkout, an unknown key, entry or number of GPUs.
    """
    settings = read_settings(setup.settings, setup.assigned)
    table = settings.of("systems", system.name, sorted({*_PLAIN, *system.settings}))
    if table is None:
        return None
    where = f"[systems.{system.name}] of evalkit.toml"
    if not table.get("checkout"):
        raise EvalkitError(f'{where} names no checkout: add checkout = "..."')
    given: dict[str, Any] = {name: value for name, value in table.items() if name in _PLAIN}
    for name in _PATHS:
        given[name] = settings.path(str(given.get(name) or given["checkout"]))
    given["python"] = _interpreter(str(given.get("python", "python")), settings.path)
    place = Place(**given, own={name: str(table[name]) for name in system.settings if name in table})
    if place.entry and place.entry not in system.entries:
        raise unknown(f"entry in {where}", place.entry, system.entries)
    if not system.needs.least_gpus <= place.gpus <= system.needs.most_gpus:
        raise EvalkitError(
            f"{where}: gpus = {place.gpus}; {system.title} takes {system.needs.least_gpus} to {system.needs.most_gpus}"
        )
    return place


def _interpreter(text: str, path: Any) -> str:
    """A path as an absolute one, a bare name as it is found."""
    if "/" in text:
        return str(path(text))
    return shutil.which(text) or text


def checkout_state(checkout: Path) -> dict[str, Any]:
    """Commit and changes of the checkout."""
    return {name: value for name, value in git_state(checkout).items() if name != "reason"}


def weights_state(weights: Path) -> str:
    """A digest over names, sizes and the first bytes of all files: a hundred gigabytes are not read to plan a run."""
    if not weights.is_dir():
        return ""
    listed = []
    for file in sorted(weights.rglob("*")):
        if file.is_file() and ".git" not in file.parts and ".cache" not in file.parts:
            with file.open("rb") as opened:
                head = hashlib.sha256(opened.read(HEAD_BYTES)).hexdigest()
            listed.append([file.relative_to(weights).as_posix(), file.stat().st_size, head])
    return digest(listed)
