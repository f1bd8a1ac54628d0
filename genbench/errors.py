"""Errors of genbench that end a command with a message instead of a traceback."""

from __future__ import annotations


class SpeechError(RuntimeError):
    """The speech library is damaged or refused a sentence."""


class DamagedSetError(ValueError):
    """A file of a test set is missing or is not the file that was built."""
