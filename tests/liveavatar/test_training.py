"""Training: a resumed run equals an uninterrupted one, stage 1 learns, and the linear code is what it says."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from liveavatar.model.codec import Codec, PatchBasis, VaeStreamDecoder, silence_learned_parts
from liveavatar.model.light_decoder import LightDecoder, LightStreamDecoder, start_from_linear
from liveavatar.model.residual import SinkResidual
from liveavatar.model.transformer import initialise
from liveavatar.streaming.flow import add_noise
from liveavatar.training import checkpoint, parallel
from liveavatar.training.data import LatentShards, shard_files, step_generator
from liveavatar.training.diffusion_forcing import ForcingStage, Generator, mouth_weights
from liveavatar.training.loop import learning_rate, train
from liveavatar.training.optimiser import make_optimiser
from liveavatar.training.recipes import ForcingOptions, Recipe
from liveavatar.training.voice_stage import VoiceStage
from tests.liveavatar.latent_shards import write_latent_shards
from tests.liveavatar.tiny import tiny_profile

PROFILE = tiny_profile()
RECIPE = Recipe("stage1", steps=6, batch=2, rate=1e-3, warmup=2, bf16=False, log_every=1, evaluate_every=6)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_latent_shards(tmp_path / "latents")


def stage(shards: Path) -> ForcingStage:
    torch.manual_seed(0)
    model = Generator(PROFILE)
    initialise(model.transformer, torch.Generator().manual_seed(0))
    return ForcingStage(PROFILE, model, shards, seed=0, batch=2, options=ForcingOptions())


def test_resumed_training_is_bitwise_the_uninterrupted_one(shards: Path, tmp_path: Path) -> None:
    whole = train(stage(shards), RECIPE, tmp_path / "whole")
    halves = stage(shards)
    train(_Limited(halves, 3), RECIPE, tmp_path / "halves", max_minutes=1e9)
    assert checkpoint.latest(tmp_path / "halves").name == "step-0000003"  # type: ignore[union-attr]
    resumed = train(stage(shards), RECIPE, tmp_path / "halves")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    states = [load_file(tmp_path / name / "step-0000006" / "optimiser.safetensors") for name in ("whole", "halves")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


class _Limited:
    """A stage that asks the loop to stop after some steps, as a signal would."""

    def __init__(self, inner: ForcingStage, steps: int) -> None:
        self.inner, self.steps = inner, steps

    @property
    def model(self) -> torch.nn.Module:
        return self.inner.model

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        if step == self.steps - 1:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
        return self.inner.loss(step)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        return self.inner.evaluate(model)


def test_muon_resumes_bitwise_too(shards: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, optimiser="muon")
    whole = train(stage(shards), recipe, tmp_path / "whole")
    train(_Limited(stage(shards), 3), recipe, tmp_path / "halves")
    resumed = train(stage(shards), recipe, tmp_path / "halves")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_an_unknown_optimiser_is_refused(shards: Path) -> None:
    with pytest.raises(ValueError, match="'adamw' and 'muon'"):
        make_optimiser(stage(shards).model, replace(RECIPE, optimiser="sgd"))


def test_two_processes_train_what_one_does(shards: Path, tmp_path: Path) -> None:
    alone = train(stage(shards), RECIPE, tmp_path / "one")
    torch.multiprocessing.spawn(_train_in_group, (shards, tmp_path / "two", _free_port()), nprocs=2)
    together = load_file(tmp_path / "two" / "step-0000006" / "ema.safetensors")
    start = dict(stage(shards).model.state_dict())
    moved, gap = (
        sum((alone[name] - other[name]).double().square().sum() for name in alone) ** 0.5 for other in (start, together)
    )
    # AdamW divides by small squares, so that the rounding of a sum in another order shows in a few weights.
    assert gap < 0.01 * moved


def _train_in_group(rank: int, shards: Path, out: Path, port: int) -> None:
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    train(stage(shards), RECIPE, out)
    torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    with pytest.raises(ValueError, match="batch of 6 cannot be shared by 4"):
        parallel.own_rows(6)


def test_the_voice_stage_reads_mouths_from_loudness(shards: Path, tmp_path: Path) -> None:
    for file in sorted(shards.glob("*.safetensors")):
        tensors = load_file(file)
        # Noise that is loud where the mouth is open: the track is in the sound, and nowhere else.
        opening = tensors["truth.mouth_open"].repeat_interleave(640, 1)
        noise = torch.randn(4, (16 + 25 + 8) * 640, generator=torch.Generator().manual_seed(1)) * 30
        noise[:, 16 * 640 : 41 * 640] *= 1 + 100 * opening
        save_file({**tensors, "audio": noise.short()}, file)
    trained = VoiceStage(PROFILE, shards, seed=0, batch=4)
    before = trained.evaluate(trained.model)["open_r_local"]
    train(trained, Recipe("voice", steps=150, batch=4, rate=2e-3, warmup=5, ema=0.9, bf16=False), tmp_path / "out")
    assert abs(before) < 0.5 < 0.6 < trained.evaluate(trained.model)["open_r_local"]


def test_a_perfect_residual_gives_the_true_velocity() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise, sink = (torch.randn(2, 4, 3, 2, 2, generator=generator) for _ in range(3))
    residual = SinkResidual(4)
    residual.fit(clean, sink[:, :, :1])
    sink, level = sink[:, :, :1], torch.tensor([0.3, 0.9])[:, None, None, None, None]
    gain, scale = residual.gain.view(-1, 1, 1, 1), residual.scale.view(-1, 1, 1, 1)
    x = add_noise(clean, noise, level)
    velocity = residual.velocity((clean - gain * sink) / scale, x, sink, level)
    assert torch.allclose(velocity, noise - clean, atol=1e-5)
    # What enters is the same mixture of the residual, at unit spread: closed form.
    spread = ((1 - level) ** 2 * scale**2 + level**2).sqrt()
    expected = ((1 - level) * (clean - gain * sink) + level * noise) / spread
    assert torch.allclose(residual.enter(x, sink, level), expected, atol=1e-5)
    # The form for many evaluations at one level.
    prepared = residual.at(sink, level)
    assert torch.allclose(prepared.enter(x), expected, atol=1e-5)
    assert torch.allclose(prepared.velocity((clean - gain * sink) / scale, x), noise - clean, atol=1e-5)


def test_another_recipe_is_refused_with_the_differing_field(shards: Path, tmp_path: Path) -> None:
    train(stage(shards), Recipe("stage1", steps=1, batch=2, rate=1e-3, bf16=False), tmp_path / "out")
    with pytest.raises(ValueError, match="rate"):
        train(stage(shards), Recipe("stage1", steps=1, batch=2, rate=5e-4, bf16=False), tmp_path / "out")


def test_stage_1_learns_its_clips(shards: Path, tmp_path: Path) -> None:
    trained = stage(shards)
    trained.held = trained.data  # four clips can be learned by heart, and nothing more can be learned from them
    before = trained.evaluate(trained.model)["loss_0.60"]
    train(trained, Recipe("stage1", steps=150, batch=4, rate=2e-3, warmup=10, bf16=False), tmp_path / "out")
    assert trained.evaluate(trained.model)["loss_0.60"] < 0.85 * before


def test_nan_losses_stop_the_run_and_leave_the_checkpoint(shards: Path, tmp_path: Path) -> None:
    broken = stage(shards)
    train(broken, Recipe("stage1", steps=1, batch=2, rate=1e-3, bf16=False), tmp_path / "out")
    good = checkpoint.latest(tmp_path / "out")
    broken.data.tensors["latents"] = broken.data.tensors["latents"] * float("nan")
    with pytest.raises(FloatingPointError, match="last checkpoint"):
        train(broken, Recipe("stage1", steps=9, batch=2, rate=1e-3, bf16=False), tmp_path / "other")
    assert good is not None
    assert good.exists()


def test_batches_are_a_function_of_seed_and_step(shards: Path) -> None:
    data = LatentShards(shard_files(shards))
    first, again, later = (data.batch(3, step_generator(0, "data", step)).latents for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_missing_shards_say_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="genbench shards"):
        shard_files(tmp_path)


def test_mouth_weights_peak_at_the_mouth(shards: Path) -> None:
    batch = LatentShards(shard_files(shards)).take(torch.arange(2))
    weights = mouth_weights(batch, 4.0)[0, 0, 0]
    assert weights.argmax() in (9, 10)  # row 2, columns 1 and 2 hold the box's centre
    assert weights.min() >= 1


def test_learning_rate_warms_up_and_ends_at_its_floor() -> None:
    recipe = Recipe("stage1", steps=100, batch=1, rate=1e-3, final_rate=1e-5, warmup=10)
    assert learning_rate(recipe, 4) == pytest.approx(5e-4)
    assert learning_rate(recipe, 10) == pytest.approx(1e-3)
    assert learning_rate(recipe, 100) == pytest.approx(1e-5)


def _linear_codec() -> Codec:
    codec = Codec(PROFILE.codec).eval()
    assert codec.basis is not None
    video = torch.rand(6, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    patches = codec.basis.patches(video).flatten(0, -2)
    codec.basis.fit(patches, torch.ones(len(patches)))
    silence_learned_parts(codec)
    return codec


def test_linear_code_with_all_components_is_lossless() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = PatchBasis(3 * 4 * 4 * 4, 4)
    patches = torch.randn(4096, 192, generator=generator)
    basis.fit(patches, torch.ones(4096))
    video = torch.rand(1, 3, 9, 8, 8, generator=generator)
    decoded = basis.decode(basis.encode(video))
    torch.testing.assert_close(decoded[:, :, 4:], video[:, :, 1:], atol=1e-4, rtol=0)
    torch.testing.assert_close(decoded[:, :, :4], video[:, :, :1].expand(-1, -1, 4, -1, -1), atol=1e-4, rtol=0)


@torch.no_grad()
def test_fresh_light_decoder_is_the_linear_code() -> None:
    codec, decoder = _linear_codec(), LightDecoder(PROFILE.codec)
    assert codec.basis is not None
    start_from_linear(decoder, codec.basis.components, codec.basis.mean)
    latents = torch.randn(1, 16, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(decoder(latents), codec.basis.decode(latents[:, :, 2:]), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vae", "light"])
def test_decoding_in_pieces_equals_decoding_at_once(kind: str) -> None:
    codec = Codec(PROFILE.codec).eval()
    light = LightDecoder(PROFILE.codec)
    latents = torch.randn(1, 16, 7, 4, 4, generator=torch.Generator().manual_seed(1))

    def decoded(sizes: list[int]) -> torch.Tensor:
        stream = VaeStreamDecoder(codec) if kind == "vae" else LightStreamDecoder(light)
        stream.prime(latents[:, :, :1])
        return torch.cat([stream.decode(part) for part in latents[:, :, 1:].split(sizes, dim=2)], dim=2)

    whole = decoded([6])
    assert whole.shape == (1, 3, 24, 32, 32)
    torch.testing.assert_close(decoded([3, 3]), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(decoded([1, 4, 1]), whole, atol=1e-5, rtol=0)


@torch.no_grad()
def test_streamed_vae_decode_equals_whole_clip_decode() -> None:
    codec = Codec(PROFILE.codec).eval()
    latents = torch.randn(1, 16, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    stream = VaeStreamDecoder(codec)
    pieces = torch.cat([stream.decode(latents[:, :, i : i + 1]) for i in range(4)], dim=2)
    torch.testing.assert_close(pieces, codec.decode(latents), atol=1e-5, rtol=0)


def test_frames_that_make_no_latents_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 \+ 4k"):
        _linear_codec().encode(torch.zeros(1, 3, 12, 32, 32))
