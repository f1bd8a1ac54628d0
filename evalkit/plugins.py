"""Plug-ins: a Python file named with --plugin registers methods, metrics, data sets or experiments of its own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from evalkit.errors import PrerequisiteMissingError


def load_plugins(paths: Iterable[str]) -> None:
    """Import each file once; a file that fails to import is reported with its real error."""
    for given in paths:
        path = Path(given)
        if not path.is_file():
            raise PrerequisiteMissingError(f"plug-in {path} does not exist; give the path of a Python file")
        name = f"evalkit_plugin_{path.stem}"
        if name in sys.modules:
            continue
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise PrerequisiteMissingError(f"plug-in {path} is not a Python file; its name must end in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise PrerequisiteMissingError(f"plug-in {path} failed to import: {type(error).__name__}: {error}") from error
