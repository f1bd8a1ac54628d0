"""Adapters on one base, sharding over two gloo processes, activation checkpointing: all equal to the plain thing."""

from __future__ import annotations

import copy
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from liveavatar.checkpoints.files import open_files
from liveavatar.checkpoints.lora import merge_lora
from liveavatar.training import parallel
from liveavatar.training.adapters import Adapters, adapted_layers, peft_names
from liveavatar.training.clips import Generator
from liveavatar.training.diffusion_forcing import ForcingStage
from liveavatar.training.distillation import DistillStage
from liveavatar.training.loop import train
from liveavatar.training.networks import CRITIC, STUDENT, TEACHER
from liveavatar.training.optimiser import make_optimiser
from liveavatar.training.recipes import ForcingOptions, Recipe
from liveavatar.training.scale import checkpoint_activations, shard
from tests.liveavatar.latent_shards import write_latent_shards
from tests.liveavatar.test_distillation import OPTIONS, PROFILE, RECIPE, generator

LORA = replace(RECIPE, steps=4, evaluate_every=4, lora_rank=4, lora_alpha=2.0, options=replace(OPTIONS, guidance=2.0))
FORCING = Recipe("stage1", steps=4, batch=4, rate=1e-3, warmup=2, bf16=False, log_every=1, evaluate_every=4, lora_rank=4)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_latent_shards(tmp_path / "latents")


def inputs(network: Generator) -> Tensor:
    """A velocity that depends on every adapted layer."""
    transformer, c = network.transformer, PROFILE.transformer
    random = torch.Generator().manual_seed(3)
    x, sink = torch.randn(1, 16, 3, 4, 4, generator=random), torch.randn(1, 16, 1, 4, 4, generator=random)
    voice = transformer.encode_audio(torch.randn(1, 1, c.audio_dim, 12, generator=random))
    text = transformer.encode_text(torch.randn(1, 4, c.text_dim, generator=random))
    from liveavatar.model.attention import FullContext
    from liveavatar.model.positions import TokenGrid

    context = FullContext(TokenGrid(c, 4, 4).parallel(3, with_motion=False))
    return transformer(x, torch.full((1, 3), 400.0), sink, voice, text, context, sink)


def shaken(adapters: Adapters) -> Adapters:
    """Adapters that add something."""
    for seed, adapter in enumerate(adapters.trained.values()):
        for parameter in adapter.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return adapters


def test_fresh_adapters_are_the_base_to_the_bit_and_trained_ones_leave_it_alone() -> None:
    base = generator(0)
    wanted = inputs(copy.deepcopy(base))
    adapters = Adapters(base, rank=4, alpha=2.0)
    for role in (STUDENT, CRITIC, TEACHER):
        with adapters.use(role) as network:
            assert torch.equal(inputs(network), wanted)
    shaken(adapters)
    with adapters.use(TEACHER) as network:
        assert torch.equal(inputs(network), wanted)
    outs = []
    for role in (STUDENT, CRITIC):
        with adapters.use(role) as network:
            outs.append(inputs(network))
            with adapters.use(TEACHER) as teacher:  # the score of a student's clip is taken while the student is active
                assert torch.equal(inputs(teacher), wanted)
            assert torch.equal(inputs(network), outs[-1])
    assert not torch.allclose(outs[0], wanted)
    assert not torch.allclose(outs[0], outs[1])


@torch.no_grad()
def test_an_exported_adapter_merged_by_the_inference_code_computes_the_same(tmp_path: Path) -> None:
    plain = generator(0)
    adapters = shaken(Adapters(copy.deepcopy(plain), rank=4, alpha=2.0))
    with adapters.use(STUDENT) as network:
        wanted = inputs(network)
    save_file(peft_names(dict(adapters.trained[STUDENT].state_dict())), tmp_path / "adapter.safetensors")
    report = merge_lora(plain.transformer, open_files(tmp_path / "adapter.safetensors"), alpha=2.0)
    assert report.rank == 4
    assert torch.allclose(inputs(plain), wanted, atol=1e-5)


def test_adapters_sit_on_the_layers_of_the_published_file() -> None:
    """Attention projections and feed-forward of every block, and audio attention after the first: as the release lists."""
    names = {name for name, _ in adapted_layers(generator(0).transformer)}
    blocks = {
        f"blocks.{block}.{layer}"
        for block in range(2)
        for layer in (*(f"{kind}_attn.{p}" for kind in ("self", "cross") for p in "qkvo"), "ffn.0", "ffn.2")
    }
    assert names == blocks | {f"audio_injector.injector.0.{p}" for p in "qkvo"}
    with pytest.raises(ValueError, match="rank=0"):
        Adapters(generator(0), rank=0, alpha=1.0)


def distillation(shards: Path, is_sharded: bool = False) -> DistillStage:
    adapters = shaken(Adapters(generator(0), rank=4, alpha=2.0))
    if is_sharded:
        checkpoint_activations(adapters.base.transformer, adapters.switch)
        shard(adapters.base.transformer)
    return DistillStage(PROFILE, adapters, shards, replace(LORA, is_sharded=is_sharded), {})


def forcing(shards: Path, is_sharded: bool = False, has_adapters: bool = True) -> ForcingStage:
    network = generator(0)
    adapters = shaken(Adapters(network, rank=4, alpha=2.0, names=[STUDENT])) if has_adapters else None
    if is_sharded:
        checkpoint_activations(network.transformer, adapters.switch if adapters else None)
        shard(network.transformer)
    return ForcingStage(PROFILE, network, shards, 0, 4, ForcingOptions(), adapters)


def test_stage_2_on_adapters_changes_adapters_only(shards: Path, tmp_path: Path) -> None:
    stage = distillation(shards)
    before = copy.deepcopy(stage.roles.base.state_dict())  # type: ignore[attr-defined]
    train(stage, LORA, tmp_path / "out")
    after = stage.roles.base.state_dict()  # type: ignore[attr-defined]
    changed = {name for name, value in after.items() if not torch.equal(before[name], value)}
    assert changed
    assert all(".adapters.student." in name or ".adapters.critic." in name for name in changed)
    assert {name.split(".adapters.")[1].split(".")[0] for name in changed} == {STUDENT, CRITIC}


@pytest.mark.parametrize("kind", ["stage1", "stage1 in full", "stage2"])
def test_two_sharded_processes_train_what_one_plain_process_does(kind: str, shards: Path, tmp_path: Path) -> None:
    """FSDP2, activation checkpointing and sharded checkpoints, with a stop and a resume half way."""
    stage, recipe = _run(kind, shards, is_sharded=False)
    alone = train(stage, recipe, tmp_path / "one")
    torch.multiprocessing.spawn(_in_group, (kind, shards, tmp_path / "two", _free_port()), nprocs=2)
    together = load_file(tmp_path / "two" / f"step-{recipe.steps:07d}" / "ema.safetensors")
    assert alone.keys() == together.keys()
    # With one audio layer its mixing weight cancels: its gradient is rounding, and AdamW makes steps of that.
    alone.pop("transformer.casual_audio_encoder.weights", None)
    for name, value in alone.items():
        # AdamW divides by small squares, so that rounding of a sum in another order shows; a step is 1e-3.
        assert torch.allclose(value, together[name], atol=2e-5), (name, (value - together[name]).abs().max())


def _run(kind: str, shards: Path, is_sharded: bool) -> tuple[ForcingStage | DistillStage, Recipe]:
    if kind == "stage2":
        return distillation(shards, is_sharded), replace(LORA, is_sharded=is_sharded)
    stage = forcing(shards, is_sharded, has_adapters=kind == "stage1")
    return stage, replace(FORCING, is_sharded=is_sharded)


def _in_group(rank: int, kind: str, shards: Path, out: Path, port: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    stage, recipe = _run(kind, shards, is_sharded=True)
    train(_Stopped(stage, 2), recipe, out)  # type: ignore[arg-type]
    stage, recipe = _run(kind, shards, is_sharded=True)
    train(stage, recipe, out)
    torch.distributed.destroy_process_group()


class _Stopped:
    """A stage that asks its own process to stop at a step, as a signal to one of many would."""

    def __init__(self, inner: ForcingStage | DistillStage, step: int) -> None:
        self.inner, self.step = inner, step
        if isinstance(inner, DistillStage):
            self.networks, self.made_from, self.accumulate = inner.networks, inner.made_from, self._accumulate

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def _accumulate(self, name: str, step: int) -> dict[str, float]:
        self._stop_at(step)
        return self.inner.accumulate(name, step)  # type: ignore[union-attr]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        self._stop_at(step)
        return self.inner.loss(step)  # type: ignore[union-attr]

    def _stop_at(self, step: int) -> None:
        import os
        import signal

        if step == self.step - 1 and torch.distributed.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_micro_batches_make_the_gradient_of_the_whole_batch(shards: Path) -> None:
    def gradient(recipe: Recipe, name: str) -> Tensor:
        stage = DistillStage(PROFILE, shaken(Adapters(generator(0), 4, 2.0)), shards, recipe, {})
        stage.accumulate(name, 1)
        return torch.cat([p.grad.flatten() for p in stage.networks[name].parameters() if p.grad is not None])

    for name in (STUDENT, CRITIC):
        at_once, in_parts = gradient(LORA, name), gradient(replace(LORA, accumulate=2), name)
        assert at_once.norm() > 0
        assert (at_once - in_parts).norm() < 1e-5 * at_once.norm()
    assert [parallel.own_rows(6, part, 3) for part in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]


def test_muon_on_sharded_matrices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveavatar.training.optimiser.is_sharded", lambda tensors: True)
    with pytest.raises(ValueError, match="optimiser='adamw'"):
        make_optimiser(generator(0), replace(RECIPE, optimiser="muon"))
