"""Training checkpoints: a folder written under a temporary name and renamed, without pickles.

`weights.safetensors` (float32), `ema.safetensors`, `optimiser.safetensors` and `state.json`; a stage with further trained
networks adds `NAME.weights.safetensors` and `NAME.optimiser.safetensors`. The last one kept is always whole: a crash or a
full disk while writing leaves it as it was. Where weights are sharded, every process writes its parts of all of it into
`sharded/`, and only the averaged weights are written whole.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from liveavatar.training import parallel
from liveavatar.training.optimiser import Optimisers
from liveavatar.training.recipes import Recipe
from liveavatar.training.scale import is_sharded, load_sharded, save_sharded, whole

AVERAGES = "averages"


@dataclass
class TrainingState:
    """All that a run changes. networks: by name, the product first; ema: the product's averaged weights.

    made_from: digests of what the run was built on and does not change (a frozen teacher), by name.
    """

    recipe: Recipe
    networks: dict[str, nn.Module]
    optimisers: dict[str, Optimisers]
    ema: dict[str, Tensor]
    made_from: dict[str, str] = field(default_factory=dict)

    @property
    def product(self) -> nn.Module:
        """The network that the run is for."""
        return next(iter(self.networks.values()))

    @property
    def is_sharded(self) -> bool:
        """Whether processes hold parts of it."""
        return is_sharded(self.ema.values())


def save(folder: Path, step: int, state: TrainingState) -> None:
    """Write `folder/step-N` and drop older ones. The first process calls it, or all where weights are sharded."""
    partial, final = folder / ".partial", folder / f"step-{step:07d}"
    if parallel.is_first():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    if state.is_sharded:
        parallel.wait()
        save_sharded(_everything(state), partial / "sharded")
        averaged = {name: whole(value).cpu() for name, value in state.ema.items()}
        if parallel.is_first():
            save_file(averaged, partial / "ema.safetensors")
        parallel.wait()
    else:
        _save_whole(partial, state)
    if parallel.is_first():
        facts = {"step": step, "recipe": asdict(state.recipe), "made_from": state.made_from}
        (partial / "state.json").write_text(json.dumps(facts, indent=1))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in sorted(folder.glob("step-*"))[:-2]:
            shutil.rmtree(old)


def _save_whole(partial: Path, state: TrainingState) -> None:
    for prefix, (name, network) in zip(_prefixes(state), state.networks.items(), strict=True):
        tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(tensors, partial / f"{prefix}weights.safetensors")
        save_file(_flatten(state.optimisers[name]), partial / f"{prefix}optimiser.safetensors")
    save_file(state.ema, partial / "ema.safetensors")


def _everything(state: TrainingState) -> dict[str, Tensor]:
    """All tensors of a sharded run under one name each; they are filled in place on loading."""
    tensors = {f"ema.{name}": value for name, value in state.ema.items()}
    for role, network in state.networks.items():
        tensors |= {f"{role}.weights.{name}": value for name, value in network.state_dict().items()}
        tensors |= {f"{role}.optimiser.{name}": value for name, value in _flatten(state.optimisers[role]).items()}
    return tensors


def save_average(folder: Path, step: int, state: TrainingState) -> None:
    """The averaged weights alone to `folder/averages/step-N.safetensors`; all processes call it where they are sharded."""
    averaged = {name: whole(value).cpu() for name, value in state.ema.items()}
    if parallel.is_first():
        target = folder / AVERAGES / f"step-{step:07d}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        save_file(averaged, partial)
        partial.replace(target)


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    found = sorted(folder.glob("step-*"))
    return found[-1] if found else None


def load(path: Path, state: TrainingState) -> int:
    """Restore everything in place and return the step; raises ValueError when the recipe or its base differs."""
    facts = json.loads((path / "state.json").read_text())
    wanted = json.loads(json.dumps(asdict(state.recipe)))
    made_by = facts["recipe"]
    # A field that the checkpoint lacks is younger than it: its default is what made the checkpoint.
    differing = {key: (made_by[key], value) for key, value in wanted.items() if made_by.get(key, value) != value}
    if differing:
        raise ValueError(f"{path} was made by another recipe: {differing} (checkpoint, now); use a new --out folder")
    base = facts.get("made_from", {})
    if base != state.made_from:
        raise ValueError(f"{path} was made from {base}, not from {state.made_from}; give the same folders or a new --out")
    if state.is_sharded:
        load_sharded(_everything(state), path / "sharded")
        return int(facts["step"])
    for prefix, (name, network) in zip(_prefixes(state), state.networks.items(), strict=True):
        network.load_state_dict(load_file(path / f"{prefix}weights.safetensors"))
        _restore(state.optimisers[name], load_file(path / f"{prefix}optimiser.safetensors"))
    state.ema.update(load_file(path / "ema.safetensors"))
    return int(facts["step"])


def _prefixes(state: TrainingState) -> list[str]:
    """File name prefixes: none for the product."""
    return ["" if index == 0 else f"{name}." for index, name in enumerate(state.networks)]


def _flatten(optimiser: Optimisers) -> dict[str, Tensor]:
    return {
        f"{part}.{index}.{name}": value.contiguous()
        for part, each in enumerate(optimiser.parts)
        for index, values in each.state_dict()["state"].items()
        for name, value in values.items()
    }


def _restore(optimiser: Optimisers, tensors: dict[str, Tensor]) -> None:
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimiser.parts]
    for key, value in tensors.items():
        part, index, name = key.split(".", 2)
        states[int(part)].setdefault(int(index), {})[name] = value
    for each, state in zip(optimiser.parts, states, strict=True):
        each.load_state_dict({"state": state, "param_groups": each.state_dict()["param_groups"]})
