"""The mistakes a user can put right: each says what, where and how to fix it, and carries an exit code."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class EvalkitError(Exception):
    """A bad definition or a missing prerequisite; the command line prints it without a traceback."""

    exit_code = 2


class UnknownNameError(EvalkitError):
    """A method, metric, data set, sample or experiment that is not registered."""


class RunLockedError(EvalkitError):
    """Another driver is writing this run."""


class StoreFullError(EvalkitError):
    """The disk holding the run is full; everything recorded before is still valid."""


class PrerequisiteMissingError(EvalkitError):
    """Something that must be installed or built first is not there."""


MESSAGE_CHARS = 300
DISK_FULL_EXIT = 3  # of a job's or a worker's process
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_disk_full(error: BaseException) -> bool:
    """Whether `error`, or what caused it, means that no space is left."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StoreFullError):
            return True
        if isinstance(seen, OSError) and seen.errno in DISK_FULL_ERRNOS:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def brief(error: BaseException) -> str:
    """The first line of an error's message, short enough for a table's footnote; the whole is in the log."""
    text = without_paths(str(error)).strip().partition("\n")[0]
    return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 3] + "..."


def without_paths(text: str) -> str:
    """Messages and tracebacks travel with a run; the place where it was made does not."""
    root = str(Path(__file__).resolve().parents[1])
    return text.replace(root + os.sep, "").replace(str(Path.home()) + os.sep, "")
