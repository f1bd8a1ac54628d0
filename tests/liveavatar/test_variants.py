"""Variants of shipped weights: exact where the difference has low rank, refused by name where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from liveavatar.checkpoints.store import VARIED, WeightsError, open_weights, write_weights
from liveavatar.checkpoints.variants import difference, varied
from liveavatar.training.stages import blended

RANK = 2


def base() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    shapes = {"matrix.weight": (24, 16), "conv.weight": (24, 4, 2, 2), "norm.weight": (24,), "count": (3,)}
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def tuned(rank: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    other = base()
    for name in ("matrix.weight", "conv.weight"):
        moved = torch.randn(24, rank, generator=random) @ torch.randn(rank, 16, generator=random)
        other[name] = other[name] + moved.view_as(other[name])
    other["norm.weight"] = other["norm.weight"] + 1
    return other


def test_a_difference_of_that_rank_gives_the_other_network_back() -> None:
    parts = difference(base(), tuned(RANK), RANK)
    assert sorted(parts) == [
        "conv.weight.down", "conv.weight.up", "matrix.weight.down", "matrix.weight.up", "norm.weight.diff",
    ]  # fmt: skip
    for name, value in varied(base(), parts).items():
        torch.testing.assert_close(value, tuned(RANK)[name], atol=1e-5, rtol=0)


def test_a_difference_of_higher_rank_is_cut_to_its_leading_directions() -> None:
    moved = (tuned(5)["matrix.weight"] - base()["matrix.weight"]).double()
    kept = varied(base(), difference(base(), tuned(5), RANK))["matrix.weight"] - base()["matrix.weight"]
    # Eckart-Young: what is lost are the other singular values, no more and no less.
    lost = (moved - kept.double()).square().sum()
    assert lost.item() == pytest.approx(torch.linalg.svdvals(moved)[RANK:].square().sum().item(), rel=1e-4)


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"differ in the shapes of norm\.weight"):
        difference(base(), base() | {"norm.weight": torch.zeros(3)}, RANK)
    parts = difference(base(), tuned(RANK), RANK)
    with pytest.raises(ValueError, match=r"these have no norm\.weight"):
        varied({name: value for name, value in base().items() if name != "norm.weight"}, parts)


def test_a_weights_folder_gives_its_variants_by_name(tmp_path: Path) -> None:
    linear, other = nn.Linear(64, 64), nn.Linear(64, 64)
    stored = {name: value.bfloat16().float() for name, value in linear.state_dict().items()}
    parts = difference(stored, dict(other.state_dict()), 31)
    write_weights(tmp_path, "nano", {VARIED: stored, f"{VARIED}-stage1": parts}, {VARIED: {}, f"{VARIED}-stage1": {}})
    folder, loaded = open_weights(tmp_path), nn.Linear(64, 64)
    folder.load_into(VARIED, loaded, variant="stage1")
    assert torch.allclose(loaded.bias, other.bias, atol=5e-3)  # bf16
    folder.load_into(VARIED, loaded)
    assert torch.equal(loaded.weight, stored["weight"])
    with pytest.raises(WeightsError, match=r"no variant 'lora' of generator; it has: stage1"):
        folder.load_into(VARIED, loaded, variant="lora")


def test_a_blend_lies_between_two_networks() -> None:
    first = {"w": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
    second = {"w": torch.tensor([8.0, 0.0], dtype=torch.float64), "count": torch.tensor(7)}
    mixed = blended(first, second, 0.25)
    assert torch.equal(mixed["w"], torch.tensor([2.0, 3.0]))
    assert mixed["count"] == 3
    with pytest.raises(ValueError, match="between 0 and 1"):
        blended(first, second, 1.5)
    with pytest.raises(ValueError, match="different networks"):
        blended(first, {"w": second["w"]}, 0.5)
