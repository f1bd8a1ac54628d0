"""8-bit quantisation against the reference, and what it costs in accuracy where it is measured: on this processor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from liveavatar.model.attention import FullContext
from liveavatar.model.fp8 import RELEASED_EXCLUSIONS, Fp8Linear, dequantise, quantise, quantise_linears
from liveavatar.model.rope import rope_table
from tests.liveavatar.golden import FOLDER, golden
from tests.liveavatar.tiny import tiny_model, tiny_profile


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cases() -> list[str]:
    names = golden("fp8_quant")[0] if FOLDER.is_dir() else ["small.x"]
    return sorted(name.removesuffix(".x") for name in names if name.endswith(".x"))


@pytest.mark.parametrize("case", cases())
def test_quantised_bits_are_the_reference(case: str) -> None:
    tensors, _ = golden("fp8_quant")
    q, inverse_scale = quantise(tensors[f"{case}.x"])
    torch.testing.assert_close(inverse_scale, tensors[f"{case}.inv_scale"], atol=0, rtol=1e-6)
    bits, expected = q.view(torch.uint8).int(), tensors[f"{case}.q_bits"].int()
    # A tie may go either way; anything else must be the same bit pattern.
    assert (bits - expected).abs().max() <= 1
    assert (bits != expected).float().mean() < 0.01
    step = tensors[f"{case}.dequant"].abs().clamp_min(float(inverse_scale) * 2**-6) / 8
    assert ((dequantise(q, inverse_scale) - tensors[f"{case}.dequant"]).abs() <= step).all()


def test_small_values_do_not_use_the_whole_range() -> None:
    assert quantise(torch.tensor([0.5, -0.25]))[0].float().tolist() == [224.0, -112.0]
    assert quantise(torch.tensor([896.0, -2.0]))[0].float().tolist() == [448.0, -1.0]
    q, inverse_scale = quantise(torch.zeros(3))
    assert not q.float().any()
    assert torch.isfinite(inverse_scale).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_quantised_layer_errs_by_less_than_the_format_allows(dtype: torch.dtype) -> None:
    layer = nn.Linear(256, 128)
    layer.weight.data, layer.bias.data = random(128, 256) / 16, random(128, seed=1)
    x = random(4, 50, 256, seed=2)
    exact = layer(x)
    out = Fp8Linear(layer.to(dtype))(x.to(dtype))
    assert out.dtype == dtype
    assert out.shape == exact.shape
    relative = ((out.float() - exact).norm() / (exact - layer.bias).norm()).item()
    # Three bits of mantissa: each factor is off by at most 1/16, by about 2.6 % at random, so a product by about 3.7 %.
    assert 0.02 < relative < 0.05


def test_a_layer_of_representable_numbers_is_exact() -> None:
    layer = nn.Linear(32, 16)
    layer.weight.data = torch.randint(-7, 8, (16, 32), generator=torch.Generator().manual_seed(0)).float()
    layer.weight.data[0, 0] = 7.0
    x = torch.randint(-7, 8, (5, 32), generator=torch.Generator().manual_seed(1)).float()
    x[0, 0] = 7.0  # scale 64 for both, so integers up to 7 stay what they are
    torch.testing.assert_close(Fp8Linear(layer)(x), layer(x), atol=1e-4, rtol=0)


def test_the_transformer_keeps_what_the_release_keeps() -> None:
    model = tiny_model(tiny_profile())
    report = quantise_linears(model)
    kept = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    inside = tuple(RELEASED_EXCLUSIONS)
    assert {name for name in kept if not name.startswith(inside)} == set(report.unfit)
    assert all(isinstance(model.get_submodule(name), Fp8Linear) for name in report.quantised)
    for name in ("blocks.0.self_attn.q", "blocks.1.ffn.2", "audio_injector.injector.0.o"):
        assert name in report.quantised
    assert "audio_injector.injector_adain_layers.0.linear" in report.quantised
    for name in ("text_embedding.0", "time_embedding.2", "time_projection.1", "head.head"):
        assert name in kept
    assert "casual_audio_encoder.encoder.final_linear" in kept


def test_excluding_what_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="exclude names haed"):
        quantise_linears(tiny_model(tiny_profile()), exclude=("haed",))


@torch.no_grad()
def test_a_quantised_transformer_errs_by_a_few_per_cent() -> None:
    profile = tiny_profile()
    c = profile.transformer
    model = tiny_model(profile)
    x, sink = random(1, 16, 3, 4, 4), random(1, 16, 1, 4, 4, seed=1)
    voice = model.encode_audio(random(1, c.audio_layers, c.audio_dim, 12, seed=2))
    table = rope_table(torch.tensor([0, 1, 2, 30]), 2, 2, c.head_dim)

    def velocity() -> torch.Tensor:
        text = model.encode_text(random(1, c.text_len, c.text_dim, seed=3))
        return model(x, torch.full((1, 3), 600.0), sink, voice, text, FullContext(table), sink)

    exact = velocity()
    quantise_linears(model)
    error = ((velocity() - exact).norm() / exact.norm()).item()
    assert 0 < error < 0.1


def test_converting_the_model_leaves_the_quantised_weights_alone() -> None:
    layer = nn.Linear(32, 16)
    quantised = nn.Sequential(Fp8Linear(layer))
    x = random(3, 32)
    before, state = quantised(x), {name: value.clone() for name, value in quantised.state_dict().items()}
    quantised.to(torch.bfloat16).to(torch.float32)
    for name in ("0.bits", "0.inverse_scale"):
        assert torch.equal(quantised.state_dict()[name], state[name])
    torch.testing.assert_close(quantised(x), before, atol=1e-2, rtol=0)  # the bias did go through bfloat16
