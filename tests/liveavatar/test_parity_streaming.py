"""The streaming rollout against the reference implementation: the released behaviour, through the code that users run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from liveavatar.config import RolloutOptions, released_rollout
from liveavatar.model.audio import Voice, speakers
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.flow import euler_step, level_grid, model_time
from liveavatar.streaming.rollout import Rollout, stream_blocks
from tests.liveavatar import golden

NAME = "s2v_causal"


@cache
def given() -> dict[str, Tensor]:
    return golden.tensors(NAME)


@cache
def official() -> S2VTransformer:
    return golden.model(NAME)


def released(**changed: object) -> RolloutOptions:
    """The released options with this golden file's schedule and moment of AAS."""
    facts = golden.facts(NAME)
    schedule = facts["scheduler"]
    described = {
        "steps": schedule["steps"],
        "shift": schedule["shift"],
        "window_past": facts["kv_cache_blocks"] - 1,
        "aas_after_blocks": facts["sink_refresh_before_block"],
    }
    return replace(released_rollout(), **(described | changed))


def recorded_offset(block: int, step: int) -> int:
    """The sink distance that the reference drew for this evaluation; blocks after the last are its far call."""
    blocks, steps = golden.facts(NAME)["num_blocks"], golden.facts(NAME)["scheduler"]["steps"]
    return int(given()["in.sink_rel_dist"][steps * block + step if block < blocks else blocks * steps])


@torch.no_grad()
def open_rollout(**changed: object) -> Rollout:
    g, model = given(), official()
    per_block, text = golden.facts(NAME)["frames_per_block"], model.encode_text(g["in.context"][None])
    return Rollout(model, released(**changed), text, g["in.ref"], per_block, g["in.motion"], recorded_offset)


@torch.no_grad()
def voice(block: int) -> Voice:
    """One block's audio, encoded on its own."""
    frames = 4 * golden.facts(NAME)["frames_per_block"]
    return official().encode_audio(given()["in.audio"][..., frames * block : frames * (block + 1)])


@torch.no_grad()
def run(**changed: object) -> tuple[Rollout, Tensor]:
    """All blocks through the streaming loop: the rollout as left, and the latents [blocks, C, F, H, W]."""
    rollout, noise = open_rollout(**changed), given()["in.noise"]
    voices = [voice(block) for block in range(len(noise))]
    latents = [done.latents for done in stream_blocks(rollout, voices, lambda block: noise[block : block + 1])]
    return rollout, torch.cat(latents)


@torch.no_grad()
@pytest.mark.parametrize("positions", ["absolute", "bounded"])
def test_released_rollout_is_the_reference(positions: str) -> None:
    _, latents = run(positions=positions)
    golden.assert_same(latents, given()["out.final"])


@torch.no_grad()
def test_released_rollout_with_half_precision_rotations_is_the_reference() -> None:
    _, latents = run(positions="absolute", rope_factors="half")
    golden.assert_same(latents, given()["out_fp16rope.final"])
    assert (latents - given()["out.final"]).abs().max() > golden.TOLERANCE


@torch.no_grad()
def test_every_evaluation_alone_is_the_reference() -> None:
    """Each call on the recorded input, so that no error can hide behind an earlier one."""
    g, rollout = given(), open_rollout()
    for block, (inputs, velocities) in enumerate(zip(g["out.x_in"], g["out.velocity"], strict=True)):
        for step, (x, velocity) in enumerate(zip(inputs, velocities, strict=True)):
            golden.assert_same(rollout.velocity(x[None], step, voice(block))[0], velocity)
            stepped = euler_step(x, velocity, *g["in.sigmas"][step : step + 2].tolist())
            golden.assert_same(stepped, inputs[step + 1] if step + 1 < len(inputs) else g["out.final"][block])
        rollout._finish(g["out.final"][block : block + 1])


@torch.no_grad()
def test_prefill_is_the_reference() -> None:
    g, sink = given(), open_rollout().sink
    golden.assert_same(sink.keys[0].transpose(1, 2), g["mid.cond_k_layer0"])
    golden.assert_same(sink.values[-1].transpose(1, 2), g["mid.cond_v_last"])


@torch.no_grad()
def test_caches_after_the_last_block_are_the_reference() -> None:
    rollout, _ = run(positions="absolute")
    golden.assert_same(rollout.sink.keys[0].transpose(1, 2), given()["mid.cond_k_layer0_after_refresh"])
    ring = rollout.caches[1].keys[1, :, :, rollout.sink.tokens :]
    golden.assert_same(ring[:, :, : rollout.caches[1].block_tokens].transpose(1, 2), given()["mid.kv_k_layer1_step1_end"])


@torch.no_grad()
@pytest.mark.parametrize("positions", ["absolute", "bounded"])
def test_a_block_far_into_the_stream_is_the_reference(positions: str) -> None:
    facts = golden.facts(NAME)["far_call"]
    rollout, _ = run(positions=positions)
    rollout.next_block = facts["block_index"]
    far = rollout.velocity(given()["in.noise"][:1], facts["step_index"], voice(facts["audio_block"]))
    golden.assert_same(far[0], given()["out.far_velocity"])


@torch.no_grad()
def test_two_speakers_with_regions_are_the_reference() -> None:
    g, step = given(), golden.facts(NAME)["two_actor_call"]["step_index"]
    rollout = open_rollout()
    rollout.sink.offset = lambda block, step: int(g["in.sink_rel_dist"][-1])
    local, pooled = (torch.cat(parts) for parts in zip(*((v.local, v.pooled) for v in map(voice, (0, 1))), strict=True))
    both = speakers(local, pooled, g["in.two_actor_mask"])
    golden.assert_same(rollout.velocity(g["in.noise"][:1], step, both)[0], g["out.two_actor_velocity"])


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [{"rolling_rope": False}, {"aas": False}, {"cache": "clean"}, {"grid": "uniform"}, {"grid": "shifted"},
     {"sink_position": "distance"}],
    ids=str,
)  # fmt: skip
def test_each_released_choice_matters(change: dict[str, object]) -> None:
    """The golden file would notice if a choice were ignored."""
    _, latents = run(**change)
    assert (latents - given()["out.final"]).abs().max() > 1e-3


@torch.no_grad()
def test_rolling_motion_tokens_change_later_blocks_only() -> None:
    (_, fixed), (_, rolling) = run(), run(motion_position="rolling")
    golden.assert_same(rolling[0], fixed[0], 0)
    assert (rolling[1] - fixed[1]).abs().max() > 1e-4


@torch.no_grad()
def test_dropping_the_last_step_changes_a_block_by_its_small_share() -> None:
    """Three evaluations differ from four by level 3 times the difference of the last two velocities, exactly."""
    three = open_rollout(grid="release3", steps=released().steps - 1)
    short = three.denoise(given()["in.noise"][:1], voice(0))[0]
    velocities, level = given()["out.velocity"][0], given()["in.sigmas"][-2]
    golden.assert_same(short - given()["out.final"][0], level * (velocities[-1] - velocities[-2]))


def scheduler_cases() -> list[dict[str, int]]:
    return golden.facts("scheduler")["cases"] if golden.FOLDER.is_dir() else [{"shift": 3, "steps": 4}]


@pytest.mark.parametrize("case", scheduler_cases(), ids=str)
def test_released_grid_and_its_steps_are_the_scheduler(case: dict[str, int]) -> None:
    expected, name = golden.tensors("scheduler"), f"shift{case['shift']}_steps{case['steps']}"
    levels = level_grid(case["steps"], case["shift"], "release")
    golden.assert_same(torch.tensor(levels), expected[f"{name}.sigmas"], 1e-6)
    golden.assert_same(torch.tensor([model_time(level) for level in levels[:-1]]), expected[f"{name}.timesteps"], 1e-3)
    x = expected[f"{name}.trajectory"][0]
    for step, velocity in enumerate(expected[f"{name}.velocities"]):
        x = euler_step(x, velocity, levels[step], levels[step + 1])
        golden.assert_same(x, expected[f"{name}.trajectory"][step + 1], 1e-6)


def test_rollout_times_are_the_recorded_ones() -> None:
    rollout = open_rollout()
    assert [model_time(level) for level in rollout.levels[:-1]] == given()["in.timesteps"].tolist()


def test_three_step_grid_is_the_released_one_without_its_last_step() -> None:
    four = level_grid(4, 3.0, "release")
    assert level_grid(3, 3.0, "release3") == (*four[:3], 0.0)


def test_uniform_grid_is_the_papers() -> None:
    assert level_grid(4, 3.0, "uniform") == pytest.approx((1, 0.75, 0.5, 0.25, 0))


def test_drawn_sink_distances_follow_their_key_and_fill_their_range() -> None:
    g, model = given(), official()
    text = model.encode_text(g["in.context"][None])
    one, same, other = (
        Rollout(model, released(), text, g["in.ref"], golden.facts(NAME)["frames_per_block"], g["in.motion"], key=key).sink
        for key in ((0, "a"), (0, "a"), (1, "a"))
    )
    per_block = golden.facts(NAME)["frames_per_block"]
    calls = [(block, step) for block in range(20, 100) for step in range(4)]
    drawn = [one.position(*call) - per_block * call[0] for call in calls]
    assert drawn == [same.position(*call) - per_block * call[0] for call in calls]
    assert drawn != [other.position(*call) - per_block * call[0] for call in calls]
    assert (min(drawn), max(drawn)) == (4, 30)
    assert one.position(0, 0) == max(30, one.offset(0, 0))
