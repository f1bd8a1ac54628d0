"""The agreement of a set's pictures with their prompts is read from its manifest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from evalkit.datasets import LoadedSet
from evalkit.picture_checks import picture_agreement


def a_set(*checks: list[dict[str, Any]] | None) -> LoadedSet:
    samples = {
        f"s{index}": SimpleNamespace(entry=SimpleNamespace() if one is None else SimpleNamespace(checks=tuple(one)))
        for index, one in enumerate(checks)
    }
    return LoadedSet("genbench_short", "Short", "d", samples)  # type: ignore[arg-type]


def agreement(value: float | None, reason: str = "") -> list[dict[str, Any]]:
    return [{"name": "size", "value": 512}, {"name": "prompt_agreement", "value": value, "reason": reason}]


def test_cosines_are_averaged_and_counted() -> None:
    found = picture_agreement(a_set(agreement(0.3), agreement(0.2), agreement(None, "no model is set"), None))
    assert found["mean"] == pytest.approx(0.25)
    assert (found["lowest"], found["n"], found["of"]) == (0.2, 2, 4)
    assert found["by_sample"] == {"s0": 0.3, "s1": 0.2}
    assert found["reason"] == "no model is set; the set was built without this check"


def test_a_set_without_the_check_says_so() -> None:
    found = picture_agreement(a_set(None, [{"name": "size", "value": 1}]))
    assert (found["mean"], found["lowest"], found["n"]) == (None, None, 0)
    assert found["reason"] == "the set was built without this check"
