"""Rendered clips to latent shards: what stage 1 reads, encoded once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from liveavatar.model.codec import Codec
from liveavatar.model.text import HashedWords
from liveavatar.training.codec_stage import to_pixels
from liveavatar.training.data import metadata
from liveavatar.training.voice_stage import TRACKS

ENCODE_BATCH = 8


@torch.no_grad()
def encode_shard(codec: Codec, words: HashedWords, source: Path, target: Path) -> None:
    """One shard of frames to one shard of latents (float16); skipped when the target is already there."""
    if target.exists():
        return
    with safe_open(source, "pt") as shard:
        frames, pictures = shard.get_tensor("frames"), shard.get_tensor("references")
        kept = {name: shard.get_tensor(name) for name in ("audio", "mouth_box", *TRACKS)}
    prompts = metadata(source)["genbench"]["prompts"]  # type: ignore[index]
    tensors = {
        "latents": _encode(codec, to_pixels(frames)),
        "references": _encode(codec, to_pixels(pictures.flatten(0, 1)[:, None]))[:, :, 0].unflatten(0, (-1, 2)),
        "words": torch.stack([words.word_ids(prompt) for prompt in prompts]),
        "channels": codec.channel_weights().expand(len(prompts), -1),
        **kept,
    }
    partial = target.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial, {"source": json.dumps(source.name)})
    os.replace(partial, target)


def _encode(codec: Codec, video: Tensor) -> Tensor:
    return torch.cat([codec.encode(part).half() for part in video.split(ENCODE_BATCH)])
