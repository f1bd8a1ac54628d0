"""The form that users run equals the form written for reading: to float32 rounding, over several blocks."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from liveavatar.checkpoints.random_weights import fill_randomly
from liveavatar.config import nano
from liveavatar.model.light_decoder import LightDecoder, hold_for_cpu
from liveavatar.model.prepared import fuse_projections, hold_by_column
from liveavatar.model.transformer import S2VTransformer
from tests.liveavatar.plain_cases import CASES, Case, case

BLOCKS = 6  # the window is full, and AAS has switched the sink
TOLERANCE = 2e-5  # as for the stored vectors; real mistakes show as 1e-3 or more


@torch.no_grad()
def latents(stream: object, case: Case, blocks: int = BLOCKS) -> torch.Tensor:
    return torch.cat([stream(case.noise(block), case.voice(block)) for block in range(blocks)])  # type: ignore[operator]


SINKS = [{}, {"aas": False}, {"rolling_rope": False}, {"aas": False, "rolling_rope": False}]


@pytest.mark.parametrize("changed", SINKS, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_fast_stream_equals_the_plain_one(name: str, changed: dict[str, object]) -> None:
    c = case(name)
    with torch.no_grad():
        fast, plain = latents(c.fast(**changed), c), latents(c.plain(**changed), c)
    torch.testing.assert_close(fast, plain, atol=TOLERANCE * float(plain.abs().max().clamp(min=1)), rtol=0)
    assert (plain[1:] - plain[:-1]).abs().max() > 0.1  # blocks differ, so equality says something


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_the_comparison_would_notice_a_switch_left_out(name: str) -> None:
    c = case(name)
    plain = latents(c.plain(), c)
    for changed in ({"aas": False}, {"rolling_rope": False}, {"window_past": 2}):
        assert (latents(c.fast(**changed), c) - plain).abs().max() > 50 * TOLERANCE, changed


@torch.no_grad()
@pytest.mark.parametrize("form", [fuse_projections, hold_by_column])
def test_prepared_forms_keep_names_and_values(form: object) -> None:
    c = case("nano")
    model: S2VTransformer = form(deepcopy(c.model))  # type: ignore[operator]
    before, after = c.model.state_dict(), model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    stream = c.rollout(model).denoise
    torch.testing.assert_close(latents(stream, c, 2), latents(c.fast(), c, 2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("has_units", "wanted"), [(False, 1e-5), (True, 1e-2)])
def test_the_light_decoder_in_its_form_for_a_cpu(monkeypatch: pytest.MonkeyPatch, has_units: bool, wanted: float) -> None:
    monkeypatch.setattr("liveavatar.model.light_decoder.has_matrix_units", lambda: has_units)
    config = nano().codec
    plain = LightDecoder(config)
    fill_randomly(plain, torch.device("cpu"), seed=0)
    held = hold_for_cpu(deepcopy(plain))
    assert held.is_half == has_units
    assert not plain.is_half
    latents = torch.randn(1, config.z_dim, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        truth, made = plain(latents), held(latents)
    assert made.dtype == torch.float32
    assert (made - truth).square().mean().sqrt() < wanted * truth.square().mean().sqrt()
    assert (made != truth).any() or not has_units
