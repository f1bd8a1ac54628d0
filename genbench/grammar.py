"""Seeded English sentences on everyday topics, endless and free of rights: the text that the synthesiser speaks."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice

from genbench.lexicon import COMMON_WORDS, TOPICS
from genbench.seeds import python_random

# The fastest of our voices, measured with pauses included (the mean is 16.6), so that planned text rarely falls short.
CHARACTERS_PER_SECOND = 18.5
_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCES_PER_TOPIC = 3
_PATTERN_REST = 16


def sentences(source: random.Random | int | str, count: int) -> list[str]:
    """`count` sentences; a few in a row share a topic, as in talk. A seed or a random source gives the same list."""
    if count < 0:
        raise ValueError(f"sentences() was asked for {count} sentences; give 0 or more")
    rng = source if isinstance(source, random.Random) else python_random("sentences", source)
    return list(islice(_talk(rng), count))


def speech_for(source: random.Random | int | str, duration_s: float) -> str:
    """Text that takes at least about `duration_s` to speak (by a mean rate: synthesise to know the true duration)."""
    if duration_s <= 0:
        raise ValueError(f"speech_for() was asked for {duration_s} s; give a duration above 0")
    rng = source if isinstance(source, random.Random) else python_random("speech", source)
    wanted, chosen = duration_s * CHARACTERS_PER_SECOND, []
    for sentence in _talk(rng):
        chosen.append(sentence)
        wanted -= len(sentence) + 1
        if wanted <= 0:
            return " ".join(chosen)
    raise AssertionError("the talk never ends")


def vocabulary() -> set[str]:
    """Every word the grammar can say, in lower case."""
    lists = list(COMMON_WORDS.values())
    for topic in TOPICS.values():
        lists += [*topic.patterns, *topic.words.values()]
    return {word for text in lists for word in re.findall(r"[a-z]+", _SLOT.sub(" ", text).lower())}


def _talk(rng: random.Random) -> Iterator[str]:
    """Sentences without end; a pattern rests before it may return."""
    recent: deque[str] = deque(maxlen=_PATTERN_REST)
    while True:
        topic = _pick(rng, list(TOPICS))
        for _ in range(1 + int(rng.random() * _SENTENCES_PER_TOPIC)):
            patterns = list(TOPICS[topic].patterns)
            pattern = _pick(rng, [choice for choice in patterns if choice not in recent] or patterns)
            recent.append(pattern)
            yield _sentence(rng, topic, pattern)


def _sentence(rng: random.Random, topic: str, pattern: str) -> str:
    words = TOPICS[topic].words
    used: set[str] = set()

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        options = (words.get(name) or COMMON_WORDS[name]).split("|")
        choice = _pick(rng, [option for option in options if option not in used] or options)
        used.add(choice)
        return choice

    text = _SLOT.sub(fill, pattern)
    return text[0].upper() + text[1:]


def _pick(rng: random.Random, options: list[str]) -> str:
    return options[int(rng.random() * len(options))]
