"""The published LoRA file into a transformer: merged into its weights, or kept beside them.

Names are PEFT's, `[base_model.model.]blocks.0.self_attn.q.lora_A[.default].weight` [rank, in] and `lora_B` [out, rank].
Other names in the file are full tensors, which replace the model's. A name that fits neither is an error: a LoRA that is
silently not applied leaves the base model running unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from liveavatar.checkpoints.files import TensorSource, listed
from liveavatar.checkpoints.load import replace_tensor
from liveavatar.checkpoints.store import WeightsError
from liveavatar.model.lora import LoraLinear

PREFIX = "base_model.model."
ALPHA = 64.0  # of the published file, whose rank is 128: B A counts half
_PAIR = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight$")


@dataclass(frozen=True)
class LoraReport:
    """What was applied. rank: of the adapters, equal for all; parameters: adapters and full tensors together."""

    modules: tuple[str, ...]
    full_tensors: tuple[str, ...]
    rank: int
    scale: float
    parameters: int


@dataclass(frozen=True)
class LoraPlan:
    """Published names by what they are for."""

    pairs: dict[str, tuple[str, str]]  # module -> names of A and B
    full: dict[str, str]  # name in the model -> published name
    rank: int


def merge_lora(model: nn.Module, source: TensorSource, alpha: float = ALPHA) -> LoraReport:
    """W <- W + (alpha / rank) B A in place: the product in float32, rounded to W's dtype, then added.

    Raises WeightsError for names that the model does not have, halves of pairs, wrong shapes and a file without pairs.
    """
    plan = _plan(model, source)
    scale = alpha / plan.rank
    _apply_full(model, source, plan)
    for module, down, up in _read_pairs(model, source, plan):
        weight = model.get_submodule(module).weight
        assert isinstance(weight, Tensor)
        with torch.no_grad():
            weight += (scale * (up.float() @ down.float())).to(weight.dtype)
    return _report(source, plan, scale)


def attach_lora(model: nn.Module, source: TensorSource, alpha: float = ALPHA) -> LoraReport:
    """Keep the adapters beside the weights: each adapted layer becomes a `LoraLinear`. Raises as `merge_lora` does."""
    plan = _plan(model, source)
    scale = alpha / plan.rank
    _apply_full(model, source, plan)
    for module, down, up in _read_pairs(model, source, plan):
        base = model.get_submodule(module)
        assert isinstance(base, nn.Linear)
        owner_name, _, leaf = module.rpartition(".")
        owner = model.get_submodule(owner_name)
        setattr(owner, leaf, LoraLinear(base, down.to(base.weight.dtype), up.to(base.weight.dtype), scale))
    return _report(source, plan, scale)


def plan_lora(shapes: Mapping[str, tuple[int, ...]], layers: Collection[str], source: TensorSource) -> LoraPlan:
    """Sort the file's names and check them and their shapes, before a tensor is read.

    shapes: of the model's tensors; layers: names of its linear layers. Raises as `merge_lora` does.
    """
    sides: dict[str, dict[str, str]] = {}
    full: dict[str, str] = {}
    for published in source.tensors:
        name = published.removeprefix(PREFIX)
        if match := _PAIR.match(name):
            sides.setdefault(match["module"], {})[match["side"]] = published
        else:
            full[name.replace(".base_layer.", ".")] = published  # PEFT's name for what an adapter wraps
    if not sides:
        raise WeightsError(f"{source.files[0]} holds no lora_A / lora_B pair; it is not a LoRA file")
    halves = sorted(name for pair in sides.values() if len(pair) == 1 for name in pair.values())
    foreign = sorted(module for module in sides if module not in layers)
    foreign += sorted(published for name, published in full.items() if name not in shapes)
    problems = []
    if halves:
        problems.append(f"{len(halves)} without the other half of their pair: {listed(halves)}")
    if foreign:
        problems.append(f"{len(foreign)} that the model does not have: {listed(foreign)}")
    if not problems:
        problems = _wrong_shapes(shapes, source, sides, full)
    if problems:
        raise WeightsError(f"{source.files[0]} cannot be applied, and nothing was: {'; '.join(problems)}")
    pairs = {module: (pair["A"], pair["B"]) for module, pair in sides.items()}
    first_down, _ = next(iter(pairs.values()))
    return LoraPlan(pairs, full, source.tensors[first_down].shape[0])


def _plan(model: nn.Module, source: TensorSource) -> LoraPlan:
    shapes = {name: tuple(value.shape) for name, value in model.state_dict(keep_vars=True).items()}
    layers = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return plan_lora(shapes, layers, source)


def _wrong_shapes(
    shapes: Mapping[str, tuple[int, ...]],
    source: TensorSource,
    sides: dict[str, dict[str, str]],
    full: dict[str, str],
) -> list[str]:
    wrong, ranks = [], set()
    for module, pair in sides.items():
        out, inner = shapes[f"{module}.weight"]
        down, up = source.tensors[pair["A"]].shape, source.tensors[pair["B"]].shape
        ranks.add(down[0])
        if down[1:] != (inner,) or up != (out, down[0]):
            wrong.append(f"{module}: A {list(down)}, B {list(up)} for a layer {inner} -> {out}")
    for name, published in full.items():
        shape = source.tensors[published].shape
        if shape != shapes[name]:
            wrong.append(f"{published} is {list(shape)}, not {list(shapes[name])}")
    problems = [f"{len(wrong)} of a wrong shape: {listed(wrong)}"] if wrong else []
    if len(ranks) > 1 and not wrong:
        problems.append(f"ranks differ ({', '.join(map(str, sorted(ranks)))}), so one scale alpha / rank does not exist")
    return problems


def _read_pairs(model: nn.Module, source: TensorSource, plan: LoraPlan) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(module, A, B), each pair on its layer's device as soon as its second half was read."""
    place = {name: module for module, pair in plan.pairs.items() for name in pair}
    waiting: dict[str, Tensor] = {}
    for name, value in source.read(torch.device("cpu"), set(place)):
        module = place[name]
        other = waiting.pop(module, None)
        if other is None:
            waiting[module] = value
            continue
        device = model.get_submodule(module).weight.device
        assert isinstance(device, torch.device)
        down, up = (other, value) if name == plan.pairs[module][1] else (value, other)
        yield module, down.to(device), up.to(device)


def _apply_full(model: nn.Module, source: TensorSource, plan: LoraPlan) -> None:
    """Put the file's full tensors in place of the model's: before the pairs, which may add to them."""
    name_of = {published: name for name, published in plan.full.items()}
    state = model.state_dict(keep_vars=True)
    for published, value in source.read(torch.device("cpu"), set(name_of)):
        old = state[name_of[published]]
        replace_tensor(model, name_of[published], value.to(old.device, old.dtype))


def _report(source: TensorSource, plan: LoraPlan, scale: float) -> LoraReport:
    parameters = sum(info.parameters for info in source.tensors.values())
    return LoraReport(tuple(sorted(plan.pairs)), tuple(sorted(plan.full)), plan.rank, scale, parameters)
