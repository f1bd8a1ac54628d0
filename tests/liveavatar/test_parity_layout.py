"""Names and shapes of the official files: the published counts, and the references' own state dictionaries."""

from __future__ import annotations

import math

import pytest
import torch

from liveavatar.checkpoints.encoders import umt5_sizes, wav2vec_key_map
from liveavatar.checkpoints.files import TensorInfo
from liveavatar.checkpoints.layout import (
    S2V_14B,
    UMT5_XXL,
    WAV2VEC_LARGE,
    Layout,
    lora_layout,
    lora_targets,
    s2v_layout,
    umt5_layout,
    vae_layout,
    wav2vec_layout,
)
from tests.liveavatar.golden import golden, with_prefix


def shapes(tensors: dict[str, torch.Tensor]) -> Layout:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def values(layout: Layout) -> int:
    return sum(math.prod(shape) for shape in layout.values())


def test_the_published_transformer_has_1260_tensors_and_16295755609_values() -> None:
    layout = s2v_layout(S2V_14B)
    assert (len(layout), values(layout)) == (1260, 16_295_755_609)


def test_the_published_lora_adapts_448_modules() -> None:
    layout = s2v_layout(S2V_14B)
    assert len(lora_targets(layout)) == 448
    adapters = lora_layout(layout, rank=128)
    assert len(adapters) == 896
    assert round(values(adapters) / 1e6) == 676


def test_the_published_encoders_have_their_known_sizes() -> None:
    assert (len(vae_layout()), round(values(vae_layout()) / 1e5)) == (194, 1269)
    assert len(umt5_layout(UMT5_XXL)) == 242
    assert round(values(umt5_layout(UMT5_XXL)) * 2 / 1e8) == 114  # 11.4 GB in bfloat16
    assert round(values(wav2vec_layout(WAV2VEC_LARGE)) / 1e6) == 315


@pytest.mark.parametrize(
    "name", ["s2v_bidirectional", "s2v_bidirectional_plainmotion", "s2v_block_causal_train", "s2v_causal"]
)
def test_the_transformer_layout_is_the_reference_state(name: str) -> None:
    tensors, config = golden(name)
    assert s2v_layout(config["config"]) == shapes(with_prefix(tensors, "sd."))


def test_the_lora_layout_is_the_published_naming() -> None:
    tensors, config = golden("lora_merge")
    layout = s2v_layout(config["config"])
    assert sorted(lora_targets(layout)) == sorted(config["adapted_modules"])
    assert lora_layout(layout, config["r"]) == shapes(with_prefix(tensors, "lora."))


def test_the_codec_layout_is_the_reference_state() -> None:
    tensors, config = golden("vae")
    assert vae_layout(config["dim"], config["z_dim"]) == shapes(with_prefix(tensors, "sd."))


def test_the_text_layout_is_the_reference_state() -> None:
    tensors, _ = golden("text_encoder")
    expected = shapes(with_prefix(tensors, "sd."))
    infos = {name: TensorInfo("F32", shape, 4 * math.prod(shape)) for name, shape in expected.items()}
    assert umt5_layout(umt5_sizes(infos)) == expected


def test_the_voice_layout_is_the_reference_state() -> None:
    tensors, config = golden("wav2vec_states")
    expected = {f"network.{name}": shape for name, shape in shapes(with_prefix(tensors, "sd.")).items()}
    expected.pop("network.masked_spec_embed")
    mapped = {wav2vec_key_map(name): shape for name, shape in wav2vec_layout(config["config"]).items()}
    mapped.pop(None)
    assert mapped == expected
