"""Q-Align's arithmetic, picture and prompt; the language model is a stand-in that shows what it was given."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.metrics.levels import LEVELS, scores_of, soft_levels
from evalkit.metrics.official.qalign import HUB_ID, IMAGE_TOKEN, QAlign, load_qalign, pad_square, pixel_values, prompt
from evalkit.metrics.weights import WeightsError
from tests.evalkit import metric_goldens as golden

WORDS = ["<s>", *LEVELS]


class WordTokenizer:
    """One id per word; `adds_start` is the older behaviour of LLaMA tokenizers."""

    bos_token_id = 0

    def __init__(self, adds_start: bool = True, splits: str = ""):
        self.adds_start, self.splits, self.words = adds_start, splits, list(WORDS)

    def __call__(self, text: str) -> SimpleNamespace:
        words = [half for word in text.split() for half in ([word[:3], word[3:]] if word == self.splits else [word])]
        self.words += [word for word in words if word not in self.words]
        ids = [self.words.index(word) for word in words]
        return SimpleNamespace(input_ids=[0, *ids] if self.adds_start else ids)


class Recorder(torch.nn.Module):
    """A language model that keeps what it was asked and prefers one word."""

    def __init__(self, favourite: int):
        super().__init__()
        self.favourite, self.asked = favourite, []

    def forward(self, input_ids: torch.Tensor, *, images: Any) -> dict[str, torch.Tensor]:
        self.asked.append((input_ids[0].tolist(), images))
        logits = torch.zeros(1, input_ids.shape[1], 60)
        logits[:, -1, self.favourite] = 3.0
        logits[:, :-1, 1] = 100.0  # only the last position may count
        return {"logits": logits}


@golden.needs_goldens
def test_scores_and_pictures_match_the_reference() -> None:
    expected = golden.arrays("qalign")
    scores = scores_of(expected["logits"])
    np.testing.assert_allclose(scores, expected["score_1_5"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(scores, expected["score_1_5_float16"], rtol=0, atol=5e-3)
    np.testing.assert_allclose((scores - 1) / 4, expected["score_0_1"], rtol=0, atol=5e-6)
    np.testing.assert_array_equal(pad_square(expected["image"]), expected["padded"])
    values = pixel_values(expected["image"])[:, ::9, ::9].numpy()
    np.testing.assert_allclose(values, expected["pixel_values_every9"], rtol=0, atol=5e-6)


def test_scores_lie_on_1_to_5_and_only_differences_of_logits_count() -> None:
    assert scores_of(np.zeros((1, 5)))[0] == pytest.approx(3)
    assert scores_of(np.array([[900.0, 0, 0, 0, 0], [0, 0, 0, 0, 900.0]])).tolist() == [5, 1]
    logits = np.random.default_rng(0).normal(size=(50, 5))
    np.testing.assert_allclose(scores_of(logits + 7), scores_of(logits))
    higher = logits + np.array([0.5, 0, 0, 0, 0])
    assert (scores_of(higher) > scores_of(logits)).all()
    for bad in (np.zeros((2, 4)), np.zeros(5), np.full((1, 5), np.nan)):
        with pytest.raises(ValueError, match="logits"):
            scores_of(bad)


def test_soft_levels_have_the_rating_as_their_score() -> None:
    ratings = np.linspace(1, 5, 41)
    levels = soft_levels(ratings)
    np.testing.assert_allclose(levels.sum(1), 1)
    np.testing.assert_allclose(levels @ [5, 4, 3, 2, 1], ratings)


@pytest.mark.parametrize("adds_start", [True, False])
def test_the_prompt_begins_once_and_holds_the_picture(adds_start: bool) -> None:
    tokenizer = WordTokenizer(adds_start)
    model = Recorder(favourite=WORDS.index("good"))
    raters = QAlign(model, tokenizer, "cpu", torch.float32)
    logits = raters.rate(np.zeros((2, 20, 30, 3), np.uint8), "ase")
    assert logits.shape == (2, 5)
    assert LEVELS[int(logits[0].argmax())] == "good"
    ids, images = model.asked[0]
    words = [tokenizer.words[one] if one != IMAGE_TOKEN else "<image>" for one in ids]
    assert " ".join(words) == (
        "<s> USER: How would you rate the aesthetics of this image? <image> ASSISTANT: The aesthetics of the image is"
    )
    assert images.shape == (1, 3, 448, 448)
    video = raters.rate_video(np.zeros((3, 20, 30, 3), np.uint8), "iqa")
    assert video.shape == (5,)
    assert model.asked[-1][1][0].shape == (3, 3, 448, 448)


def test_a_tokenizer_that_splits_a_level_word_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"splits 'excellent' into 2 tokens"):
        QAlign(Recorder(0), WordTokenizer(splits="excellent"), "cpu", torch.float32)
    with pytest.raises(ValueError, match="tasks: iqa, ase"):
        prompt("aesthetic")


def test_without_files_or_library_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="evalkit weights get qalign"):
        load_qalign(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(WeightsError, match="pip install"):
        load_qalign(tmp_path)


def test_the_librarys_model_is_built_from_the_local_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    asked: list[Any] = []

    class Auto:
        @staticmethod
        def from_pretrained(name: Any, **more: Any) -> WordTokenizer:
            asked.append((name, more.get("local_files_only")))
            return WordTokenizer()

    library = ModuleType("modeling_mplug_owl2")

    class Model(Recorder):
        @classmethod
        def from_pretrained(cls, folder: Path, **more: Any) -> Model:
            library.AutoTokenizer.from_pretrained(HUB_ID)  # as the published class does while it is built
            assert more["local_files_only"]
            return cls(favourite=1)

    library.AutoTokenizer, library.MPLUGOwl2LlamaForCausalLM = Auto, Model
    package = ModuleType("pyiqa.archs.q_align")
    package.modeling_mplug_owl2 = library
    for name, module in (("pyiqa", ModuleType("pyiqa")), ("pyiqa.archs", ModuleType("pyiqa.archs"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "pyiqa.archs.q_align", package)
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoTokenizer=Auto))
    rater = load_qalign(tmp_path, dtype=torch.float32)
    assert {name for name, _ in asked} == {tmp_path}
    assert all(local for _, local in asked)
    assert library.AutoTokenizer is Auto
    assert rater.rate(np.zeros((1, 8, 8, 3), np.uint8), "iqa").shape == (1, 5)
