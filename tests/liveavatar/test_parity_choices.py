"""Choices in which paper and release differ, on the reference's own inputs: each value does what its name says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from liveavatar.config import RolloutOptions, paper_rollout, released_rollout, released_rollout_exactly, s2v_14b
from liveavatar.sizes import released_size
from liveavatar.streaming.flow import level_grid
from liveavatar.streaming.rollout import Rollout, stream_blocks
from liveavatar.streaming.text import text_for
from tests.liveavatar import golden
from tests.liveavatar.test_parity_streaming import NAME, given, official, recorded_offset, released, run, voice


def facts() -> dict:
    return golden.facts(NAME)


@torch.no_grad()
def stream(options: RolloutOptions, motion: Tensor | None, **arguments: object) -> Tensor:
    """All blocks of the golden stream [blocks, C, F, H, W] with options and arguments of one's own."""
    g, model = given(), official()
    text = text_for(model, g["in.context"][None], options)
    rollout = Rollout(
        model, options, text, g["in.ref"], facts()["frames_per_block"], motion, recorded_offset, **arguments
    )  # type: ignore[arg-type]  # fmt: skip
    voices = [voice(block) for block in range(len(g["in.noise"]))]
    blocks = stream_blocks(rollout, voices, lambda block: g["in.noise"][block : block + 1])
    return torch.cat([block.latents for block in blocks])


def differs(ours: Tensor, other: Tensor) -> list[bool]:
    """Per block: is it another result?"""
    return [not torch.allclose(one, two, atol=golden.TOLERANCE) for one, two in zip(ours, other, strict=True)]


@torch.no_grad()
def test_what_the_release_computes_again_and_again_is_the_same_function() -> None:
    """Text keys and values in each call, a prefill per step, absolute positions: the reference's result."""
    again = released(text_keys="each_call", prefill="each_step", positions="absolute")
    golden.assert_same(stream(again, given()["in.motion"]), given()["out.final"])


@torch.no_grad()
def test_text_is_embedded_once_per_stream_or_in_each_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, model = [], official()
    forward = model.text_embedding.forward
    monkeypatch.setattr(model.text_embedding, "forward", lambda x: (calls.append(1), forward(x))[1])
    blocks, steps = len(given()["in.noise"]), released().steps
    stream(released(text_keys="cached"), given()["in.motion"])
    assert len(calls) == 1
    calls.clear()
    stream(released(text_keys="each_call"), given()["in.motion"])
    assert len(calls) == blocks * steps + 2  # and the two prefills


@torch.no_grad()
@pytest.mark.parametrize("prefill", ["shared", "each_step"])
def test_a_sink_is_evaluated_once_or_once_per_step(monkeypatch: pytest.MonkeyPatch, prefill: str) -> None:
    calls, model = [], official()
    forward = type(model).prefill
    monkeypatch.setattr(type(model), "prefill", lambda *args: (calls.append(1), forward(*args))[1])
    options = released(prefill=prefill)
    stream(options, given()["in.motion"])
    assert len(calls) == 2 * (1 if prefill == "shared" else options.steps)


@torch.no_grad()
def test_a_second_stream_of_the_same_picture_and_prompt_needs_no_prefill(monkeypatch: pytest.MonkeyPatch) -> None:
    g, model = given(), official()
    text = model.encode_text(g["in.context"][None])
    first = Rollout(model, released(), text, g["in.ref"], facts()["frames_per_block"], g["in.motion"], recorded_offset)
    made = first.sink.newest
    monkeypatch.setattr(type(model), "prefill", lambda *_: pytest.fail("evaluated the sink again"))
    options = released(aas=False)
    shared = Rollout(
        model, options, text, g["in.ref"], facts()["frames_per_block"], g["in.motion"], recorded_offset, prefilled=made
    )  # fmt: skip
    golden.assert_same(shared.denoise(g["in.noise"][:1], voice(0))[0], g["out.final"][0])


@torch.no_grad()
def test_three_evaluations_are_the_first_three_of_four() -> None:
    """In every block: the same inputs and levels up to the last step, and the difference that the closed form gives.

    The fourth evaluation's cache is read by fourth evaluations alone, so nothing else changes. AAS is off: the switched
    sink would carry the small difference on.
    """
    steps = facts()["scheduler"]["steps"]
    g, rollouts = given(), []
    for options in (released(aas=False), released(aas=False, grid="release3", steps=steps - 1)):
        text = official().encode_text(g["in.context"][None])
        rollouts.append(
            Rollout(official(), options, text, g["in.ref"], facts()["frames_per_block"], g["in.motion"], recorded_offset)
        )
    assert rollouts[1].levels[:-1] == rollouts[0].levels[: steps - 1]
    evaluations: list[list[Tensor]] = [[], []]
    for made, rollout in zip(evaluations, rollouts, strict=True):
        velocity = rollout.velocity
        rollout.velocity = lambda *args, made=made, velocity=velocity: (made.append(velocity(*args)), made[-1])[1]  # type: ignore[method-assign]
    level = rollouts[0].levels[steps - 1]
    assert level == pytest.approx(g["in.sigmas"][-2].item(), abs=1e-6)
    for block in range(len(g["in.noise"])):
        four, three = (rollout.denoise(g["in.noise"][block : block + 1], voice(block)) for rollout in rollouts)
        v = evaluations[0][-steps:]
        for one, other in zip(v[:-1], evaluations[1][1 - steps :], strict=True):
            assert torch.equal(one, other)
        golden.assert_same(three - four, level * (v[-1] - v[-2]), 1e-6)
        assert (three - four).abs().max() <= level * (v[-1] - v[-2]).abs().max() + 1e-6


def test_the_released_last_step_moves_by_less_than_a_hundredth_of_a_velocity() -> None:
    assert level_grid(4, 3.0, "release")[3] == pytest.approx(0.0089286, abs=1e-6)


@torch.no_grad()
def test_the_moment_of_aas_is_the_named_block() -> None:
    blocks = len(given()["in.noise"])
    without = stream(released(aas=False), given()["in.motion"])
    for after in (1, 2, blocks - 1):
        changed = differs(stream(released(aas_after_blocks=after), given()["in.motion"]), without)
        assert changed == [False] * after + [True] * (blocks - after)


@torch.no_grad()
def test_the_content_of_aas_is_the_latent_or_what_a_codec_makes_of_it() -> None:
    seen = []

    def recode(latent: Tensor) -> Tensor:
        seen.append(latent)
        return 0.5 * latent

    ours = stream(released(aas_content="recoded", aas_after_blocks=2), given()["in.motion"], recode=recode)
    assert len(seen) == 1
    golden.assert_same(seen[0][0], ours[0][:, :1], 0)
    assert differs(ours, stream(released(aas_after_blocks=2), given()["in.motion"]))[2:] == [True] * (len(ours) - 2)
    same = stream(released(aas_content="recoded", aas_after_blocks=2), given()["in.motion"], recode=lambda latent: latent)
    golden.assert_same(same, stream(released(aas_after_blocks=2), given()["in.motion"]), 0)
    with pytest.raises(ValueError, match="aas_content='recoded' needs recode"):
        stream(released(aas_content="recoded"), given()["in.motion"])


@torch.no_grad()
def test_without_packed_motion_the_stream_has_no_motion_tokens() -> None:
    ours = stream(released(motion="none"), None)
    assert all(differs(ours, given()["out.final"]))
    with pytest.raises(ValueError, match="motion='still' needs"):
        stream(released(), None)
    with pytest.raises(ValueError, match="motion='none' takes no"):
        stream(released(motion="none"), given()["in.motion"])


@torch.no_grad()
def test_four_past_blocks_differ_from_three_once_there_are_four() -> None:
    ring = facts()["kv_cache_blocks"]
    blocks = len(given()["in.noise"])
    _, more = run(window_past=ring)
    assert differs(more, given()["out.final"]) == [False] * ring + [True] * (blocks - ring)


@torch.no_grad()
def test_noise_on_the_past_spares_the_first_block_and_follows_its_key() -> None:
    options = released(history_noise=0.1)
    ours = stream(options, given()["in.motion"], key=(0, "a"))
    assert differs(ours, given()["out.final"]) == [False] + [True] * (len(ours) - 1)
    golden.assert_same(stream(options, given()["in.motion"], key=(0, "a")), ours, 0)
    assert differs(stream(options, given()["in.motion"], key=(1, "a")), ours)[1]


@torch.no_grad()
def test_another_prompt_counts_from_its_block_on() -> None:
    g, model = given(), official()
    prompts = [model.encode_text(rows[None]) for rows in (g["in.context"], -g["in.context"])]
    results = []
    for changes_at in (len(g["in.noise"]), 3):
        rollout = Rollout(
            model, released(), prompts[0], g["in.ref"], facts()["frames_per_block"], g["in.motion"], recorded_offset
        )  # fmt: skip
        made = [
            rollout.denoise(g["in.noise"][block : block + 1], voice(block), text=prompts[block >= changes_at])
            for block in range(len(g["in.noise"]))
        ]
        results.append(torch.cat(made))
    golden.assert_same(results[0], g["out.final"])
    assert differs(*results) == [block >= 3 for block in range(len(results[0]))]


def test_presets_name_what_the_two_publications_do() -> None:
    exact, released_, paper = released_rollout_exactly(), released_rollout(), paper_rollout()
    assert s2v_14b().rollout == released_
    assert (exact.text_keys, exact.prefill, exact.positions, exact.rope_factors) == (
        "each_call", "each_step", "absolute", "half",
    )  # fmt: skip
    assert (exact.noise, exact.first_block) == ("clip", "release")
    assert (paper.grid, paper.window_past, paper.aas_after_blocks, paper.aas_content) == ("uniform", 4, 1, "recoded")
    assert (s2v_14b("paper").height, s2v_14b("paper").width) == (400, 720)
    with pytest.raises(ValueError, match="size='480p': allowed are 'release' and 'paper'"):
        s2v_14b("480p")


@pytest.mark.parametrize(
    ("picture", "size"),
    [((400, 720), (384, 704)), ((1080, 1920), (384, 704)), ((512, 512), (512, 512)), ((1024, 1024), (512, 512)),
     ((640, 960), (448, 640)), ((1920, 1080), (704, 384))],
)  # fmt: skip
def test_an_area_of_720x400_gives_the_released_sizes(picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert released_size(*picture, area=720 * 400) == size


def test_every_size_fits_its_area() -> None:
    for height in range(100, 2000, 170):
        for width in range(100, 2000, 130):
            h, w = released_size(height, width, 720 * 400)
            assert h % 64 == w % 64 == 0
            assert h * w <= 720 * 400
    with pytest.raises(ValueError, match="too long"):
        released_size(10, 100_000, 720 * 400)
    with pytest.raises(ValueError, match="at least 4096"):
        released_size(100, 100, 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"motion": "moving"}, "motion='moving': allowed are 'none' and 'still'"),
        ({"aas_switch": "now"}, "aas_switch='now'"),
        ({"history_noise": -1.0}, r"history_noise=-1\.0: must be 0 or more"),
        ({"still_frames": 72}, r"still_frames=72: the codec takes 1 \+ 4k frames"),
        ({"decode": "end"}, "set decoder='vae'"),
        ({"decode": "end", "decoder": "vae", "first_block": "release"}, "set first_block='whole'"),
        ({"rope_factors": "half"}, "set positions='absolute'"),
    ],
)
def test_values_that_do_not_exist_or_do_not_fit_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RolloutOptions(**change)
