"""A complete checkpoint folder in the official layout, with tiny random weights: for tests of the whole road.

Every file has the official name, format, key names and dtype; only the sizes differ, and they stand where the official
ones stand (`config.json`, shapes). What loads this folder loads the published one.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from liveavatar.checkpoints.layout import (
    AUDIO_LAYERS,
    S2V_14B,
    WAV2VEC_LARGE,
    Layout,
    lora_layout,
    s2v_layout,
    umt5_layout,
    vae_layout,
    wav2vec_layout,
)
from liveavatar.checkpoints.official import BASE_FOLDER, LORA_FOLDER, SHARD_STEM
from liveavatar.checkpoints.store import WeightsError
from liveavatar.checkpoints.verify import write_checksums
from liveavatar.model.umt5 import UMT5Sizes

SHARDS = 4
LORA_RANK = 4
_TEXT_DIM = _AUDIO_DIM = 32
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"()-"

# As S2V_14B, small. text_dim is written although the official file leaves it out: its default is 4096.
TINY_S2V: dict[str, Any] = S2V_14B | {
    "dim": 64,
    "num_heads": 2,
    "num_layers": 3,
    "ffn_dim": 128,
    "freq_dim": 32,
    "text_dim": _TEXT_DIM,
    "audio_dim": _AUDIO_DIM,
    "audio_inject_layers": [0, 2],
}
TINY_WAV2VEC: dict[str, Any] = WAV2VEC_LARGE | {
    "hidden_size": _AUDIO_DIM,
    "num_hidden_layers": AUDIO_LAYERS - 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "pad_token_id": 0,
}
_TINY_VAE_DIM = 4


def write_sample(root: Path, seed: int = 0) -> list[Path]:
    """Write the folder and give its files; the same seed gives the same bytes. About 3 MB.

    Raises WeightsError when `root` holds anything already: random weights never replace real ones.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise WeightsError(f"{root} is not empty; give a new folder for the sample")
    base, lora = root / BASE_FOLDER, root / LORA_FOLDER
    for folder in (base, lora):
        folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    files = _write_transformer(base, generator)
    layout = lora_layout(s2v_layout(TINY_S2V), LORA_RANK)
    # alpha / rank is 16 here and 0.5 in the published file, whose products are small beside the weights as well.
    adapters = {name: 0.1 * value for name, value in _random(layout, generator).items()}
    files.append(_save(adapters, lora / "liveavatar.safetensors"))
    files += _write_text(base, generator)
    files += _write_voice(base / "wav2vec2-large-xlsr-53-english", generator)
    files.append(base / "Wan2.1_VAE.pth")
    torch.save(_random(vae_layout(_TINY_VAE_DIM), generator, torch.float32), files[-1])
    write_checksums(root, files)
    return files


def _random(layout: Layout, generator: torch.Generator, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """Values that keep signals at about their size: weights by fan-in, norms near one, biases and modulations small."""
    tensors = {}
    for name, shape in layout.items():
        value = torch.randn(shape, generator=generator)
        is_gain = name.endswith((".gamma", "weight_g")) or (name.endswith("weight") and len(shape) == 1)
        if is_gain or name == "casual_audio_encoder.weights":
            value = 1 + 0.1 * value
        elif name.endswith(("weight", "weight_v")) and len(shape) > 1:
            value = value / math.sqrt(math.prod(shape[1:]))
        else:
            value = 0.1 * value
        tensors[name] = value.to(dtype)
    return tensors


def _save(tensors: dict[str, Tensor], file: Path) -> Path:
    save_file(tensors, file, metadata={"format": "pt"})
    return file


def _write_json(content: dict[str, Any], file: Path) -> Path:
    file.write_text(json.dumps(content, indent=2) + "\n")
    return file


def _write_transformer(base: Path, generator: torch.Generator) -> list[Path]:
    """config.json, the shards in order of their tensors, and the index."""
    tensors = _random(s2v_layout(TINY_S2V), generator)
    config = {"_class_name": "WanModel_S2V", "_diffusers_version": "0.34.0", **TINY_S2V}
    names = [f"{SHARD_STEM}-{number + 1:05d}-of-{SHARDS:05d}.safetensors" for number in range(SHARDS)]
    keys = list(tensors)
    per_shard = -(-len(keys) // SHARDS)
    weight_map = {key: names[place // per_shard] for place, key in enumerate(keys)}
    files = [
        _save({key: tensors[key] for key in keys[number * per_shard : (number + 1) * per_shard]}, base / name)
        for number, name in enumerate(names)
    ]
    total = sum(value.numel() * value.element_size() for value in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    files.append(_write_json(index, base / f"{SHARD_STEM}.safetensors.index.json"))
    files.append(_write_json(config, base / "config.json"))
    return files


def _write_text(base: Path, generator: torch.Generator) -> list[Path]:
    tokenizer = base / "google" / "umt5-xxl"
    tokenizer.mkdir(parents=True)
    content = tokenizer_json()
    vocabulary = len(content["model"]["vocab"])
    sizes = UMT5Sizes(vocabulary, dim=_TEXT_DIM, attention_dim=_TEXT_DIM, ffn_dim=48, heads=4, layers=2)
    weights = base / "models_t5_umt5-xxl-enc-bf16.pth"
    torch.save(_random(umt5_layout(sizes), generator), weights)
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return [
        weights,
        _write_json(content, tokenizer / "tokenizer.json"),
        _write_json({**special, "tokenizer_class": "T5Tokenizer"}, tokenizer / "tokenizer_config.json"),
        _write_json(special, tokenizer / "special_tokens_map.json"),
    ]


def tokenizer_json() -> dict[str, Any]:
    """A tokenizer of single letters in UMT5's form: unigrams, a mark for spaces, the end token behind every prompt."""
    space, end = "\u2581", "</s>"
    marks = ("<pad>", end, "<unk>")
    added = [
        {"id": number, "content": mark, "special": True, "normalized": False}
        | {"single_word": False, "lstrip": False, "rstrip": False}
        for number, mark in enumerate(marks)
    ]
    metaspace = {"type": "Metaspace", "replacement": space, "prepend_scheme": "always", "split": True}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    closing = {"SpecialToken": {"id": end, "type_id": 0}}
    vocabulary = [[mark, 0.0] for mark in marks] + [[letter, -3.0] for letter in (space, *_LETTERS)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, closing],
            "pair": [first, closing, second, closing],
            "special_tokens": {end: {"id": end, "ids": [marks.index(end)], "tokens": [end]}},
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": marks.index("<unk>"), "vocab": vocabulary, "byte_fallback": False},
    }


def _write_voice(folder: Path, generator: torch.Generator) -> list[Path]:
    folder.mkdir(parents=True)
    processor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "sampling_rate": 16_000,
        "feature_size": 1,
        "do_normalize": True,
        "padding_value": 0.0,
        "return_attention_mask": True,
    }
    return [
        _save(_random(wav2vec_layout(TINY_WAV2VEC), generator, torch.float32), folder / "model.safetensors"),
        _write_json(TINY_WAV2VEC, folder / "config.json"),
        _write_json(processor, folder / "preprocessor_config.json"),
    ]
