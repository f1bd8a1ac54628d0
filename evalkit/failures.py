"""From an exception to what a record says of it: one line for a table's footnote, the end of the log for the reader."""

from __future__ import annotations

import traceback
from pathlib import Path

from evalkit.errors import brief, without_paths
from evalkit.jobs import log_path
from evalkit.records import Failure

TAIL_CHARS = 4000


def failure_of(error: BaseException, job_id: str) -> Failure:
    """The failure; of a program that failed, the tail is what that program printed last."""
    tail = getattr(error, "log_tail", "") or "".join(traceback.format_exception(error))
    log = log_path(Path(), job_id).as_posix()
    return Failure(type(error).__name__, brief(error), tail=without_paths(tail[-TAIL_CHARS:]), log=log)
