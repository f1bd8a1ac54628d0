"""What the `s2v-14b` profile is made of: its files, where they are published, how large they are, and where they lie.

A checkpoint folder holds the two published folders side by side, under the names that their downloads are given here.
Nothing in this file reaches the network: the download commands are text for the user.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liveavatar.checkpoints.encoders import END_TOKEN
from liveavatar.checkpoints.layout import (
    S2V_14B,
    UMT5_XXL,
    WAV2VEC_LARGE,
    Layout,
    lora_layout,
    s2v_layout,
    umt5_layout,
    vae_layout,
    wav2vec_layout,
)
from liveavatar.checkpoints.store import WeightsError

BASE_HUB, BASE_FOLDER = "Wan-AI/Wan2.2-S2V-14B", "Wan2.2-S2V-14B"
LORA_HUB, LORA_FOLDER = "Quark-Vision/Live-Avatar", "LiveAvatar"
SHARD_STEM = "diffusion_pytorch_model"
LORA_RANK = 128

WAN_TERMS = 'README of github.com/Wan-Video/Wan2.2, License Agreement: "The models in this repository"'
LORA_TERMS = (
    'README of github.com/Alibaba-Quark/LiveAvatar, License Agreement: "The majority of this project"; '
    "whether its hub says the same of the weights was not checked"
)
THEIR_OWN_TERMS = WAN_TERMS + "; the terms of {}, from which this file is, were not checked"


@dataclass(frozen=True)
class Part:
    """One network of the profile: what it is for, from which hub, which files, and how much they hold when published.

    bytes_each: per stored value. extra: small files that belong to it. licence_source: where its licence is stated, and
    what was not looked up.
    """

    name: str
    purpose: str
    hub: str
    folder: str
    file: str
    values: int
    bytes_each: int
    extra: tuple[str, ...] = ()
    licence: str = "Apache-2.0"
    licence_source: str = WAN_TERMS

    @property
    def bytes(self) -> int:
        return self.values * self.bytes_each


def _values(layout: Layout) -> int:
    return sum(math.prod(shape) for shape in layout.values())


def parts() -> tuple[Part, ...]:
    """The five networks that `s2v-14b` needs, at their published sizes."""
    transformer = s2v_layout(S2V_14B)
    tokenizer = ("google/umt5-xxl/tokenizer.json",)
    voice = "wav2vec2-large-xlsr-53-english"
    return (
        Part(
            "transformer",
            "base model, 4 shards with an index",
            BASE_HUB,
            BASE_FOLDER,
            f"{SHARD_STEM}-0000?-of-0000?.safetensors",
            _values(transformer),
            2,
            ("config.json", f"{SHARD_STEM}.safetensors.index.json"),
        ),
        Part(
            "lora",
            "Live Avatar's distilled weights, rank 128 (2.7 GB if published in float32)",
            LORA_HUB,
            LORA_FOLDER,
            "liveavatar.safetensors",
            _values(lora_layout(transformer, LORA_RANK)),
            2,
            licence_source=LORA_TERMS,
        ),
        Part(
            "text",
            f"UMT5-XXL encoder; the tokenizer ends prompts with {END_TOKEN}",
            BASE_HUB,
            BASE_FOLDER,
            "models_t5_umt5-xxl-enc-bf16.pth",
            _values(umt5_layout(UMT5_XXL)),
            2,
            tokenizer,
            licence_source=THEIR_OWN_TERMS.format("google/umt5-xxl"),
        ),
        Part(
            "voice",
            "wav2vec2 encoder",
            BASE_HUB,
            BASE_FOLDER,
            f"{voice}/model.safetensors",
            _values(wav2vec_layout(WAV2VEC_LARGE)),
            4,
            (f"{voice}/config.json", f"{voice}/preprocessor_config.json"),
            licence_source=THEIR_OWN_TERMS.format(f"jonatasgrosman/{voice}"),
        ),
        Part("codec", "Wan 2.1 video codec", BASE_HUB, BASE_FOLDER, "Wan2.1_VAE.pth", _values(vae_layout()), 4),
    )


def download_commands(root: Path) -> list[str]:
    """What the user may run to fetch everything into `root`; both commands resume."""
    pairs = ((BASE_HUB, BASE_FOLDER), (LORA_HUB, LORA_FOLDER))
    return [f"hf download {hub} --local-dir {root / folder}" for hub, folder in pairs]


class OfficialFolder:
    """Paths inside a checkpoint folder; converted `.safetensors` files are preferred to the published `.pth` files."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise WeightsError(f"{root} is no folder; see python -m liveavatar weights list")
        self.root = root
        self.base, self.lora_folder = root / BASE_FOLDER, root / LORA_FOLDER

    @property
    def transformer(self) -> Path:
        """The index of the shards, or the folder of a single file."""
        index = self.base / f"{SHARD_STEM}.safetensors.index.json"
        single = self.base / f"{SHARD_STEM}.safetensors"
        if not index.is_file() and not single.is_file():
            raise WeightsError(f"{index} is missing; fetch the folder: {download_commands(self.root)[0]}")
        return index if index.is_file() else single

    @property
    def lora(self) -> Path:
        return self.lora_folder / "liveavatar.safetensors"

    @property
    def text(self) -> Path:
        return _converted(self.base / "models_t5_umt5-xxl-enc-bf16.pth")

    @property
    def tokenizer(self) -> Path:
        return self.base / "google" / "umt5-xxl"

    @property
    def voice(self) -> Path:
        return self.base / "wav2vec2-large-xlsr-53-english"

    @property
    def codec(self) -> Path:
        return _converted(self.base / "Wan2.1_VAE.pth")

    def config(self) -> dict[str, Any]:
        """The transformer's `config.json`; raises WeightsError when it is missing, damaged or of another model."""
        file = self.base / "config.json"
        try:
            config = json.loads(file.read_text())
            s2v_layout(config)
        except KeyError as error:
            raise WeightsError(f"{file} has no {error.args[0]!r}; it does not describe an S2V transformer") from error
        except (OSError, ValueError, TypeError) as error:
            raise WeightsError(f"{file} cannot be read ({error}); fetch it again") from error
        return config


def _converted(published: Path) -> Path:
    converted = published.with_suffix(".safetensors")
    return converted if converted.is_file() else published
