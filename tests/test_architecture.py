"""The house rules that a program can check: which room may import which, and what files say of themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("liveavatar", "genbench", "evalkit", "reports")
ALLOWED = {"evalkit": {"liveavatar", "genbench", "reports"}, "liveavatar": set(), "genbench": set(), "reports": set()}


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    forbidden = set(ROOMS) - ALLOWED[room] - {room}
    wrong = {str(path.relative_to(ROOT)): imported(path) & forbidden for path in sources(room)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_model_and_the_stream_know_no_paths_or_commands() -> None:
    outer = {"argparse", "pathlib", "subprocess"}
    for folder in ("model", "streaming"):
        for path in sorted((ROOT / "liveavatar" / folder).glob("*.py")):
            assert not imported(path) & outer, path


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_says_what_it_is_for(room: str) -> None:
    silent = [path for path in sources(room) if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_there_is_no_room_for_leftovers() -> None:
    names = {path.stem for room in ROOMS for path in sources(room)}
    assert not names & {"utils", "util", "misc", "helper", "helpers", "common"}
