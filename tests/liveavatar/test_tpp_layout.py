"""Layouts, variants, plans: who does what, by name, and what cannot be."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
import torch

from liveavatar import cli
from liveavatar.config import RolloutOptions, nano, s2v_14b
from liveavatar.model.transformer import S2VTransformer
from liveavatar.tpp.footprint import device_bytes
from liveavatar.tpp.layout import balanced, parse_layout
from liveavatar.tpp.message import MessageForm
from liveavatar.tpp.variants import ROWS, TABLE_3, names, variant

OPTIONS = RolloutOptions()


@pytest.mark.parametrize("devices", range(1, 6))
def test_any_number_of_devices_up_to_one_more_than_steps_is_a_layout(devices: int) -> None:
    layout = balanced(4, devices)
    assert layout.devices == devices
    assert [step for stage in layout.stages for step in stage.steps] == [0, 1, 2, 3]
    assert [stage.decodes for stage in layout.stages] == [False] * (devices - 1) + [True]
    layout.check(OPTIONS)


@pytest.mark.parametrize("decode", [0.2, 1.0, 2.5])
@pytest.mark.parametrize("devices", range(1, 6))
def test_balanced_means_that_no_other_cut_has_a_faster_slowest_stage(devices: int, decode: float) -> None:
    steps = [1.0, 1.3, 0.7, 1.1]
    layout = balanced(4, devices, steps, decode)

    def slowest(stages: list[list[float]]) -> float:
        return max(sum(stage) for stage in stages)

    costs = [*steps, decode]
    ours = slowest([[steps[s] for s in stage.steps] + [decode] * stage.decodes for stage in layout.stages])
    cuts = itertools.combinations(range(1, 5), devices - 1)
    every = [[costs[a:b] for a, b in itertools.pairwise([0, *cut, 5])] for cut in cuts]
    assert ours == pytest.approx(min(map(slowest, every)))


def test_roles_say_whom_to_speak_to() -> None:
    roles = parse_layout("0-1*2|2|3+vae").roles
    names_by_rank = ["denoise 0-1, part 1 of 2", "denoise 0-1, part 2 of 2", "denoise 2", "denoise 3 + decode"]
    assert [role.name for role in roles] == names_by_rank
    assert [(role.source, role.target) for role in roles] == [(None, 2), (None, 2), (0, 3), (2, None)]
    assert [role.is_front for role in roles] == [True, False, False, False]
    assert [role.is_end for role in roles] == [False, False, False, True]
    assert [role.members for role in roles[:2]] == [(0, 1), (0, 1)]


@pytest.mark.parametrize("spec", ["0|1|2|3|vae", "0-1|2-3+vae", "0-3*4|vae", "0-3+vae", "0|1"])
def test_a_layout_is_written_as_it_was_read(spec: str) -> None:
    assert parse_layout(spec).spec == spec


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("0|2|3|vae", "after step 0 comes step 1, not 2"),
        ("vae|0-3", "the first stage must make step 0"),
        ("0-1+vae|2-3", "only the last stage decodes"),
        ("0-3|vae*2", "'vae\\*2' is no stage"),
        ("0-3||vae", "'' is no stage"),
        ("3-0|vae", "run backwards"),
        ("0|1|x", "'x' is no stage"),
    ],
)
def test_what_cannot_be_a_pipeline_is_refused(spec: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_layout(spec)


def test_options_that_a_layout_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="finishes each block before the next begins"):
        parse_layout("0-1|2-3|vae").check(replace(OPTIONS, cache="clean"))
    with pytest.raises(ValueError, match="has 3 steps, the rollout 4"):
        parse_layout("0-2|vae").check(OPTIONS)
    with pytest.raises(ValueError, match="needs decode='block'"):
        parse_layout("0-3|vae").check(replace(OPTIONS, decode="end", decoder="vae"))
    with pytest.raises(ValueError, match="give 1 to 5"):
        balanced(4, 6)


def test_the_rows_of_the_papers_table_3() -> None:
    """Devices and evaluations per block as printed there."""
    printed = {"no-tpp": (2, 5), "sp4": (5, 5), "no-vae-parallel": (4, 4), "no-dmd": (2, 80), "tpp": (5, 4)}
    made = {name: variant(name, OPTIONS) for name in TABLE_3}
    assert {name: (v.layout.devices, v.options.evaluations) for name, v in made.items()} == printed
    assert variant("tpp3", OPTIONS).layout.spec == "0|1|2|vae"
    assert variant("tpp3", OPTIONS).options.evaluations == 3


def test_names_numbers_and_specs_all_mean_layouts() -> None:
    for name in names(4):
        variant(name, OPTIONS).layout.check(variant(name, OPTIONS).options)
    assert variant("sp2", OPTIONS).layout.spec == "0-3*2|vae"
    assert variant("0-1|2-3|vae", OPTIONS).options == OPTIONS
    assert variant("2", OPTIONS, [1.0] * 4, 4.0).layout.spec == "0-3|vae"
    with pytest.raises(ValueError, match="give tpp, no-vae-parallel"):
        variant("tppp", OPTIONS)
    assert set(TABLE_3) < set(ROWS)


# ------------------------------------------------------------------------------------------------------------- footprint


def test_what_a_device_holds_follows_from_its_role() -> None:
    profile = s2v_14b()
    held = device_bytes(profile, parse_layout("0|1-2|3|vae"), profile.rollout, 2)
    assert [sorted(parts) for parts in held] == [
        ["caches", "codec", "encoders", "transformer"],
        ["caches", "codec", "transformer"],
        ["caches", "codec", "transformer"],
        ["codec"],
    ]
    assert held[0]["transformer"] == 2 * 16_295_755_609  # the published number of parameters
    sink = 2 * held[0]["caches"] - held[1]["caches"]  # one sink for both steps of a stage
    assert 0 < sink < held[0]["caches"] / 4
    shared = device_bytes(profile, parse_layout("0-3*4|vae"), profile.rollout, 2)
    whole = device_bytes(profile, parse_layout("0-3|vae"), profile.rollout, 2)
    assert shared[1]["caches"] == whole[0]["caches"] // 4


def test_nanos_footprint_is_its_own_networks() -> None:
    profile = nano()
    with torch.device("meta"):
        count = sum(p.numel() for p in S2VTransformer(profile.transformer).parameters())
    (held,) = device_bytes(profile, parse_layout("0-3+vae"), profile.rollout, 4)
    assert held["transformer"] == 4 * count
    assert "encoders" not in held


def test_a_message_is_one_latent_block_and_little_else() -> None:
    profile = nano()
    latent_block = 4 * 48 * 3 * 16 * 12
    decode = MessageForm(profile, None, torch.float32)
    assert decode.part_bytes == {"header": 48, "samples": 2 * 7680, "latents": latent_block}
    assert decode.nbytes < 1.2 * latent_block
    assert MessageForm(profile, profile.transformer, torch.float32).nbytes < 1.3 * latent_block


# ------------------------------------------------------------------------------------------------------------------ verb


def test_plan_prints_who_does_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tpp", "plan", "--layout", "0-1|2-3|vae", "--t-dit", "1", "--t-vae", "1", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [row["stage"] for row in made["rows"]] == ["denoise 0-1", "denoise 2-3", "decode"]
    assert [row["sends"] and row["sends"]["to"] for row in made["rows"]] == [1, 2, None]
    assert made["expected"]["fps"] == pytest.approx(6.0)  # 12 frames in the 2 s that a stage of two steps takes
    assert cli.main(["tpp", "plan", "--layout", "tpp"]) == 0
    assert "frames to the viewer" in capsys.readouterr().out


def test_a_layout_that_cannot_be_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tpp", "plan", "--layout", "0|2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
