"""Exported answers, read and checked against the key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.study import CRITERIA, LEAST, MOST
from evalkit.study.design import Study

Ratings = dict[str, dict[str, int]]  # by side, then criterion


@dataclass(frozen=True)
class Answer:
    """One pair as one rater saw and rated it. plays: how often each side was started."""

    trial: str
    left: str
    right: str
    ratings: Ratings
    seconds: float
    plays: dict[str, int]


@dataclass(frozen=True)
class Rater:
    """One exported file."""

    id: str
    answers: tuple[Answer, ...]

    def of(self, trials: set[str]) -> list[Answer]:
        """The answers to some trials."""
        return [one for one in self.answers if one.trial in trials]


def read_answers(files: Sequence[Path], study: Study) -> list[Rater]:
    """All raters; of two files of one rater, the one with more answers counts.

    Raises EvalkitError for a file that is not readable, is of another study or holds what the page cannot have written.
    """
    found: dict[str, Rater] = {}
    for path in files:
        rater = _rater(path, study)
        held = found.get(rater.id)
        if held is None or len(rater.answers) > len(held.answers):
            found[rater.id] = rater
    return [found[name] for name in sorted(found)]


def _rater(path: Path, study: Study) -> Rater:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["study"] != study.id:
            raise EvalkitError(f"{path.name} holds answers of study {content['study']}, the key is of {study.id}")
        answers = tuple(_answer(one) for one in content["answers"])
        rater = Rater(str(content["rater"]), answers)
    except OSError as error:
        raise EvalkitError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EvalkitError(f"{path.name} is no file that the page wrote ({type(error).__name__}: {error})") from error
    trials, clips = {one.id: set(one.clips) for one in study.trials}, {one.id for one in study.clips}
    for answer in rater.answers:
        if {answer.left, answer.right} != trials.get(answer.trial) or not {answer.left, answer.right} <= clips:
            raise EvalkitError(f"{path.name}: trial {answer.trial} does not show these two clips; was the file changed?")
    return rater


def _answer(content: dict[str, Any]) -> Answer:
    ratings = {side: {name: int(content["ratings"][side][name]) for name in CRITERIA} for side in ("left", "right")}
    values = [value for side in ratings.values() for value in side.values()]
    if not all(LEAST <= value <= MOST for value in values):
        raise ValueError(f"ratings {values} outside {LEAST} to {MOST}")
    plays = {side: int(content.get("plays", {}).get(side, 0)) for side in ("left", "right")}
    return Answer(content["trial"], content["left"], content["right"], ratings, float(content["seconds"]), plays)
