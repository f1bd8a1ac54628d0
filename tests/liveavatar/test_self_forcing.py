"""Three ways, one gradient; the masked clip call and the cached one are the same function; history is a constant."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.flow import level_grid
from liveavatar.training.clip_network import ClipConditions, ClipNetwork
from liveavatar.training.recipes import SelfForcingOptions
from liveavatar.training.self_forcing import RolloutPlan, roll_out, student_backward
from tests.liveavatar.tiny import tiny_model, tiny_profile

BLOCKS, BATCH, SIZE = 6, 2, (4, 4)  # more blocks than the window holds
FRAMES = 3 * BLOCKS
LEVELS = level_grid(4, 0.5)[:-1]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@functools.cache
def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def transformer(predicts: str, dtype: torch.dtype) -> S2VTransformer:
    """Every weight random: nothing is hidden behind a zero."""
    profile = tiny_profile()
    profile = replace(profile, transformer=replace(profile.transformer, predicts=predicts))
    torch.manual_seed(0)  # some of the model's own first values come from the global generator
    return tiny_model(profile).to(dtype).requires_grad_(True)


def clip_network(model: S2VTransformer) -> ClipNetwork:
    return ClipNetwork(model, SIZE, FRAMES, block_latents=3, window_past=3, distance=9)


def encode(model: S2VTransformer, dtype: torch.dtype) -> ClipConditions:
    c = model.config
    rows = random(BATCH, 1, c.audio_dim, 4 * FRAMES, seed=1, dtype=dtype)
    text = model.encode_text(random(BATCH, 5, c.text_dim, seed=2, dtype=dtype))
    return ClipConditions(random(BATCH, 16, 1, *SIZE, seed=3, dtype=dtype), model.encode_audio(rows), text)


def plan(exit_step: int, dtype: torch.dtype, **options: object) -> RolloutPlan:
    noises = [random(BATCH, 16, FRAMES, *SIZE, seed=10 + step, dtype=dtype) for step in range(len(LEVELS))]
    return RolloutPlan(LEVELS, exit_step, noises, SelfForcingOptions(**options))  # type: ignore[arg-type]


def pull(clip: Tensor) -> Tensor:
    """A gradient that depends on the whole clip, as scores of a clip do."""
    return (clip - clip.mean(2, keepdim=True) + 0.3 * clip.flip(2)).tanh()


def clip_and_gradient(
    exit_step: int, dtype: torch.dtype, predicts: str = "residual", **options: object
) -> tuple[Tensor, Tensor]:
    model = transformer(predicts, dtype)
    clip = student_backward(clip_network(model), lambda: encode(model, dtype), plan(exit_step, dtype, **options), pull)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 50
    return clip, torch.cat([g.flatten() for g in gradients])


def assert_same(got: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], tolerance: float) -> None:
    for one, other in zip(got, wanted, strict=True):
        assert other.abs().max() > 0
        assert (one - other).abs().max() <= tolerance * max(1.0, other.abs().max().item())


@pytest.mark.parametrize("exit_step", range(4))
@pytest.mark.parametrize("transition", ["renoise", "euler"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_three_forms_make_one_clip_and_one_gradient(exit_step: int, transition: str, dtype: torch.dtype) -> None:
    wanted = clip_and_gradient(exit_step, dtype, form="sequential", transition=transition)
    for form in ("blockwise", "parallel"):
        got = clip_and_gradient(exit_step, dtype, form=form, transition=transition)
        assert_same(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("history", ["clean", "exit_level"])
def test_block_by_block_forms_agree_on_other_histories(history: str) -> None:
    for exit_step in range(4):
        got = clip_and_gradient(exit_step, torch.float64, form="blockwise", history=history)
        wanted = clip_and_gradient(exit_step, torch.float64, form="sequential", history=history)
        assert_same(got, wanted, 1e-10)


def test_three_forms_agree_where_the_network_predicts_velocities() -> None:
    wanted = clip_and_gradient(2, torch.float64, "velocity", form="sequential")
    for form in ("blockwise", "parallel"):
        assert_same(clip_and_gradient(2, torch.float64, "velocity", form=form), wanted, 1e-10)


def test_gradients_through_history_are_another_gradient_of_the_same_clip() -> None:
    clip, gradient = clip_and_gradient(2, torch.float64)
    same_clip, other = clip_and_gradient(2, torch.float64, history_grad=True)
    assert torch.equal(clip, same_clip)
    assert (gradient - other).norm() > 1e-3 * gradient.norm()


@pytest.mark.parametrize("history", ["clean", "exit_level"])
def test_other_histories_make_other_clips_from_the_second_block_on(history: str) -> None:
    dtype = torch.float64
    model = transformer("residual", dtype)
    with torch.no_grad():
        ours, theirs = (
            roll_out(clip_network(model), encode(model, dtype), plan(2, dtype, form="sequential", history=kind))
            for kind in ("per_level", history)
        )
    assert torch.equal(ours[:, :, :3], theirs[:, :, :3])
    assert (ours[:, :, 3:] - theirs[:, :, 3:]).abs().max() > 1e-3


@pytest.mark.parametrize("form", ["sequential", "parallel"])
def test_no_gradient_of_a_block_reaches_an_earlier_block(form: str) -> None:
    """Seen at the voice: only block 4's own frames and what its rows overlap may move block 4's clip."""
    dtype = torch.float64
    model = transformer("residual", dtype)
    conditions = encode(model, dtype)
    voice = replace(conditions.voice, local=conditions.voice.local.detach().requires_grad_(True))
    clip = roll_out(clip_network(model), replace(conditions, voice=voice), plan(1, dtype, form=form))
    clip[:, :, 12:15].square().sum().backward()
    reached = voice.local.grad.abs().sum((0, 2, 3)) > 0  # type: ignore[union-attr]
    assert reached.tolist() == [12 <= frame < 15 for frame in range(FRAMES)]


@torch.no_grad()
def test_masked_clip_call_equals_cached_block_calls_for_any_mix_of_levels() -> None:
    """The contract between training and streaming."""
    model = transformer("residual", torch.float32)
    network, conditions = clip_network(model), encode(model, torch.float32)
    x, sink = random(BATCH, 16, FRAMES, *SIZE, seed=5), network.sink(conditions)
    mixes = [[0.9, 0.1, 1.0, 0.5, 0.05, 0.3], [0.6] * 6, [1.0, 0.8, 0.6, 0.4, 0.2, 0.1], [0.1, 0.2, 0.4, 0.6, 0.8, 1.0]]
    for levels in mixes:
        whole = network.whole(x, torch.tensor(levels, dtype=torch.float64), conditions)
        made: list[object] = []
        for index, level in enumerate(levels):
            past = [sink, *made[network.window(index)]]
            velocity, own = network.block(network.of_block(x, index), level, index, conditions, past)  # type: ignore[arg-type]
            made.append(own)
            # Velocities grow with 1 / level; the clean estimate is what both calls are used for.
            assert (level * (velocity - network.of_block(whole, index))).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("form", "history"), [("parallel", "per_level"), ("sequential", "per_level"), ("sequential", "clean")]
)
def test_evaluations_are_as_many_as_the_form_says(form: str, history: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"whole": 0, "block": 0}
    for name in calls:
        original = getattr(ClipNetwork, name)

        def counted(self: ClipNetwork, *args: object, _name: str = name, _run: object = original, **rest: object) -> object:
            calls[_name] += 1
            return _run(self, *args, **rest)  # type: ignore[operator]

        monkeypatch.setattr(ClipNetwork, name, counted)
    model = transformer("residual", torch.float32)
    with torch.no_grad():
        network = clip_network(model)
        roll_out(network, encode(model, torch.float32), plan(2, torch.float32, form=form, history=history))
    clean = BLOCKS if history == "clean" else 0
    assert calls == ({"whole": 3, "block": 0} if form == "parallel" else {"whole": 0, "block": 3 * BLOCKS + clean})


def test_forms_that_cannot_be_are_refused() -> None:
    for form, history in itertools.product(["parallel"], ["clean", "exit_level"]):
        with pytest.raises(ValueError, match="form='sequential' or 'blockwise'"):
            SelfForcingOptions(form=form, history=history)
    with pytest.raises(ValueError, match="history_grad needs form='parallel'"):
        SelfForcingOptions(form="sequential", history_grad=True)
    with pytest.raises(ValueError, match="there are 4 levels"):
        plan(4, torch.float32)
