"""Packages that only the official profile needs, imported where they are used and named with their cure when absent."""

from __future__ import annotations

import importlib
from types import ModuleType

INSTALL = "pip install 'live-avatar[official]'"


class MissingPackageError(RuntimeError):
    """A package of an optional extra is not installed; the message says how to install it."""


def require(package: str, purpose: str) -> ModuleType:
    """The imported package; raises MissingPackageError, saying what for and what to do."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise MissingPackageError(f"{purpose} needs the package {package}: {INSTALL}") from error
