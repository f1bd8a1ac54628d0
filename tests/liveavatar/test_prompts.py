"""Prompts of a stream: when each begins to hold, and what is computed once."""

from __future__ import annotations

import pytest

from liveavatar.config import nano
from liveavatar.streaming.prompts import PromptSchedule, TextKeys
from liveavatar.streaming.session import first_block_from


class Model:
    """Counts what it is asked to encode."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode_text(self, rows: str) -> list[str]:
        self.encoded.append(rows)
        return [rows]


def test_a_prompt_is_encoded_once_while_it_is_remembered() -> None:
    model = Model()
    texts = TextKeys(model, str.upper, kept=2)  # type: ignore[arg-type]
    first = texts("a")
    assert texts("a") is first
    for prompt in ("b", "a", "c", "a", "b"):
        texts(prompt)
    assert model.encoded == ["A", "B", "C", "B"]  # "b" was the one not asked for when "c" came


def test_each_prompt_begins_at_its_block() -> None:
    schedule = PromptSchedule(lambda prompt: [prompt])
    for block, prompt in ((5, "late"), (2, "soon"), (2, "sooner"), (0, "first")):
        schedule.set(block, prompt)
    assert [schedule(block) for block in range(7)] == [["first"], None, ["sooner"], None, None, ["late"], None]


def test_prompts_that_were_passed_over_do_not_come_back() -> None:
    schedule = PromptSchedule(lambda prompt: [prompt])
    schedule.set(1, "one")
    schedule.set(3, "three")
    assert schedule(4) == ["three"]
    assert schedule(5) is None


@pytest.mark.parametrize("from_s", [-0.1, float("nan"), float("inf")])
def test_times_that_are_none_are_refused(from_s: float) -> None:
    with pytest.raises(ValueError, match="seconds from the stream's start"):
        first_block_from(from_s, nano(), nano().rollout)
