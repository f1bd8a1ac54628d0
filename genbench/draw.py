"""Fills the places of a set's design: who, what is said, in which voice, for how long. Every choice has a named seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from genbench import looks
from genbench.composition import COMPOSITIONS, NANO_COMPOSITIONS, STYLES, composition_of
from genbench.design import Place, latin_ranks, lay_out, rotate, shuffled
from genbench.grammar import speech_for
from genbench.seeds import BENCHMARK_NAMESPACE, HELD_OUT_NAMESPACE, derive_seed, python_random, torch_generator
from genbench.spec import GENERATED, NANO, SampleSpec, SetSize, follows_first_design, voices_of
from genbench.speech import VOICES, Voice

if TYPE_CHECKING:
    from genbench.world import Character

# Text planned beyond the target duration; the build speaks the run of sentences whose length is nearest to it.
_TEXT_MARGIN = 1.15
_TEXT_MARGIN_S = 20.0
_FPS, _FRAMES_PER_BLOCK = 25, 12
_ATTEMPT_STRIDE = 1_000_000


def draw_sample(
    set_name: str,
    suite: str,
    seed: int,
    index: int,
    size: SetSize,
    kind: str = NANO,
    attempt: int = 0,
    languages: tuple[str, ...] = ("en",),
) -> SampleSpec:
    """One sample of a set. attempt: 0, or 1.. for the same place of the design filled with another seed."""
    # The first attempt has the name it had before there were attempts, and so draws what it always drew.
    again: tuple[str | int, ...] = ("attempt", attempt) if attempt else ()
    name = (BENCHMARK_NAMESPACE, set_name, suite, seed, index, *again)
    source = python_random(*name, "speech")
    low, high = size.duration_s
    duration_s = round(low + source.random() * (high - low), 3)
    if set_name == "in_domain":
        return _draw_clip_sample(suite, seed, index, size, duration_s, attempt)
    text = speech_for(source, duration_s * _TEXT_MARGIN + _TEXT_MARGIN_S)
    spec = SampleSpec(
        id=f"{set_name}-{index:03d}",
        style="photo",
        composition="frontal",
        character=None,
        text=text,
        voice=VOICES[0],
        duration_s=duration_s,
        seed=derive_seed(*name, "motion"),
        attempt=attempt,
    )
    if follows_first_design(set_name, suite, kind):
        style, composition = _first_cell(set_name, suite, seed, index)
        character = _character(name, style, composition)
        return _described(replace(spec, voice=_first_voice(set_name, suite, seed, index)), character)
    plan = _plan(set_name, suite, seed, size.samples, kind, languages)
    place = plan.places[index]
    spec = replace(spec, voice=plan.voices[index], style=place.style, composition=place.composition, gender=place.gender)
    if kind == GENERATED:
        return _worded(spec, plan, index)
    return _described(spec, _stratified(_character(name, place.style, place.composition), plan, index, attempt))


@dataclass(frozen=True)
class _Plan:
    """The design of a whole set, place by place."""

    places: list[Place]
    voices: list[Voice]
    ranks: dict[str, list[tuple[int, int]]]
    words: dict[str, list[str]]


@lru_cache(maxsize=8)
def _plan(set_name: str, suite: str, seed: int, count: int, kind: str, languages: tuple[str, ...] = ("en",)) -> _Plan:
    name = (BENCHMARK_NAMESPACE, set_name, suite, seed, "design", kind)
    compositions = tuple(COMPOSITIONS) if kind == GENERATED else NANO_COMPOSITIONS
    places = lay_out(count, STYLES, compositions, python_random(*name, "places"))
    styles = [place.style for place in places]
    ranks: dict[str, list[tuple[int, int]]] = {}
    words: dict[str, list[str]] = {}
    if kind == NANO:
        from genbench.world import IDENTITY_FIELDS

        ranks = {field: latin_ranks(styles, python_random(*name, "look", field)) for field in IDENTITY_FIELDS}
    else:
        groups = [(place.style, place.gender) for place in places]
        words["age"] = rotate(groups, looks.AGES)
        words["look"] = _in_turn(styles, looks.LOOKS)
        words["scene"] = rotate([0] * count, shuffled(looks.SCENES, python_random(*name, "scenes")))
        words["emotion"] = rotate(styles, looks.EMOTIONS)
        words["language"] = rotate(styles, languages)
    return _Plan(places, _voices(places, name), ranks, words)


def _in_turn(styles: list[str], levels: dict[str, tuple[str, ...]]) -> list[str]:
    """Each style's own levels in turn; a level rests while its style meets every composition of a round."""
    seen: Counter[str] = Counter()
    chosen = []
    for style in styles:
        chosen.append(levels[style][(seen[style] + seen[style] // len(levels[style])) % len(levels[style])])
        seen[style] += 1
    return chosen


def _voices(places: list[Place], name: tuple[str | int, ...]) -> list[Voice]:
    """Voices that fit each place's gender, in random order over and over."""
    order = {gender: shuffled(voices_of(gender), python_random(*name, "voices", gender)) for gender in ("woman", "man")}
    seen: Counter[str] = Counter()
    chosen = []
    for place in places:
        voices = order[place.gender]
        chosen.append(voices[seen[place.gender] % len(voices)])
        seen[place.gender] += 1
    return chosen


def _character(name: tuple[str | int, ...], style: str, composition: str) -> Character:
    from genbench.world import sample_character

    return sample_character(torch_generator(*name, "character"), style, composition)


def _stratified(character: Character, plan: _Plan, index: int, attempt: int) -> Character:
    """The same character with every identity value moved into its stratum, and the gender that the design asks for."""
    from genbench.world import IDENTITY_FIELDS

    values = []
    for field, value in zip(IDENTITY_FIELDS, character.identity, strict=True):
        rank, size = plan.ranks[field][index]
        # A place that is filled again keeps its gender but looks for its face anywhere.
        spread = value if attempt else (rank + value) / size
        if field == "person":
            spread = (spread + (plan.places[index].gender == "man")) / 2
        values.append(min(round(spread, 6), 1.0))
    return replace(character, identity=tuple(values))


def _described(spec: SampleSpec, character: Character) -> SampleSpec:
    """A nano-world sample, its typed fields read off the character."""
    words = character.attributes()
    if "species" in words:
        gender, look = "unstated", f"{words['fur']} {words['species']}"
    else:
        gender, look = words["person"], f"{words['hair']} {words['hair_colour']} hair"
    return replace(
        spec,
        style=character.style,
        composition=character.composition,
        character=character,
        gender=gender,
        look=look,
        scene=f"{words['background_colour']} {words['background']} background",
        prompt=character.prompt(),
    )


def _worded(spec: SampleSpec, plan: _Plan, index: int) -> SampleSpec:
    """A sample for real generators, its words by template; a language model may write better ones."""
    chosen = {column: levels[index] for column, levels in plan.words.items()}
    where = composition_of(spec.composition)
    gender = "unstated" if spec.style == "animal" else spec.gender
    age = "unstated" if spec.style == "animal" else chosen["age"]
    who = looks.subject(spec.style, gender, age, chosen["look"])
    return replace(
        spec,
        age=age,
        look=chosen["look"],
        scene=chosen["scene"],
        emotion=chosen["emotion"],
        language=chosen["language"],
        prompt=looks.talking_prompt(who, chosen["scene"], chosen["emotion"]),
        picture_prompt=looks.portrait_prompt(spec.style, where.framing, where.view, who, chosen["scene"], chosen["emotion"]),
    )


def _draw_clip_sample(suite: str, seed: int, index: int, size: SetSize, duration_s: float, attempt: int) -> SampleSpec:
    """A clip drawn as training clips are, from a namespace that training never draws from."""
    from genbench.clips import draw_clip

    plan = _plan("in_domain", suite, seed, size.samples, NANO)
    place = plan.places[index]
    frames = max(1, round(duration_s * _FPS / _FRAMES_PER_BLOCK)) * _FRAMES_PER_BLOCK
    number = index + attempt * _ATTEMPT_STRIDE
    namespace_seed = derive_seed(HELD_OUT_NAMESPACE, suite, seed)
    drawn = draw_clip(namespace_seed, number, frames, HELD_OUT_NAMESPACE, (place.style, place.composition))
    spec = SampleSpec(
        id=f"in_domain-{index:03d}",
        style=place.style,
        composition=place.composition,
        character=drawn.character,
        text=drawn.text,
        voice=drawn.voice,
        duration_s=frames / _FPS,
        seed=namespace_seed,
        clip=(namespace_seed, number, frames),
        attempt=attempt,
    )
    return _described(spec, drawn.character)


def _first_cell(set_name: str, suite: str, seed: int, index: int) -> tuple[str, str]:
    """(style, composition): 3 and 4 have no common factor, so 12 steps meet every pair."""
    first = derive_seed(BENCHMARK_NAMESPACE, set_name, suite, seed, "first cell")
    return STYLES[(first + index) % len(STYLES)], NANO_COMPOSITIONS[(first + index) % len(NANO_COMPOSITIONS)]


def _first_voice(set_name: str, suite: str, seed: int, index: int) -> Voice:
    """All voices in a random order, over and over."""
    turn, place = divmod(index, len(VOICES))
    source = python_random(BENCHMARK_NAMESPACE, set_name, suite, seed, "voices", turn)
    return sorted(VOICES, key=lambda _: source.random())[place]
