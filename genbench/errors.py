"""Errors of genbench that end a command with a message instead of a traceback."""

from __future__ import annotations


class SpeechError(RuntimeError):
    """The speech library is damaged or refused a sentence."""


class DamagedSetError(ValueError):
    """A file of a test set is missing or is not the file that was built."""


class DiskFullError(OSError):
    """No room is left on the disk; what was finished is kept."""


class ProviderError(RuntimeError):
    """A generator cannot be used or cannot go on: a missing key or package, a used-up quota, a model that changed."""


class SampleRefusedError(RuntimeError):
    """A generator answered, but not with a usable sample: refused, cut off, empty. Another attempt may succeed."""
