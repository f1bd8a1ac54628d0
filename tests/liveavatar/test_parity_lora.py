"""The merged LoRA against the reference merge, the kept LoRA against the merged one, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from liveavatar.checkpoints.files import open_files
from liveavatar.checkpoints.lora import attach_lora, merge_lora
from liveavatar.checkpoints.store import WeightsError
from liveavatar.model.lora import set_lora_scale
from tests.liveavatar.golden import golden, with_prefix


def modules_for(base: dict[str, Tensor]) -> nn.Module:
    """A tree of bias-free linear layers with these names and weights."""
    root = nn.Module()
    for name, weight in base.items():
        *path, leaf, _ = name.split(".")
        owner = root
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
        owner.add_module(leaf, layer)
    return root


def write_lora(folder: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, folder / "lora.safetensors")
    return folder / "lora.safetensors"


@pytest.mark.parametrize("renamed", [lambda n: n, lambda n: f"base_model.model.{n}", lambda n: n.replace(".default", "")])
def test_merged_weights_are_the_reference(tmp_path: Path, renamed) -> None:
    tensors, config = golden("lora_merge")
    model = modules_for(with_prefix(tensors, "base."))
    adapters = {renamed(name): value for name, value in with_prefix(tensors, "lora.").items()}
    report = merge_lora(model, open_files(write_lora(tmp_path, adapters)), alpha=config["alpha"])
    assert list(report.modules) == sorted(config["adapted_modules"])
    assert report.rank == config["r"]
    assert report.parameters == sum(value.numel() for value in adapters.values())
    for name, expected in with_prefix(tensors, "merged.").items():
        torch.testing.assert_close(model.get_parameter(name), expected, atol=1e-6, rtol=0)


def test_a_kept_lora_computes_what_the_merged_one_does_and_can_be_switched_off(tmp_path: Path) -> None:
    tensors, config = golden("lora_merge")
    base, file = with_prefix(tensors, "base."), write_lora(tmp_path, with_prefix(tensors, "lora."))
    plain, merged, kept = (modules_for(base) for _ in range(3))
    merge_lora(merged, open_files(file), config["alpha"])
    report = attach_lora(kept, open_files(file), config["alpha"])
    for name in report.modules:
        x = torch.randn(3, base[f"{name}.weight"].shape[1], generator=torch.Generator().manual_seed(0))
        expected = merged.get_submodule(name)(x)
        torch.testing.assert_close(kept.get_submodule(name)(x), expected, atol=1e-5, rtol=0)
        assert not torch.equal(plain.get_submodule(name)(x), expected)
    assert set_lora_scale(kept, 0.0) == len(report.modules)
    for name in report.modules:
        assert torch.equal(kept.get_submodule(name)(x_of(base, name)), plain.get_submodule(name)(x_of(base, name)))


def x_of(base: dict[str, Tensor], name: str) -> Tensor:
    return torch.ones(2, base[f"{name}.weight"].shape[1])


WEIGHT = torch.linspace(-1, 1, 24, dtype=torch.float32).view(6, 4)
DOWN, UP = torch.linspace(0, 1, 8).view(2, 4), torch.linspace(1, 2, 12).view(6, 2)
PAIR = {"net.q.lora_A.weight": DOWN, "net.q.lora_B.weight": UP}


def small(dtype: torch.dtype = torch.float32) -> nn.Module:
    return modules_for({"net.q.weight": WEIGHT.to(dtype), "net.k.weight": WEIGHT.to(dtype)})


def test_a_bfloat16_merge_rounds_the_product_before_adding(tmp_path: Path) -> None:
    model = small(torch.bfloat16)
    merge_lora(model, open_files(write_lora(tmp_path, PAIR)), alpha=1)
    expected = WEIGHT.bfloat16() + (0.5 * (UP @ DOWN)).bfloat16()
    assert torch.equal(model.get_parameter("net.q.weight"), expected)
    assert torch.equal(model.get_parameter("net.k.weight"), WEIGHT.bfloat16())


@pytest.mark.parametrize("apply", [merge_lora, attach_lora])
@pytest.mark.parametrize("name", ["net.k.weight", "net.q.weight", "base_model.model.net.q.base_layer.weight"])
def test_full_tensors_are_applied_before_the_pairs(tmp_path: Path, apply, name: str) -> None:
    model = small()
    report = apply(model, open_files(write_lora(tmp_path, {**PAIR, name: torch.zeros(6, 4)})), alpha=2)
    replaced = "k" if ".k." in name else "q"
    assert report.full_tensors == (f"net.{replaced}.weight",)
    x = torch.ones(1, 4)
    expected_q = x @ ((0 if replaced == "q" else 1) * WEIGHT + UP @ DOWN).T
    torch.testing.assert_close(model.get_submodule("net.q")(x), expected_q, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.get_submodule("net.k")(x), x @ ((0 if replaced == "k" else 1) * WEIGHT).T)


@pytest.mark.parametrize("apply", [merge_lora, attach_lora])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net.q.lora_B.weight": None}, r"without the other half of their pair: net\.q\.lora_A\.weight"),
        ({"net.v.lora_A.weight": DOWN, "net.v.lora_B.weight": UP}, r"that the model does not have: net\.v"),
        ({"net.q.lora_magnitude": torch.zeros(6)}, r"does not have: net\.q\.lora_magnitude"),
        ({"net.q.alpha": torch.zeros(1)}, r"does not have: net\.q\.alpha"),
        ({"net.q.lora_A.weight": DOWN.T}, r"of a wrong shape: net\.q: A \[4, 2\]"),
        ({"net.k.weight": torch.zeros(2)}, r"net\.k\.weight is \[2\], not \[6, 4\]"),
        ({"net.k.lora_A.weight": DOWN[:1], "net.k.lora_B.weight": UP[:, :1]}, r"ranks differ \(1, 2\)"),
        ({"net.q.lora_A.weight": None, "net.q.lora_B.weight": None, "x": DOWN}, "no lora_A / lora_B pair"),
    ],
)
def test_nothing_is_silently_ignored(tmp_path: Path, apply, change: dict, message: str) -> None:
    tensors = {name: value for name, value in {**PAIR, **change}.items() if value is not None}
    model = small()
    with pytest.raises(WeightsError, match=message):
        apply(model, open_files(write_lora(tmp_path, tensors)))
    assert torch.equal(model.get_parameter("net.q.weight"), WEIGHT)
