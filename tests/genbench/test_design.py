"""The design of a set: every kind of sample is covered, balanced and seeded; what shipped figures rest on does not move."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterable

import pytest

from genbench import world
from genbench.composition import COMPOSITIONS, NANO_COMPOSITIONS, STYLES
from genbench.design import latin_ranks, lay_out, rotate
from genbench.looks import AGES, LOOKS, SCENES
from genbench.spec import SampleSpec, SetSize, SetSpec, draw_set, voices_of
from genbench.speech import VOICES


def spread(values: Iterable[Hashable]) -> int:
    """Most minus least occurrences."""
    counts = Counter(values).values()
    return max(counts) - min(counts)


def test_the_words_are_the_worlds_own():
    assert world.STYLES == STYLES
    assert world.COMPOSITIONS == NANO_COMPOSITIONS


def test_quick_sets_are_drawn_as_ever():
    # Digests of manifests that shipped figures were measured on.
    known = {
        "short": "8f6b9040e36a9ec1be5da4fd7039cb25a022ffd415782ee877643c218c126c17",
        "long": "f4e4d29ae764065ce375383542ce40c3b6e0162fed7385b2c0112856e3905f91",
    }
    assert {name: draw_set(name, "quick").first_fingerprint() for name in known} == known


@pytest.mark.parametrize("compositions", [NANO_COMPOSITIONS, tuple(COMPOSITIONS)])
@pytest.mark.parametrize("count", [15, 18, 50, 100])
def test_every_beginning_of_a_set_is_balanced(compositions, count):
    places = lay_out(count, STYLES, compositions, random.Random(3))
    for end in range(1, count + 1):
        head = places[:end]
        for column in ("style", "composition"):
            counts = Counter(getattr(place, column) for place in head)
            size = len(STYLES) if column == "style" else len(compositions)
            assert max(counts.values()) <= -(-end // size)
        pairs = Counter((place.style, place.composition) for place in head)
        assert max(pairs.values()) <= -(-end // (len(STYLES) * len(compositions)))


@pytest.mark.parametrize(("kind", "pairs"), [("nano", 12), ("generated", 18)])
def test_the_full_set_covers_styles_compositions_and_genders(kind, pairs):
    samples = draw_set("short", "full", kind=kind).samples
    cells = Counter((s.style, s.framing, s.view) for s in samples)
    assert len(cells) == pairs
    assert set(cells.values()) <= {100 // pairs, 100 // pairs + 1}
    people = [s for s in samples if s.style != "animal"]
    assert spread(s.gender for s in people) <= 2
    assert spread((s.style, s.composition, s.gender) for s in people) <= 2
    assert {s.gender for s in people} == {"woman", "man"}


def test_looks_ages_and_scenes_of_generated_samples_are_balanced():
    samples = draw_set("short", "full", kind="generated").samples
    for style in STYLES:
        own = [s for s in samples if s.style == style]
        assert {s.look for s in own} == set(LOOKS[style])
        assert spread(s.look for s in own) <= 1
    people = [s for s in samples if s.style != "animal"]
    assert {s.age for s in people} == set(AGES)
    assert spread((s.style, s.gender, s.age) for s in people) <= 1
    assert spread(s.scene for s in samples) <= 1
    assert len({s.scene for s in samples}) == len(SCENES)
    assert all(s.look in s.picture_prompt and s.scene in s.picture_prompt for s in samples)


def test_languages_take_turns_where_they_can_be_spoken():
    samples = draw_set("short", "full", size=SetSize(12, (8, 9)), kind="generated", languages=("en", "zh")).samples
    assert Counter(s.language for s in samples) == {"en": 6, "zh": 6}
    assert spread((s.style, s.language) for s in samples) == 0


def test_looks_of_the_nano_world_are_spread_evenly():
    samples = [s for s in draw_set("short", "full").samples if s.style == "photo"]
    for field in ("skin", "hair_colour", "background_colour", "clothes_colour", "face_width"):
        values = sorted(s.character.value(field) for s in samples)
        # One value in each of as many equal strata as there are samples.
        assert [int(value * len(samples)) for value in values] == list(range(len(samples)))


def test_voices_fit_genders():
    women, men = voices_of("woman"), voices_of("man")
    assert set(women) | set(men) == set(VOICES)
    assert not set(women) & set(men)
    for sample in draw_set("short", "full").samples:
        if sample.gender in ("woman", "man"):
            assert sample.voice in voices_of(sample.gender)


def test_another_attempt_keeps_the_place_and_changes_the_rest():
    specs = draw_set("short", "full")
    first, again = specs.samples[2], specs.redrawn(2, 1)
    for kept in ("id", "style", "composition", "gender"):
        assert getattr(again, kept) == getattr(first, kept)
    assert again.text != first.text
    assert again.character != first.character
    assert specs.redrawn(2, 1) == again
    assert specs.redrawn(2, 0) is first


def test_the_in_domain_set_is_drawn_apart_from_training():
    from genbench.clips import draw_clip

    specs = draw_set("in_domain", "full")
    assert len(specs.samples) == 50
    assert all(5 <= s.duration_s <= 10 and round(s.duration_s * 25) % 12 == 0 for s in specs.samples)
    assert spread((s.style, s.composition) for s in specs.samples) <= 1
    seed, index, frames = specs.samples[0].clip
    assert draw_clip(seed, index, frames).character != specs.samples[0].character  # the same numbers in the training world


def test_rotate_and_latin_ranks_have_closed_forms():
    assert rotate(list("aabba"), [0, 1]) == [0, 1, 1, 0, 0]
    ranks = latin_ranks(list("aabab"), random.Random(1))
    assert sorted(rank for rank, group in zip(ranks, "aabab", strict=True) if group == "a") == [(0, 3), (1, 3), (2, 3)]
    assert sorted(rank for rank, group in zip(ranks, "aabab", strict=True) if group == "b") == [(0, 2), (1, 2)]


def test_ids_that_are_used_twice_or_leave_the_folder_are_refused():
    (sample,) = draw_set("short", "quick", size=SetSize(1, (2, 3))).samples
    with pytest.raises(ValueError, match="'short-000' is given to 2 samples"):
        SetSpec("short", "quick", 0, (sample, sample))
    for bad in ("../up", "a/b", ".hidden", "", "a" * 81, "A", "a.b"):
        with pytest.raises(ValueError, match="sample id"):
            SampleSpec(**(vars(sample) | {"id": bad}))
