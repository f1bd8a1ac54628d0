"""Compiled training: the same weights, one graph for all layers and steps, nothing compiled for evaluation."""

from __future__ import annotations

from pathlib import Path

import torch

from liveavatar.model.compiled import compile_for_training
from liveavatar.model.transformer import initialise
from liveavatar.training.diffusion_forcing import ForcingStage, Generator
from liveavatar.training.loop import train
from liveavatar.training.recipes import ForcingOptions, Recipe
from tests.liveavatar.latent_shards import write_latent_shards
from tests.liveavatar.test_compiled import CountingBackend
from tests.liveavatar.tiny import tiny_profile

PROFILE = tiny_profile()


def trained(folder: Path, steps: int, backend: CountingBackend | None) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = Generator(PROFILE)
    initialise(model.transformer, torch.Generator().manual_seed(0))
    if backend is not None:
        compile_for_training(model.transformer, backend)
    shards = folder / "latents"
    if not shards.exists():
        write_latent_shards(shards)
    stage = ForcingStage(PROFILE, model, shards, seed=0, batch=2, options=ForcingOptions())
    recipe = Recipe("stage1", steps=steps, batch=2, rate=1e-3, warmup=1, bf16=False, evaluate_every=2)
    return train(stage, recipe, folder / f"{steps}-{backend is None}")


def test_compiled_blocks_train_the_same_weights_in_one_graph(tmp_path: Path) -> None:
    torch._dynamo.reset()
    backend = CountingBackend()
    compiled, eager = trained(tmp_path, 3, backend), trained(tmp_path, 3, None)
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, atol=1e-5, rtol=1e-4)
    assert backend.graphs == 1
    torch._dynamo.reset()
