"""DINOv2: preparation against the reference, the official key set, both file forms, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.metrics.dino_s import cosine_tracks, vbench_style
from evalkit.metrics.official.dinov2 import BASE, load_dinov2, normalise, prepare, prepare_full, renamed, resize_and_crop
from evalkit.metrics.weights import WeightsError
from tests.evalkit import metric_goldens as golden

transformers = pytest.importorskip("transformers", reason="DINOv2 needs: pip install 'live-avatar[official]'")
TINY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 14, "image_size": 56}


@golden.needs_goldens
def test_preparation_and_means_match_the_reference() -> None:
    expected = golden.arrays("dino")
    cropped = resize_and_crop(expected["image"])
    np.testing.assert_array_equal(cropped[::3, ::3], expected["resized_cropped_uint8_every3"])
    values = normalise(cropped[None])[0, :, ::9, ::9].numpy()
    np.testing.assert_allclose(values, expected["normalised_every9"], rtol=0, atol=1e-6)
    torch.testing.assert_close(prepare(expected["image"][None]), normalise(cropped[None]))
    tracks = cosine_tracks(expected["reference"], expected["frames"])
    for name, key in (("cos_reference", "mean_reference"), ("cos_first", "mean_first"), ("cos_previous", "mean_previous")):
        assert tracks[name].mean() == pytest.approx(float(expected[key]), abs=1e-6)
    np.testing.assert_allclose(tracks["cos_reference"], expected["torch_cos_reference"], atol=1e-6)
    assert vbench_style(tracks) == pytest.approx(float(expected["vbench_style"]), abs=1e-6)


def original_names(config: transformers.Dinov2Config, fill: float = 0.2) -> dict[str, torch.Tensor]:
    """Random tensors in the layout of the original checkpoint."""
    width, patches = config.hidden_size, (config.image_size // config.patch_size) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + patches, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, config.patch_size, config.patch_size),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    vectors = ("norm1.weight", "norm1.bias", "attn.proj.bias", "ls1.gamma", "norm2.weight", "norm2.bias", "mlp.fc2.bias")
    for layer in range(config.num_hidden_layers):
        shapes |= {f"blocks.{layer}.{name}": (width,) for name in (*vectors, "ls2.gamma")}
        shapes |= {
            f"blocks.{layer}.attn.qkv.weight": (3 * width, width),
            f"blocks.{layer}.attn.qkv.bias": (3 * width,),
            f"blocks.{layer}.attn.proj.weight": (width, width),
            f"blocks.{layer}.mlp.fc1.weight": (4 * width, width),
            f"blocks.{layer}.mlp.fc1.bias": (4 * width,),
            f"blocks.{layer}.mlp.fc2.weight": (width, 4 * width),
        }
    generator = torch.Generator().manual_seed(0)
    return {name: fill * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_the_original_layout_has_as_many_values_as_vit_b() -> None:
    with torch.device("meta"):
        model = transformers.Dinov2Model(transformers.Dinov2Config(**BASE))
    tiny = transformers.Dinov2Config(**TINY)
    with torch.device("meta"):
        small = transformers.Dinov2Model(tiny)
    given = renamed(original_names(tiny))
    assert len(given) == len(small.state_dict())
    assert sum(tensor.numel() for tensor in given.values()) == sum(p.numel() for p in small.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == 86_580_480


def test_both_file_forms_give_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = transformers.Dinov2Config(**TINY)
    state = original_names(config)
    torch.save(state, tmp_path / "dinov2_vitb14_pretrain.pth")
    monkeypatch.setattr("evalkit.metrics.official.dinov2.BASE", TINY)
    from_file = load_dinov2(tmp_path / "dinov2_vitb14_pretrain.pth")
    folder = tmp_path / "dinov2-base"
    from_file.model.save_pretrained(folder)
    from_folder = load_dinov2(folder)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 90, 60, 3), dtype=np.uint8)
    with torch.inference_mode():
        one, other = from_file(prepare(pictures)), from_folder(prepare(pictures))
        full = from_folder(prepare_full(pictures))
    assert one.shape == full.shape == (2, TINY["hidden_size"])
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not torch.allclose(one[0], one[1])
    cos = torch.nn.functional.cosine_similarity(one[0], one[0], dim=0)
    assert float(cos) == pytest.approx(1)


def test_an_incomplete_folder_and_another_model_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_dinov2(tmp_path)
    monkeypatch.setattr("evalkit.metrics.official.dinov2.BASE", TINY)
    state = original_names(transformers.Dinov2Config(**TINY))
    torch.save({**state, "register_tokens": torch.zeros(1, 4, 48)}, tmp_path / "registers.pth")
    with pytest.raises(WeightsError, match="register_tokens"):
        load_dinov2(tmp_path / "registers.pth")
    del state["blocks.1.mlp.fc1.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(WeightsError, match="missing keys"):
        load_dinov2(tmp_path / "short.pth")
