"""Components of the `s2v-14b` profile: a checkpoint folder in the official layout, or random weights of any size.

Sizes come from the folder (`config.json`, shapes of tensors), so a tiny folder runs by the code that the published one
takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from liveavatar.checkpoints.encoders import load_prompt_encoder, load_wav2vec
from liveavatar.checkpoints.files import open_files
from liveavatar.checkpoints.layout import S2V_14B, VAE_BASE_DIM, WAV2VEC_LARGE
from liveavatar.checkpoints.load import load_into
from liveavatar.checkpoints.lora import merge_lora
from liveavatar.checkpoints.official import OfficialFolder
from liveavatar.checkpoints.random_weights import fill_randomly
from liveavatar.checkpoints.sample import TINY_S2V, TINY_VAE_DIM, TINY_WAV2VEC
from liveavatar.checkpoints.store import WeightsError
from liveavatar.checkpoints.vae import load_codec, wan_codec
from liveavatar.components import ALL_PARTS, Components, Placement, finish_transformer
from liveavatar.config import ProfileConfig, RolloutOptions, TransformerConfig, official_transformer
from liveavatar.model.codec import Codec
from liveavatar.model.text import HashedWords
from liveavatar.model.transformer import S2VTransformer
from liveavatar.model.wav2vec import Wav2VecStates
from liveavatar.streaming.speech import SpeechConditions


def official(config: ProfileConfig, root: Path, place: Placement, parts: frozenset[str] = ALL_PARTS) -> Components:
    """Everything, or the named parts, from a folder in the official layout; one shard is in memory at a time.

    Raises WeightsError naming what is missing, unknown, misshapen or cut short.
    """
    folder = OfficialFolder(root)
    sizes = _transformer_sizes(folder)
    # The small files first: what is wrong with them shows before 33 GB are read.
    voice = load_wav2vec(folder.voice, place.device) if "voice" in parts else None
    codec = load_codec(open_files(folder.codec), place.device, place.dtype)
    text = None
    if "text" in parts:
        text = load_prompt_encoder(open_files(folder.text), folder.tokenizer, place.rare_device, place.dtype, sizes.text_len)
    _check_fit(root, sizes, voice, text.encoder.sizes.dim if text else None)
    with torch.device("meta"):
        transformer = S2VTransformer(sizes)
    if "transformer" in parts:
        load_into(transformer, open_files(folder.transformer), place.rare_device, place.dtype)
        merge_lora(transformer, open_files(folder.lora))
    config = replace(config, transformer=sizes, codec=codec.config)

    def rows(prompt: str) -> torch.Tensor:
        if text is None:
            raise RuntimeError("this process was built without the text encoder; build it with the part 'text'")
        return text([prompt]).to(place.device)

    return _components(config, transformer, codec, voice, rows, place, parts)


def random_official(
    config: ProfileConfig, place: Placement, is_tiny: bool = False, parts: frozenset[str] = ALL_PARTS
) -> Components:
    """Random weights: the published sizes, or those of the sample folder. Nothing is read.

    Prompts are hashed into rows of the right width: a text encoder of 5.7 G random parameters would say no more.
    """
    sizes = official_transformer(TINY_S2V if is_tiny else S2V_14B)
    settings: Mapping[str, Any] = TINY_WAV2VEC if is_tiny else WAV2VEC_LARGE
    with torch.device("meta"):
        transformer, voice = S2VTransformer(sizes), Wav2VecStates(settings)
        codec = Codec(wan_codec(TINY_VAE_DIM if is_tiny else VAE_BASE_DIM))
        words = HashedWords(sizes.text_dim, sizes.text_len)
    if "transformer" in parts:
        fill_randomly(transformer, place.rare_device, place.dtype)
    for network, dtype in ((codec, place.dtype), (words, place.dtype)):
        fill_randomly(network, place.device, dtype)
    if "voice" in parts:
        fill_randomly(voice, place.device, torch.float32)
    config = replace(config, transformer=sizes, codec=codec.config)

    def rows(prompt: str) -> torch.Tensor:
        return words(words.word_ids(prompt)[None].to(place.device))

    return _components(config, transformer, codec, voice if "voice" in parts else None, rows, place, parts)


def _components(
    config: ProfileConfig,
    transformer: S2VTransformer,
    codec: Codec,
    voice: Wav2VecStates | None,
    prompt_rows: Any,
    place: Placement,
    parts: frozenset[str],
) -> Components:
    model = finish_transformer(transformer, place) if "transformer" in parts else transformer

    def conditions(options: RolloutOptions) -> SpeechConditions:
        if voice is None:
            raise RuntimeError("this process was built without the voice encoder; build it with the part 'voice'")
        return SpeechConditions(model, voice, config, options.audio_context, options.clip_blocks, options.audio_history)

    return Components(
        config=config,
        transformer=model,
        codec=codec,
        prompt_rows=prompt_rows,
        conditions=conditions,
    )


def _transformer_sizes(folder: OfficialFolder) -> TransformerConfig:
    values = folder.config()
    try:
        return official_transformer(values)
    except ValueError as error:
        raise WeightsError(f"{folder.base / 'config.json'}: {error}") from error


def _check_fit(root: Path, sizes: TransformerConfig, voice: Wav2VecStates | None, text_dim: int | None) -> None:
    """The networks that are there must speak of the same widths."""
    pairs = [] if text_dim is None else [("text_dim", sizes.text_dim, text_dim, "the text encoder's width")]
    if voice is not None:
        pairs.append(("audio_dim", sizes.audio_dim, voice.width, "the voice encoder's width"))
        pairs.append(("audio layers", sizes.audio_layers, voice.layers + 1, "the voice encoder's states"))
    wrong = [f"{name} is {wanted}, {what} {given}" for name, wanted, given, what in pairs if wanted != given]
    if wrong:
        raise WeightsError(f"{root} holds networks that do not belong together: {'; '.join(wrong)}")
