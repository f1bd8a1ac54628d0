"""The grammar is seeded, varied, and says as much as is asked for."""

import pytest

from genbench.grammar import sentences, speech_for, vocabulary
from genbench.lexicon import COMMON_WORDS, TOPICS
from genbench.seeds import BENCHMARK_NAMESPACE, TRAINING_NAMESPACE, derive_seed
from genbench.speech import VOICES, synthesise


def test_same_seed_same_text():
    assert sentences(4, 50) == sentences(4, 50) != sentences(5, 50)
    assert sentences(4, 50)[:20] == sentences(4, 20)
    assert speech_for("a", 30) == speech_for("a", 30)


def test_text_is_varied():
    drawn = sentences(0, 400)
    assert len(set(drawn)) > 340
    assert len(vocabulary()) > 400
    assert all(text[0].isupper() and text[-1] in ".?!" and "{" not in text for text in drawn)


def test_every_slot_has_words():
    for topic in TOPICS.values():
        for pattern in topic.patterns:
            for slot in pattern.split("{")[1:]:
                name = slot.partition("}")[0]
                assert name in topic.words or name in COMMON_WORDS


@pytest.mark.parametrize("voice", VOICES[::4], ids=lambda voice: voice.language_variant)
def test_speech_for_fills_the_duration(voice):
    pytest.importorskip("espeakng_loader")
    assert 38 < synthesise(speech_for(9, 40), voice).duration_s < 65


def test_english_sounds_are_covered():
    pytest.importorskip("espeakng_loader")
    heard = {name for name, _, _ in synthesise(speech_for(2, 300), VOICES[6]).phonemes}
    assert {*"pbtdkgfvTDszSZhmnNlwj", "tS", "dZ"} <= heard


def test_seeds_are_named_and_namespaces_apart():
    assert derive_seed("a", 1) == derive_seed("a", 1)
    names = (BENCHMARK_NAMESPACE, TRAINING_NAMESPACE)
    assert len({derive_seed(name, seed, "clip", i) for name in names for seed in range(3) for i in range(50)}) == 300
    assert derive_seed("a", "1") != derive_seed("a", 1)
    with pytest.raises(ValueError, match="name what the seed is for"):
        derive_seed()
    with pytest.raises(ValueError, match="give a duration above 0"):
        speech_for(0, 0)
