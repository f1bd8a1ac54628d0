"""One small fake run, built once; tests that change it take their own copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import reports
from reports import plot
from tests.reports import fake_run_folder


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run_folder.make(tmp_path_factory.mktemp("fake") / "run")


@pytest.fixture
def run_folder(_made: Path, tmp_path: Path) -> Path:
    """A complete small run that the test may change."""
    return Path(shutil.copytree(_made, tmp_path / "run"))


@pytest.fixture(scope="session")
def page(_made: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the complete small run."""
    copy = shutil.copytree(_made, tmp_path_factory.mktemp("page") / "run")
    return reports.build(Path(copy)).read_text("utf-8")


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests about words and files only: figures are laid out but not written as SVG, which takes the time."""
    monkeypatch.setattr(plot, "svg", lambda figure, name: "<svg></svg>")
