"""Which clips are rated together, and under which names: no name on the page says which method made a clip."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

RATE, INSTRUCTED, REPEAT = "rate", "instructed", "repeat"
ID_CHARS = 12
INSTRUCTED_CHECKS = 2
RATED_PER_REPEAT = 8


@dataclass(frozen=True)
class Clip:
    """One video under its name on the page. Method and sample stand in the key only."""

    id: str
    method: str
    sample: str
    seconds: float


@dataclass(frozen=True)
class Trial:
    """Two clips of one sample, or of two where a method is left over. kind: rated, a check, or a pair shown again."""

    id: str
    kind: str
    clips: tuple[str, str]
    of: str = ""


@dataclass(frozen=True)
class Study:
    """Everything that the scorer must know and a rater must not."""

    id: str
    methods: tuple[str, ...]
    clips: tuple[Clip, ...]
    trials: tuple[Trial, ...]
    dataset: str = ""
    run: str = ""

    def to_json(self) -> dict[str, Any]:
        """The content of the key."""
        return {"schema_version": 1, **asdict(self)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Study:
        """Read what `to_json` wrote."""
        return cls(
            content["id"],
            tuple(content["methods"]),
            tuple(Clip(**one) for one in content["clips"]),
            tuple(Trial(one["id"], one["kind"], (one["clips"][0], one["clips"][1]), one["of"]) for one in content["trials"]),
            content.get("dataset", ""),
            content.get("run", ""),
        )


def design_study(
    clips: Sequence[tuple[str, str, float]], seed: int, dataset: str = "", run: str = "", salt: str = ""
) -> Study:
    """Pair clips (method, sample, seconds) for rating; every clip is rated once by every rater, some pairs twice.

    A sample's methods are paired at random. One that is left over meets that of the next sample; a last one meets a clip
    that was rated already. salt: makes ids that nobody can compute; drawn anew where it is not given.
    """
    if len(clips) < 2:
        raise ValueError(f"{len(clips)} clips are no study: give at least two methods, or two samples")
    salt = salt or secrets.token_hex(16)
    named = [Clip(_id(salt, method, sample), method, sample, seconds) for method, sample, seconds in clips]
    draw = random.Random(f"study/{seed}")
    pairs = _pairs(named, draw)
    trials = [Trial(_id(salt, "trial", *pair), RATE, pair) for pair in pairs]
    again = draw.sample(trials, k=max(1, len(trials) // RATED_PER_REPEAT))
    trials += [Trial(_id(salt, "repeat", one.id), REPEAT, one.clips, one.id) for one in again]
    for number in range(INSTRUCTED_CHECKS):
        pair = draw.choice(pairs)
        trials.append(Trial(_id(salt, "instructed", str(number)), INSTRUCTED, pair))
    methods = tuple(dict.fromkeys(one.method for one in named))
    return Study(_id(salt, "study"), methods, tuple(named), tuple(trials), dataset, run)


def _pairs(clips: Sequence[Clip], draw: random.Random) -> list[tuple[str, str]]:
    waiting: list[Clip] = []
    pairs = []
    for sample in dict.fromkeys(one.sample for one in clips):
        own = [one for one in clips if one.sample == sample]
        draw.shuffle(own)
        while len(own) >= 2:
            pairs.append((own.pop().id, own.pop().id))
        waiting += own
    while len(waiting) >= 2:
        pairs.append((waiting.pop().id, waiting.pop().id))
    if waiting:
        others = [one.id for one in clips if one.id != waiting[0].id]
        pairs.append((waiting[0].id, draw.choice(others)))
    return pairs


def _id(salt: str, *names: str) -> str:
    return hashlib.sha256("/".join([salt, *names]).encode()).hexdigest()[:ID_CHARS]
