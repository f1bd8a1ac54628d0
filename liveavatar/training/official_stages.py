"""Stages of the 14B profile: the published base, adapters on it, sharded; latents and features are made beforehand."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from liveavatar.checkpoints.encoders import load_prompt_encoder, load_wav2vec
from liveavatar.checkpoints.files import open_files
from liveavatar.checkpoints.load import load_into
from liveavatar.checkpoints.official import OfficialFolder
from liveavatar.checkpoints.vae import load_codec
from liveavatar.config import ProfileConfig, official_transformer, s2v_14b
from liveavatar.model.wav2vec import normalise_waveform
from liveavatar.training.adapters import Adapters
from liveavatar.training.clips import Generator
from liveavatar.training.diffusion_forcing import ForcingStage
from liveavatar.training.distillation import DistillStage
from liveavatar.training.networks import CRITIC, STUDENT
from liveavatar.training.prepare_clips import OfficialEncoders
from liveavatar.training.recipes import ForcingOptions, Recipe
from liveavatar.training.scale import checkpoint_activations, shard

logger = logging.getLogger(__name__)
NEGATIVE_PROMPT = ""  # what stands for a dropped text; the base's own is Chinese and may be given instead
SAMPLED_VALUES = 64  # of every tensor, in a base's digest: reading 32 GB for it would take minutes


@dataclass(frozen=True)
class Base:
    """The published transformer on a device, adapted; digest: names it in every checkpoint made on it."""

    profile: ProfileConfig
    adapters: Adapters
    digest: str


def load_base(recipe: Recipe, folder: Path, device: torch.device, names: tuple[str, ...]) -> Base:
    """The official checkpoint folder's transformer in bf16, frozen, with fresh adapters by name.

    Sharded and with activation checkpointing where the recipe says so. Raises WeightsError for an incomplete folder and
    ValueError for a recipe without adapters.
    """
    if not recipe.lora_rank:
        raise ValueError(f"profile {recipe.profile!r} is trained by adapters on its frozen base; set lora_rank")
    official = OfficialFolder(folder)
    profile = replace(s2v_14b(), transformer=official_transformer(official.config()))
    with torch.device("meta"):
        network = Generator(profile, is_official=True)
    report = load_into(network.transformer, open_files(official.transformer), device, torch.bfloat16)
    logger.info("base: %d tensors, %.1f G parameters", report.tensors, report.parameters / 1e9)
    digest = sampled_digest(network)
    adapters = Adapters(network, recipe.lora_rank, recipe.lora_alpha, recipe.seed, names)
    for adapter in adapters.trained.values():
        adapter.to(device)
    if recipe.is_checkpointed:
        checkpoint_activations(network.transformer, adapters.switch)
    if recipe.is_sharded:
        shard(network.transformer)
    return Base(profile, adapters, digest)


def official_forcing(recipe: Recipe, shards: Path, base_folder: Path, device: torch.device) -> ForcingStage:
    """Stage 1 of the 14B model: one adapter, block-causal."""
    base = load_base(recipe, base_folder, device, (STUDENT,))
    options = recipe.options if isinstance(recipe.options, ForcingOptions) else ForcingOptions()
    stage = ForcingStage(base.profile, base.adapters.base, shards, recipe.seed, recipe.batch, options, base.adapters)
    stage.device, stage.made_from = device, {"base": base.digest}
    return stage


def official_distillation(
    recipe: Recipe, shards: Path, base_folder: Path, stage1: Path, device: torch.device
) -> DistillStage:
    """Stage 2: the student's adapter begins as stage 1's, the critic's adds nothing yet, the teacher is the base.

    stage1: averaged weights of stage 1's adapter, a safetensors file.
    """
    unsharded = replace(recipe, is_sharded=False)
    base = load_base(unsharded, base_folder, device, (STUDENT, CRITIC))
    base.adapters.trained[STUDENT].load_state_dict(load_file(stage1))
    if recipe.is_sharded:
        shard(base.adapters.base.transformer)
    stage = DistillStage(base.profile, base.adapters, shards, recipe, {"base": base.digest})
    stage.device = device
    return stage


def official_encoders(folder: Path, device: torch.device) -> OfficialEncoders:
    """The published codec, voice and text encoders, for preparing clips."""
    official = OfficialFolder(folder)
    voice = load_wav2vec(official.voice, device)
    prompts = load_prompt_encoder(open_files(official.text), official.tokenizer, device)
    codec = load_codec(open_files(official.codec), device)

    def hear(samples: Tensor) -> Tensor:
        return voice(normalise_waveform(samples.float()[None].to(device))).float().cpu()

    return OfficialEncoders(codec, hear, prompts, NEGATIVE_PROMPT)


def sampled_digest(network: nn.Module) -> str:
    """sha256 over every tensor's name, shape and first values: tells one base from another, not two damaged ones."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        first = value.detach().flatten()[:SAMPLED_VALUES].float().cpu()
        digest.update(f"{name}{tuple(value.shape)}".encode() + first.numpy().tobytes())
    return digest.hexdigest()
