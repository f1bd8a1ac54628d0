"""The stratified design of a set: which style, composition, gender and look each place in it has. Pure and seeded.

Coverage follows from the order, not from luck: styles and compositions advance together, so that the first
styles x compositions places hold every pair once and every beginning of a set is balanced to within one.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import lcm
from typing import TypeVar

T = TypeVar("T")
GENDERS = ("woman", "man")


@dataclass(frozen=True)
class Place:
    """One place of a set, before anything is drawn, written or spoken."""

    style: str
    composition: str
    gender: str


def shuffled(items: Sequence[T], source: random.Random) -> list[T]:
    """The items in a random order that depends on `source.random()` alone, which Python keeps stable."""
    order = sorted((source.random(), index) for index in range(len(items)))
    return [items[index] for _, index in order]


def lay_out(count: int, styles: Sequence[str], compositions: Sequence[str], source: random.Random) -> list[Place]:
    """`count` places; every style, composition and pair as often as any other (to within one), women and men in each pair.
    """
    styles, compositions = shuffled(styles, source), shuffled(compositions, source)
    # A step of both words meets lcm(S, C) pairs; then one word moves on by itself to meet the others.
    turn = lcm(len(styles), len(compositions))
    pairs = [
        (styles[index % len(styles)], compositions[(index + index // turn) % len(compositions)]) for index in range(count)
    ]
    genders = rotate(pairs, shuffled(GENDERS, source))
    return [Place(style, composition, gender) for (style, composition), gender in zip(pairs, genders, strict=True)]


def rotate(groups: Sequence[Hashable], levels: Sequence[T]) -> list[T]:
    """One level per place: in turn within each group, and each new group starts one level later, so both are balanced."""
    seen: Counter[Hashable] = Counter()
    rank: dict[Hashable, int] = {}
    chosen = []
    for group in groups:
        start = rank.setdefault(group, len(rank))
        chosen.append(levels[(start + seen[group]) % len(levels)])
        seen[group] += 1
    return chosen


def latin_ranks(groups: Sequence[Hashable], source: random.Random) -> list[tuple[int, int]]:
    """(rank, group size) per place: within a group every rank 0..size-1 once, in random order (a Latin hypercube's column).
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        members[group].append(place)
    ranks = [(0, 1)] * len(groups)
    for places in members.values():
        for rank, place in enumerate(shuffled(places, source)):
            ranks[place] = rank, len(places)
    return ranks


def coverage(cells: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """How many samples each cell has, in sorted order."""
    return dict(sorted(Counter(cells).items()))
