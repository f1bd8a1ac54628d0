"""Qwen-Image through diffusers' own pipeline class, with a tiny random configuration: what is asked, and what is refused."""

from __future__ import annotations

import inspect
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genbench.errors import ProviderError
from genbench.providers import make_image
from genbench.providers.qwen_image import SIZES
from genbench.spec import SetSize, draw_set

pytest.importorskip("transformers", reason="Qwen-Image's text encoder needs: pip install 'live-avatar[official]'")
SMALL = {"head": (48, 64), "half_body": (64, 64), "full_body": (32, 64)}
SPECS = draw_set("short", "full", size=SetSize(6, (8.0, 9.0)), kind="generated").samples


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A pipeline folder with every real class at a few thousand parameters, and a byte-level tokenizer made here."""
    import torch
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    torch.manual_seed(0)
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    text = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": 300, "bos_token_id": None, "eos_token_id": None,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6},
    }  # fmt: skip
    seen = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=seen)).eval()
    words = [*bytes_to_unicode().values(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Qwen2Tokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])
    folder = tmp_path_factory.mktemp("qwen")
    QwenImagePipeline(FlowMatchEulerDiscreteScheduler(), vae, encoder, tokenizer, transformer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def provider(tiny):
    return make_image("qwen_image", {"model": str(tiny), "steps": 1, "device": "cpu", "sizes": SMALL, "suffix": ", sharp."})


def size_of(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


def test_pictures_have_the_size_of_their_framing_and_follow_the_seed(provider):
    spec = SPECS[0]
    first = provider.draw(spec)
    assert size_of(first.png) == SMALL[spec.framing]
    assert provider.draw(spec).png == first.png
    assert provider.draw(replace(spec, seed=spec.seed + 1)).png != first.png
    assert first.face_box is None


def test_the_pipeline_is_asked_as_its_makers_say(provider, monkeypatch):
    asked = {}

    class Answer:
        images = (Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint8).reshape(64, 48, 3)),)

    real = provider._load()

    class Recorder:
        tokenizer = real.tokenizer

        def __call__(self, **given):
            asked.update(given)
            return Answer()

    monkeypatch.setattr(provider, "_pipeline", Recorder())
    spec = next(spec for spec in SPECS if spec.framing == "head")
    provider.draw(spec)
    # Guidance acts only with a negative prompt, and `guidance_scale` does nothing for these models.
    assert asked["true_cfg_scale"] == 4.0
    assert asked["negative_prompt"] == " "
    assert "guidance_scale" not in asked
    assert asked["prompt"] == spec.picture_prompt.rstrip(".") + ", sharp."
    assert asked["generator"].device.type == "cpu"
    # One token a byte here: longer than 512 tokens, which the pipeline would cut to without a word.
    tokens = len(real.tokenizer(asked["prompt"])["input_ids"])
    assert asked["max_sequence_length"] == (1024 if tokens > 512 else 512)
    assert set(asked) <= set(inspect.signature(type(real).__call__).parameters)


def test_silent_traps_are_refused(provider, tiny, tmp_path):
    with pytest.raises(ValueError, match="tokens, the model reads 1024"):
        provider.draw(replace(SPECS[0], picture_prompt="long " * 300))
    with pytest.raises(ValueError, match="empty picture prompt"):
        provider.draw(replace(SPECS[0], picture_prompt=" "))
    with pytest.raises(ValueError, match="multiples of 16"):
        make_image("qwen_image", {"sizes": {"head": (70, 35)}})
    with pytest.raises(ValueError, match="negative prompt"):
        make_image("qwen_image", {"negative_prompt": ""})
    with pytest.raises(ProviderError, match="cannot be loaded"):
        make_image("qwen_image", {"model": str(tmp_path), "device": "cpu"}).draw(SPECS[0])


def test_the_sizes_are_what_the_pipeline_keeps():
    assert all(side % 16 == 0 for size in SIZES.values() for side in size)


def test_the_description_names_the_model_and_nothing_of_the_machine(provider, tiny):
    record = provider.describe()
    assert record["model"] == tiny.name
    assert str(tiny.parent) not in str(record)
