"""The stream: equal to the parallel call, to itself in pieces, and constant in size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from liveavatar.config import RolloutOptions
from liveavatar.model.attention import BlockCausalContext, Seen
from liveavatar.model.rope import rope_table
from liveavatar.model.transformer import Voice
from liveavatar.streaming.cache import RollingCache
from liveavatar.streaming.conditions import VoiceConditions
from liveavatar.streaming.flow import add_noise, clean_estimate, euler_step, level_grid
from liveavatar.streaming.noise import block_noise
from liveavatar.streaming.rollout import REBASE_BLOCKS, Rollout, stream_blocks
from tests.liveavatar.tiny import tiny_model, tiny_profile, tiny_speech

PROFILE = tiny_profile()
MODEL = tiny_model(PROFILE)
SPEECH = tiny_speech(PROFILE)
BLOCK = (1, 16, 3, 4, 4)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text() -> list[Seen]:
    return MODEL.encode_text(random(1, 16, 64, seed=1))


def voices(blocks: int) -> list[Voice]:
    whole = MODEL.encode_audio(random(1, 1, PROFILE.transformer.audio_dim, 12 * blocks, seed=2))
    return [Voice(whole.local[:, s : s + 3], whole.pooled[:, s : s + 3]) for s in range(0, 3 * blocks, 3)]


def rollout(**options: object) -> Rollout:
    return Rollout(MODEL, RolloutOptions(**options), text(), random(1, 16, 1, 4, 4, seed=3), 3)  # type: ignore[arg-type]


def run(blocks: int, **options: object) -> list[torch.Tensor]:
    stream = stream_blocks(rollout(**options), voices(blocks), lambda block: random(*BLOCK, seed=100 + block))
    return [block.latents for block in stream]


def test_grid_is_the_shifted_one_of_the_paper_family() -> None:
    assert level_grid(4, 3.0) == pytest.approx([1, 0.9, 0.75, 0.5, 0])
    assert level_grid(1, 3.0) == pytest.approx([1, 0])


def test_euler_with_the_true_velocity_lands_on_the_data() -> None:
    data, noise = random(4, seed=1), random(4, seed=2)
    x = noise
    levels = level_grid(7, 3.0)
    for level, next_level in itertools.pairwise(levels):
        torch.testing.assert_close(x, add_noise(data, noise, torch.tensor(level)), atol=1e-5, rtol=0)
        torch.testing.assert_close(clean_estimate(x, noise - data, level), data, atol=1e-5, rtol=0)
        x = euler_step(x, noise - data, level, next_level)
    torch.testing.assert_close(x, data, atol=1e-5, rtol=0)


@torch.no_grad()
def test_streamed_evaluation_equals_the_parallel_block_causal_call() -> None:
    """The contract that joins training and streaming: same noisy blocks, same velocities."""
    blocks, distance = 6, 5
    x, level = random(1, 16, 3 * blocks, 4, 4), 600.0
    last = 3 * blocks - 1
    table = rope_table(torch.cat([torch.arange(last + 1), torch.tensor([last + distance])]), 2, 2, 16)
    whole = MODEL.encode_audio(random(1, 1, PROFILE.transformer.audio_dim, 12 * blocks, seed=2))
    sink = random(1, 16, 1, 4, 4, seed=3)
    context = BlockCausalContext(table, blocks, 12, 3)
    parallel = MODEL(x, torch.full((1, last + 1), level), sink, whole, text(), context, cond=sink)
    stream = rollout(steps=1, aas=False, rolling_rope=False, sink_distance=last + distance - 2)
    streamed = []
    for block, voice in enumerate(voices(blocks)):
        stream.next_block = block
        stream.levels = (level / 1000, 0.0)
        streamed.append(stream.velocity(x[:, :, 3 * block : 3 * block + 3], 0, voice))
    torch.testing.assert_close(torch.cat(streamed, dim=2), parallel, atol=2e-5, rtol=0)


def test_every_steady_block_computes_the_same_however_long_the_stream() -> None:
    """Same keys, noise and voice at block 400 and far beyond the point where time starts anew: same result."""
    results = []
    for start in (400, 400 + 10 * REBASE_BLOCKS):
        stream = rollout(aas=False)
        for block, voice in enumerate(voices(5)):
            stream.next_block = start + block
            latents = stream.denoise(random(*BLOCK, seed=block), voice)
        results.append(latents)
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", [{}, {"rolling_rope": False}, {"sink_position": "release"}])
def test_bounded_positions_compute_what_absolute_ones_do(change: dict[str, object]) -> None:
    """Across the block where time starts anew, which turns the cached keys."""
    results = []
    for positions in ("bounded", "absolute"):
        stream, made = rollout(positions=positions, aas=False, **change), []
        for block, voice in enumerate(voices(7)):
            stream.next_block = REBASE_BLOCKS - 4 + block
            made.append(stream.denoise(random(*BLOCK, seed=block), voice))
        results.append(torch.cat(made, dim=2))
        assert (stream.caches[0].origin > 0) == (positions == "bounded")
    torch.testing.assert_close(results[0], results[1], atol=2e-5, rtol=0)


def test_without_rolling_rope_the_sink_falls_behind() -> None:
    rolling, fixed = rollout().sink, rollout(rolling_rope=False).sink
    assert rolling.position(0) == fixed.position(0)
    assert rolling.position(100) - rolling.position(0) == 300
    assert fixed.position(100) == fixed.position(0)


@pytest.mark.parametrize("change", [{"aas": False}, {"rolling_rope": False}, {"cache": "clean"}, {"window_past": 1}])
def test_each_switch_changes_later_blocks_and_not_the_first(change: dict[str, object]) -> None:
    ours, other = run(5), run(5, **change)
    torch.testing.assert_close(ours[0], other[0], atol=0, rtol=0)
    assert not torch.allclose(ours[4], other[4], atol=1e-4)


def test_aas_makes_the_first_latent_frame_the_sink() -> None:
    stream = rollout()
    before = stream.sink.keys.clone()
    first = stream.denoise(random(*BLOCK, seed=100), voices(1)[0])
    assert torch.equal(stream.sink.keys, before)  # the first block is out before the sink is evaluated
    stream.velocity(random(*BLOCK, seed=101), 0, voices(2)[1])
    expected = rollout(aas=False).sink
    expected.set(MODEL, first[:, :, :1], text())
    torch.testing.assert_close(stream.sink.values[1], expected.values[1], atol=1e-6, rtol=0)
    assert not torch.allclose(stream.sink.keys, before)


def test_clean_cache_costs_one_more_evaluation_per_block(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    step = type(MODEL).step
    monkeypatch.setattr(type(MODEL), "step", lambda *args: (calls.append(args[2]), step(*args))[1])
    run(3)
    assert len(calls) == 12
    calls.clear()
    run(3, cache="clean")
    assert len(calls) == 15
    assert calls.count(0.0) == 3


def test_state_has_one_size_for_ever() -> None:
    stream = rollout()
    sizes = set()
    for block, voice in enumerate(voices(12)):
        stream.denoise(random(*BLOCK, seed=block), voice)
        sizes.add((sum(cache.nbytes for cache in stream.caches), stream.sink.nbytes))
    assert len(sizes) == 1


def test_cache_overwrites_the_oldest_block() -> None:
    cache, unrotated = RollingCache(PROFILE.transformer, slots=3, block_tokens=2), torch.ones(1, 8, dtype=torch.complex64)
    for block in range(5):
        cache.write(0, block, torch.full((1, 2, 2, 16), float(block)), torch.zeros(1, 2, 2, 16), unrotated)
    assert cache.blocks_in_slot_order(4) == [3, 4, 2]
    assert cache.read(0, 4)[0][0, 0, ::2, 0].tolist() == [3, 4, 2]


def test_noise_is_keyed_by_seed_sample_and_block() -> None:
    same = block_noise(1, "a", 7, (4,))
    assert torch.equal(same, block_noise(1, "a", 7, (4,)))
    others = [block_noise(2, "a", 7, (4,)), block_noise(1, "b", 7, (4,)), block_noise(1, "a", 8, (4,))]
    assert not any(torch.equal(same, other) for other in others)


def voice_samples(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal(int(16_000 * seconds))).astype(np.float32)


@pytest.mark.parametrize("piece", [1, 160, 7_777, 16_000])
def test_voice_in_pieces_of_any_size_gives_the_same_conditions(piece: int) -> None:
    samples = voice_samples(0.9 if piece == 1 else 3.0)
    whole = list(VoiceConditions(MODEL, SPEECH, PROFILE).push(samples))
    conditions = VoiceConditions(MODEL, SPEECH, PROFILE)
    pieces = [voice for start in range(0, len(samples), piece) for voice in conditions.push(samples[start : start + piece])]
    assert len(whole) == len(pieces) > 0
    for one, other in zip(whole, pieces, strict=True):
        assert torch.equal(one.local, other.local)
        assert torch.equal(one.pooled, other.pooled)


def test_voice_conditions_wait_for_the_stated_look_ahead_only() -> None:
    conditions = VoiceConditions(MODEL, SPEECH, PROFILE)
    needed = conditions.block_samples + conditions.look_ahead_samples
    samples = voice_samples(2.0)
    assert not list(conditions.push(samples[: needed - 1]))
    assert len(list(conditions.push(samples[needed - 1 : needed]))) == 1
    assert conditions.look_ahead_samples == 2 * 640 + 240


def test_a_voice_change_alters_no_block_before_it() -> None:
    samples = voice_samples(3.0)
    changed = samples.copy()
    changed[4 * 7680 :] = 0
    one, other = (list(VoiceConditions(MODEL, SPEECH, PROFILE).push(s)) for s in (samples, changed))
    assert torch.equal(one[2].local, other[2].local)
    assert not torch.equal(one[4].local, other[4].local)
