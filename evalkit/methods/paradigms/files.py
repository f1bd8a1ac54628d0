"""Which weights files of the paradigms there are, told from manifests alone: nothing is loaded."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parent / "weights" / "nano"
MANIFEST = "manifest.json"
TEACHER, GENERATOR = "teacher", "generator"


def folder_of(given: str) -> Path:
    """The folder asked for, or the one that ships."""
    return Path(given) if given else SHIPPED


def base_folder() -> Path:
    """The package's own weights, from which the paradigms' files are differences."""
    spec = importlib.util.find_spec("liveavatar")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "weights" / "nano"


def read_manifest(folder: Path) -> dict[str, Any]:
    """A folder's manifest; one without files where there is none."""
    file = folder / MANIFEST
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"files": {}}  # type: ignore[no-any-return]


def base_digest() -> str:
    """sha256 of the generator that the package ships."""
    return str(read_manifest(base_folder())["files"][GENERATOR]["sha256"])


def problem_of(folder: Path, names: tuple[str, ...]) -> str:
    """What keeps these files of a folder from being used; empty when nothing does."""
    manifest = read_manifest(folder)
    missing = [name for name in names if name not in manifest["files"]]
    if missing:
        return f"weights that are not there ({', '.join(missing)})"
    if manifest["base"] != base_digest():
        return "weights made for this generator: these are differences from another"
    return ""


def digests(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """sha256 of the files and of the package's, as the manifests record them."""
    own, base = (read_manifest(one)["files"] for one in (folder, base_folder()))
    return {name: own[name]["sha256"] for name in names} | {name: one["sha256"] for name, one in base.items()}
