"""Extension rules over one teacher: what is fed back, in which form, where the anchor stands - each with a known answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evalkit import speed
from evalkit.generator import GeneratorSetup, configured_method
from evalkit.methods.base import PARADIGM
from evalkit.methods.paradigms import CONTRASTS, PARADIGMS
from evalkit.methods.paradigms.clamped import ClampedPrefix, latent_fixed, latent_moving, pixel_moving
from evalkit.methods.paradigms.files import SHIPPED, TEACHER, problem_of
from evalkit.methods.paradigms.fused import FusedWindows
from evalkit.methods.paradigms.keyframe import Keyframe, matched_colours
from evalkit.methods.paradigms.method import PolicySession
from evalkit.methods.paradigms.packed import PackedContext
from evalkit.methods.paradigms.pixel_context import PixelContext, context_frames, masked
from evalkit.methods.paradigms.policy import Policy
from evalkit.methods.paradigms.ring import RingWindows
from evalkit.methods.paradigms.sampling import Sampler, clip_noise
from evalkit.methods.paradigms.teacher import BOTH, NEITHER, Guidance, three_branches, two_branches
from evalkit.methods.timelines import Stopwatch
from evalkit.video import open_video, read_audio
from liveavatar.streaming.flow import add_noise
from tests.evalkit.fake_checkouts import make_inputs
from tests.evalkit.tiny_teacher import Linear, material_of, tiny_teacher

FEW = Sampler(steps=2)
PACKED = {"motion": "packed", "motion_latents": 19}
PLAIN = {"motion": "plain", "motion_latents": 1}
POLICIES: list[tuple[Policy, dict[str, Any]]] = [
    (PackedContext(FEW), PACKED),
    (PixelContext(FEW), PLAIN),
    (ClampedPrefix(FEW), {}),
    (Keyframe(FEW), {}),
    (FusedWindows(FEW), {}),
    (RingWindows(FEW), {}),
    (replace(latent_moving(), sampler=FEW), {}),
    (replace(pixel_moving(), sampler=FEW), {}),
    (replace(latent_fixed(), sampler=FEW), {}),
]
IDS = ["packed", "pixel", "clamped", "keyframe", "fused", "ring", "latent-moving", "pixel-moving", "latent-fixed"]


@pytest.mark.parametrize(("policy", "motion"), POLICIES, ids=IDS)
def test_every_rule_fills_the_voice_and_depends_on_its_key(
    policy: Policy, motion: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tiny_teacher(monkeypatch, **motion)

    def run(seed: int) -> torch.Tensor:
        return torch.cat(list(policy.run(teacher, material_of(teacher, 30, seed), Stopwatch())), dim=2)

    made = run(0)
    assert made.shape[:2] == (1, 3)
    assert made.shape[3:] == (32, 32)
    assert made.shape[2] >= 120
    assert torch.isfinite(made).all()
    assert made.abs().max() <= 1
    other = run(0 if isinstance(policy, RingWindows) else 1)
    assert torch.equal(made, other) == isinstance(policy, RingWindows), "the same key gives the same frames"


# ------------------------------------------------------------------------------------------------------------- teacher


def test_guidance_of_one_is_the_last_branch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = tiny_teacher(monkeypatch)
    material, at = material_of(teacher, 6), torch.arange(6)[None]
    x = torch.randn(1, 16, 6, 4, 4)
    alone = teacher.velocity(x, 0.5, at, material, Guidance((BOTH,), ()))
    for guidance in (two_branches(1.0), three_branches(1.0, 1.0)):
        assert torch.allclose(teacher.velocity(x, 0.5, at, material, guidance), alone, atol=1e-5)
    without = teacher.velocity(x, 0.5, at, material, Guidance((NEITHER,), ()))
    twice = teacher.velocity(x, 0.5, at, material, two_branches(2.0))
    assert torch.allclose(twice, 2 * alone - without, atol=1e-4)
    assert not torch.allclose(alone, without, atol=1e-4), "voice and text are heard"
    with pytest.raises(ValueError, match="3 branches need 2 scales"):
        Guidance((NEITHER, NEITHER, BOTH), (1.0,))


def test_windows_evaluated_together_are_those_evaluated_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = tiny_teacher(monkeypatch)
    material = material_of(teacher, 40)
    x, at = torch.randn(19, 16, 4, 4, 4), torch.arange(19)[:, None] + torch.arange(4)
    together = teacher.velocity(x, 0.7, at, material, two_branches(1.5))
    for number in (0, 15, 16, 18):
        alone = teacher.velocity(x[number : number + 1], 0.7, at[number : number + 1], material, two_branches(1.5))
        assert torch.allclose(together[number], alone[0], atol=1e-4)


def test_each_latent_frame_hears_its_own_voice_and_a_context_before_the_voice_hears_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher = tiny_teacher(monkeypatch)
    material = material_of(teacher, 12)
    front = teacher.components.conditions(teacher.config.rollout)
    samples = np.random.default_rng(0)
    samples.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    voice = samples.normal(0, 0.1, round(12 * 4 / 25 * 16_000)).astype(np.float32)
    streamed = torch.cat([one.pooled for one in [*front.push(voice), *front.finish(4)]], dim=1)
    heard = teacher._heard(material, torch.arange(12)[None], Guidance((BOTH,), ()))
    assert torch.allclose(heard.pooled, streamed, atol=1e-5)
    before = teacher._heard(material, torch.tensor([[-6, -5, -4]]), Guidance((BOTH,), ()))
    assert torch.allclose(before.pooled[:, 1], before.pooled[:, 2], atol=1e-5)


# ----------------------------------------------------------------------------------------------------------- windowing


def euler(x: torch.Tensor, factor: float, sampler: Sampler) -> torch.Tensor:
    """The closed form of the linear velocity: each step multiplies."""
    for level, next_level in pairwise(sampler.levels()):
        x = x * (1 + (next_level - level) * factor)
    return x


@pytest.mark.parametrize("policy", [FusedWindows(Sampler(5)), RingWindows(Sampler(5))], ids=["fused", "ring"])
@pytest.mark.parametrize("latents", [6, 21, 40, 47])
def test_joint_windows_of_a_linear_velocity_are_one_long_window(
    policy: Any, latents: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = Linear(tiny_teacher(monkeypatch), 0.8)
    decoded: list[torch.Tensor] = []
    monkeypatch.setattr(linear, "decode", lambda x, before: decoded.append(x) or torch.zeros(1, 3, 4 * x.shape[2], 32, 32))
    material = material_of(linear, latents)
    list(policy.run(linear, material, Stopwatch()))
    noise = clip_noise(material.key, 0, (1, 16, latents, 4, 4))
    assert torch.allclose(torch.cat(decoded, dim=2), euler(noise, 0.8, policy.sampler), atol=1e-5)


@pytest.mark.parametrize("latents", [5, 21, 22, 37, 38, 200])
def test_fused_windows_cover_everything_and_the_last_ends_with_the_video(latents: int) -> None:
    policy = FusedWindows()
    starts = policy.starts(latents)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert starts[-1] + min(policy.window, latents) == latents
    assert all(later - earlier <= policy.window - policy.overlap for earlier, later in pairwise(starts))


def test_a_rings_windows_hold_every_frame_join_the_ends_and_move(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = RingWindows()
    places = policy.places(30, 0)
    assert set(places.flatten().tolist()) == set(range(30))
    assert {29, 0} <= set(places[-1].tolist()) or {29, 0} <= set(policy.places(30, 1)[-1].tolist())
    assert torch.equal(policy.places(30, 1), (places + 1) % 30)
    evaluations = places.numel() / 30
    assert evaluations == pytest.approx(12 / 9, abs=0.05), "as many as 12 frames that share 3"


# ------------------------------------------------------------------------------------------------------ clip extension


def calls_of(policy: Policy, monkeypatch: pytest.MonkeyPatch, latents: int = 50) -> tuple[Linear, list[torch.Tensor]]:
    """The calls of a rule to a linear teacher, and the pixels that it showed."""
    linear = Linear(tiny_teacher(monkeypatch), 0.5)
    material = material_of(linear, latents)
    return linear, list(policy.run(linear, material, Stopwatch()))


def test_clips_follow_each_other_and_hear_on(monkeypatch: pytest.MonkeyPatch) -> None:
    linear, shown = calls_of(PackedContext(FEW), monkeypatch)
    assert [part.shape[2] for part in shown] == [80, 80, 80]
    assert [call["at"][0, 0].item() for call in linear.calls] == [0, 0, 20, 20, 40, 40]
    assert linear.calls[0]["motion"] is None


def test_packed_context_is_the_last_73_frames_coded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    linear, shown = calls_of(PackedContext(FEW), monkeypatch)
    motion = linear.calls[2]["motion"]
    assert motion.shape[2] == 19
    assert torch.allclose(motion, linear.encode(shown[0][:, :, -73:]), atol=1e-5)


def test_a_clamped_prefix_is_clean_at_every_step_and_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    linear, shown = calls_of(ClampedPrefix(Sampler(3)), monkeypatch)
    first, later = linear.calls[0], linear.calls[3:6]
    assert (first["x"].shape[2], first["level"].tolist().count(0.0)) == (27, 1)
    prefix = linear.encode(shown[0][:, :, -13:])
    for call in later:
        assert call["x"].shape[2] == 27
        assert torch.equal(call["x"][:, :, :4], prefix)
        assert call["level"][:4].tolist() == [0, 0, 0, 0]
        assert len(set(call["level"][4:].tolist())) == 1
    assert later[0]["at"][0, 4].item() == 26, "the first new latent of the second clip"


def test_a_keyframes_momentum_is_noised_to_each_level_and_clean_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Keyframe(Sampler(3))
    linear, shown = calls_of(policy, monkeypatch)
    momentum = linear.encode(shown[0][:, :, -9:])
    noise = clip_noise((0, "s0"), 1, (1, 16, 21, 4, 4))
    for call, level in zip(linear.calls[3:6], policy.sampler.levels(), strict=False):
        wanted = add_noise(momentum, noise[:, :, :3], torch.tensor(level))
        assert torch.allclose(call["x"][:, :, :3], wanted, atol=1e-5)
    assert [part.shape[2] for part in shown] == [80, 72, 72]


def test_colours_are_matched_to_the_picture() -> None:
    draw = torch.Generator().manual_seed(0)
    picture = 0.3 * torch.randn(1, 3, 1, 32, 32, generator=draw) + torch.tensor([0.2, -0.1, 0.0]).view(1, 3, 1, 1, 1)
    pixels = 0.1 * torch.randn(1, 3, 8, 32, 32, generator=draw) - 0.3
    matched = matched_colours(pixels, picture, 1.0)
    for value in (torch.mean, torch.std):
        assert torch.allclose(value(matched, dim=(2, 3, 4)), value(picture, dim=(2, 3, 4)), atol=0.02)
    assert torch.equal(matched_colours(pixels, picture, 0.0), pixels)


def test_two_frames_of_context_are_masked_and_stand_behind_the_picture() -> None:
    picture, last = torch.zeros(1, 3, 1, 32, 32), torch.ones(1, 3, 2, 32, 32)
    frames = context_frames(picture, last)
    assert frames.shape[2] == 5
    assert frames.mean((0, 1, 3, 4)).tolist() == [0, 0, 0, 1, 1]
    hidden = masked(last, torch.Generator().manual_seed(0))
    assert (hidden == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(hidden[:, 0] == 0, hidden[:, 1] == 0), "whole pixels"


def test_hallo3s_rule_feeds_back_two_frames_as_one_latent(monkeypatch: pytest.MonkeyPatch) -> None:
    linear, shown = calls_of(PixelContext(FEW), monkeypatch, latents=24)
    assert [part.shape[2] for part in shown] == [48, 48]
    first, second = linear.calls[0]["motion"], linear.calls[2]["motion"]
    assert first.shape[2] == second.shape[2] == 1
    assert not torch.equal(first, second)


def test_contrasts_change_one_thing_each(monkeypatch: pytest.MonkeyPatch) -> None:
    base, pixels, fixed = (replace(make(), sampler=FEW) for make in (latent_moving, pixel_moving, latent_fixed))
    coded: list[int] = []
    real = Linear.encode
    monkeypatch.setattr(Linear, "encode", lambda self, x: coded.append(x.shape[2]) or real(self, x))
    with_latents, _ = calls_of(base, monkeypatch)
    assert coded == [], "nothing leaves latent space"
    with_pixels, _ = calls_of(pixels, monkeypatch)
    assert coded == [17, 17], "16 frames, and the one before them for the codec"
    staying, _ = calls_of(fixed, monkeypatch)
    for one, other in ((with_latents, with_pixels), (with_latents, staying)):
        assert [call["at"].tolist() for call in one.calls] == [call["at"].tolist() for call in other.calls]
    assert {call["anchor_time"] for call in with_latents.calls + with_pixels.calls} == {None}
    assert {call["anchor_time"] for call in staying.calls} == {28.0}
    assert [call["times"][-1].item() for call in staying.calls] == [19, 19, 36, 36, 53, 53]
    assert torch.equal(with_latents.calls[2]["x"], staying.calls[2]["x"]), "the same noise and the same context"


def test_a_staying_anchor_is_where_a_moving_one_is_beside_the_first_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    # Equal to rounding: of float32, not of what a processor may decode in.
    monkeypatch.setattr("liveavatar.model.light_decoder.has_matrix_units", lambda: False)
    teacher = tiny_teacher(monkeypatch)
    material = material_of(teacher, 20)
    rules = [replace(make(), sampler=FEW) for make in (latent_moving, latent_fixed)]
    first = [next(rule.run(teacher, material, Stopwatch())) for rule in rules]
    assert torch.allclose(first[0], first[1], atol=1e-4)


# ------------------------------------------------------------------------------------------------ sessions and methods


def test_a_session_writes_exactly_the_voices_frames_with_the_voice_and_a_timeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tiny_teacher(monkeypatch, **PACKED)
    session = PolicySession(PackedContext(FEW), teacher, PARADIGMS["wan_s2v"])
    inputs = make_inputs(tmp_path / "in", seconds=3.9)
    made = session.generate(inputs, 0, tmp_path)
    assert made.frames == 98
    with open_video(made.video) as video:
        assert (video.info.width, video.info.height, video.info.fps) == (32, 32, 25)
    assert len(read_audio(made.video)) == pytest.approx(3.9 * 16_000, abs=700)
    timeline = speed.read_timeline(made.timeline)
    measured = speed.measure(timeline, 25.0, warmup_blocks=0)
    assert (measured.frames, measured.blocks) == (98, 2)
    assert measured.latency_first < timeline.done_s
    assert made.details["steps"] == 2
    assert made.details["official_steps"] == 40
    assert "not the system" in made.details["note"]
    with pytest.raises(NotImplementedError, match="whole voice files only"):
        session.listen(inputs, 0)


def test_names_and_titles_never_pass_for_the_systems() -> None:
    for family, schemes in (("paradigm", PARADIGMS), ("contrast", CONTRASTS)):
        for name in schemes:
            method = configured_method(f"{family}:{name}", GeneratorSetup())
            assert method.kind == PARADIGM
            assert "nano" in method.title
    assert {scheme.of for scheme in PARADIGMS.values()} == {
        "Ditto", "EchoMimic-V2", "Hallo3", "StableAvatar", "OmniAvatar", "Wan-S2V", "InfiniteTalk", "Live Avatar",
    }  # fmt: skip
    assert PARADIGMS["wan_s2v"].title == "Packed context (scheme of Wan-S2V, nano)"


def test_missing_weights_name_the_files_and_the_command(tmp_path: Path) -> None:
    setup = GeneratorSetup(assigned=(f"paradigms.all.weights={tmp_path}",))
    problem = configured_method("paradigm:wan_s2v", setup).problem("nano")
    assert "teacher, packed" in problem
    assert "python -m evalkit.methods.paradigms.training --help" in problem
    assert "nano only" in configured_method("paradigm:wan_s2v", setup).problem("s2v-14b")
    assert "packed" not in configured_method("contrast:pixel_moving", setup).problem("nano")


def test_echomimics_scheme_keeps_its_cap(tmp_path: Path) -> None:
    method = configured_method("paradigm:echomimic_v2", GeneratorSetup())
    assert method.longest_s == 14.0
    assert "336" in method.longest_reason


def test_the_shipped_teacher_belongs_to_the_shipped_generator() -> None:
    how = "export it again: python -m evalkit.methods.paradigms.training export --weights FOLDER teacher=TRAINING"
    assert problem_of(SHIPPED, (TEACHER,)) == "", how
    for name in ("omniavatar", "infinitetalk", "stableavatar", "echomimic_v2"):
        assert configured_method(f"paradigm:{name}", GeneratorSetup()).problem("nano") == ""
    files = [file.stat().st_size for file in SHIPPED.glob("*.safetensors")]
    assert sum(files) <= 8_000_000, "all paradigms together stay small"
