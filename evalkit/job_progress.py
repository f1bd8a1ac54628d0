"""How a job and its driver speak, wherever the job runs: lines in a file of the run folder, and a file that asks to stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.errors import is_disk_full
from evalkit.jobs import log_path


class ProgressWriter:
    """The job's side: `logs/JOB.progress`, one JSON line per event. Losing a line costs a message, never a result."""

    def __init__(self, run: Path, job_id: str) -> None:
        self.path = progress_path(run, job_id)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("", encoding="utf-8")

    def show(self, label: str) -> None:
        """What is being made now."""
        self._line(event="show", label=label)

    def step(self, media_s: float, label: str) -> None:
        """An item is settled."""
        self._line(event="step", media_s=media_s, label=label)

    def say(self, text: str) -> None:
        """A message for the user."""
        self._line(event="say", text=text)

    def stopped(self, method: str) -> None:
        """A method was given up."""
        self._line(event="stopped", method=method)

    def disk_full(self, text: str) -> None:
        """No space is left."""
        self._line(event="disk_full", text=text)

    def _line(self, **fields: Any) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(fields) + "\n")
        except OSError as error:
            if not is_disk_full(error):
                raise


class ProgressReader:
    """The driver's side: each new whole line once."""

    def __init__(self, run: Path, job_id: str) -> None:
        self.path = progress_path(run, job_id)
        self._read_bytes = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Events since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_bytes)
                data = file.read()
        except OSError:
            return  # not begun yet
        whole = data.rpartition(b"\n")[0]
        self._read_bytes += len(whole) + bool(whole)
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut off by a full disk
            if isinstance(event, dict):
                yield event


def ask_to_stop(run: Path, job_id: str) -> None:
    """Ask a job to finish the record in hand and leave."""
    _stop_path(run, job_id).touch()


def is_asked_to_stop(run: Path, job_id: str) -> bool:
    """Whether it was asked to."""
    return _stop_path(run, job_id).exists()


def forget(run: Path, job_id: str) -> None:
    """Remove what an earlier job of this name left."""
    for path in (progress_path(run, job_id), _stop_path(run, job_id)):
        path.unlink(missing_ok=True)


def progress_path(run: Path, job_id: str) -> Path:
    """Where a job tells what it does."""
    return log_path(run, job_id).with_suffix(".progress")


def _stop_path(run: Path, job_id: str) -> Path:
    return log_path(run, job_id).with_suffix(".stop")
