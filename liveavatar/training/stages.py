"""From a recipe to a running stage: builds modules, runs the loop, and exports what is shipped."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from liveavatar.checkpoints.store import write_weights
from liveavatar.config import nano
from liveavatar.model.codec import Codec
from liveavatar.model.light_decoder import LightDecoder
from liveavatar.model.text import HashedWords
from liveavatar.model.transformer import initialise
from liveavatar.training import checkpoint
from liveavatar.training.codec_stage import CodecStage, LightStage, fit_basis
from liveavatar.training.data import shard_files
from liveavatar.training.diffusion_forcing import ForcingStage, Generator
from liveavatar.training.loop import Stage, train
from liveavatar.training.prepare import encode_shard
from liveavatar.training.recipes import ForcingOptions, Recipe
from liveavatar.training.voice_stage import VoiceReader, VoiceStage

logger = logging.getLogger(__name__)
BASIS = "basis.safetensors"


def run(
    recipe: Recipe,
    shards: Path,
    codec: Path | None,
    out: Path,
    max_minutes: float,
    start: Path | None = None,
    voice: Path | None = None,
) -> None:
    """Train the recipe's stage into `out`, resuming what is there.

    start: a training folder to take weights from; voice: that of the "voice" stage, for stage 1's audio encoder.
    """
    torch.manual_seed(recipe.seed)  # initial weights only; everything later is keyed by step
    stage = _stage(recipe, shards, codec)
    if start is not None:
        missing, unknown = stage.model.load_state_dict(load_file(averaged(start)), strict=False)
        logger.info("started from %s; new: %s; left out: %s", start, missing, unknown)
    if voice is not None:
        assert isinstance(stage, ForcingStage)
        _adopt_voice(stage.model, voice)
    train(stage, recipe, out, max_minutes)


def _adopt_voice(model: Generator, folder: Path) -> None:
    """The trained audio encoder into the generator."""
    reader = VoiceReader(nano())
    reader.load_state_dict(load_file(averaged(folder)))
    model.transformer.casual_audio_encoder.load_state_dict(reader.encoder.state_dict())


def _stage(recipe: Recipe, shards: Path, codec: Path | None) -> Stage:
    profile = nano()
    if recipe.stage == "codec":
        assert codec is not None
        return CodecStage(load_codec(codec), shards, recipe.seed, recipe.batch)
    if recipe.stage == "light":
        assert codec is not None
        decoder = LightDecoder(profile.codec)
        return LightStage(load_codec(codec).requires_grad_(False), decoder, shards, recipe.seed, recipe.batch)
    if recipe.stage == "voice":
        return VoiceStage(profile, shards, recipe.seed, recipe.batch)
    model = Generator(profile)
    initialise(model.transformer, torch.Generator().manual_seed(recipe.seed))
    stage = ForcingStage(profile, model, shards, recipe.seed, recipe.batch, ForcingOptions())
    stage.fit_residual(model)
    return stage


def load_codec(folder: Path) -> Codec:
    """The codec of a training folder: its fitted linear code, and the averaged decoder once that was trained."""
    codec = Codec(nano().codec)
    trained = checkpoint.latest(folder)
    codec.load_state_dict(load_file(trained / "ema.safetensors" if trained else folder / BASIS))
    return codec


def basis(shards: Path, folder: Path) -> None:
    """Fit the linear code into `folder`: what `prepare`, `codec` and `light` start from."""
    codec = Codec(nano().codec)
    fit_basis(codec, shards, seed=0)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in codec.state_dict().items()}, folder / BASIS)


def averaged(folder: Path) -> Path:
    """The averaged weights of a training folder's newest checkpoint."""
    found = checkpoint.latest(folder)
    if found is None:
        raise FileNotFoundError(f"no checkpoint in {folder}; train that stage first")
    return found / "ema.safetensors"


def prepare(shards: Path, codec_folder: Path, latents: Path, part: int = 0, parts: int = 1) -> None:
    """Encode every `parts`-th rendered shard from the `part`-th on."""
    codec = load_codec(codec_folder).eval()
    c = nano().transformer
    words = HashedWords(c.text_dim, c.text_len)
    latents.mkdir(parents=True, exist_ok=True)
    for source in shard_files(shards)[part::parts]:
        encode_shard(codec, words, source, latents / source.name)
        logger.info("encoded %s", source.name)


def export(codec: Path, light: Path, stage1: Path, weights: Path) -> None:
    """Averaged weights of all stages to bf16 files with a manifest: what the package ships."""
    parts = {"light_decoder": load_file(averaged(light)), "generator": load_file(averaged(stage1))}
    parts["codec"] = dict(load_codec(codec).state_dict())
    recipes = {"codec": codec, "light_decoder": light, "generator": stage1}
    records = {name: _record(folder) for name, folder in recipes.items()}
    write_weights(weights, "nano", parts, records)


def _record(folder: Path) -> dict[str, object]:
    """Recipe, steps done and the last held-out figures of a training folder."""
    found = checkpoint.latest(folder)
    if found is None:
        return {"recipe": "linear code only", "held_out": None}
    state = json.loads((found / "state.json").read_text())
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    held_out = [line["held_out"] for line in lines if "held_out" in line]
    return {**state, "held_out": held_out[-1] if held_out else None}
