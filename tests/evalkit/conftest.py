"""Fixtures of the evalkit tests: one finished run to look at, copies of it to spoil, and the fakes themselves."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evalkit.evalkit_bench import PLUGIN, run_fakes


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run that no test changes."""
    out = tmp_path_factory.mktemp("finished") / "run"
    result = run_fakes(out)
    assert result.code == 0, result.err + result.out
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A complete run to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def fakes() -> Callable[..., Any]:
    """The fakes, loaded in this process."""
    from evalkit.plugins import load_plugins

    load_plugins([str(PLUGIN)])
    return lambda: sys.modules["evalkit_plugin_fakes"]
