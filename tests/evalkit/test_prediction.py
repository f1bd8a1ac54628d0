"""Speed over several devices, predicted: closed forms from given times, and times that are really measured."""

from __future__ import annotations

import pytest

from evalkit.generator import GeneratorSetup
from evalkit.methods import get_method, prediction
from evalkit.methods.base import Method
from liveavatar.config import profile
from liveavatar.tpp.variants import TABLE_3

ROWS = {
    "live_avatar_clean_kv": (2, 5, 12 / 2.5),
    "live_avatar_sp4": (5, 5, 12 / (2.5 / 4)),
    "live_avatar_no_vae_parallel": (4, 4, 12 / 0.75),
    "live_avatar_no_dmd": (2, 80, 12 / 40),
    "live_avatar": (5, 4, 12 / 0.5),
}
TIMES = {"t_dit": [0.5] * 4, "t_vae": 0.25, "block_frames": 12, "playback_fps": 25.0}


@pytest.mark.parametrize(("name", "expected"), ROWS.items())
def test_a_row_has_the_papers_devices_and_evaluations_and_the_rate_of_its_slowest_stage(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: tuple[int, int, float]
) -> None:
    monkeypatch.setattr(prediction, "_measured", lambda *_: TIMES)
    found = get_method(name).predicted("s2v-14b", 20)
    devices, evaluations, rate = expected
    assert (found["devices"], found["nfe"]) == (devices, evaluations)
    assert found["fps_predicted"] == pytest.approx(rate)
    assert ("upper bound" in found["about"]) == (name == "live_avatar_sp4")


def test_the_papers_system_waits_for_four_evaluations_and_a_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "_measured", lambda *_: {**TIMES, "t_dit": [0.5] * 4, "t_vae": 0.5})
    found = get_method("live_avatar").predicted("s2v-14b", 20)
    assert found["ttff_predicted"] == pytest.approx(5 * 0.5 + 0.5 / 24)


def test_every_row_of_the_paper_has_a_method() -> None:
    layouts = [getattr(get_method(name), "layout") for name in ROWS]  # noqa: B009 - not every method has one
    assert layouts == list(TABLE_3)


@pytest.mark.parametrize("name", ["truth", "live_avatar_no_aas"])
def test_a_method_without_a_layout_is_not_predicted(name: str) -> None:
    with pytest.raises(NotImplementedError, match="no layout over several devices"):
        get_method(name).predicted("nano", 1)


@pytest.mark.parametrize(("name", "size"), [("nano", ""), ("s2v-14b", "48x64")])
def test_times_are_measured_here(name: str, size: str) -> None:
    method: Method = get_method("live_avatar")
    method.configure(GeneratorSetup("random-tiny", size=size))
    found = method.predicted(name, 1)
    assert found["t_dit"] > 0
    assert found["t_vae"] > 0
    slowest = max(found["t_dit"], found["t_vae"])
    assert found["fps_predicted"] <= profile(name).block_frames / slowest * 1.01
    assert 0 < found["busy_share"] <= 1
