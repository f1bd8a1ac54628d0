"""Training checkpoints: a folder written under a temporary name and renamed, without pickles.

`weights.safetensors` (float32), `ema.safetensors`, `optimiser.safetensors` and `state.json`. The last one kept is
always whole: a crash or a full disk while writing leaves it as it was.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from liveavatar.training.optimiser import Optimisers
from liveavatar.training.recipes import Recipe


def save(folder: Path, step: int, model: nn.Module, ema: dict[str, Tensor], optimiser: Optimisers, recipe: Recipe) -> None:
    """Write `folder/step-N` and drop older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    partial, final = folder / ".partial", folder / f"step-{step:07d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, partial / "weights.safetensors")
    save_file(ema, partial / "ema.safetensors")
    save_file(_flatten(optimiser), partial / "optimiser.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step, "recipe": asdict(recipe)}, indent=1))
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in sorted(folder.glob("step-*"))[:-2]:
        shutil.rmtree(old)


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    found = sorted(folder.glob("step-*"))
    return found[-1] if found else None


def load(path: Path, model: nn.Module, ema: dict[str, Tensor], optimiser: Optimisers, recipe: Recipe) -> int:
    """Restore everything in place and return the step; raises ValueError when the recipe differs."""
    state = json.loads((path / "state.json").read_text())
    wanted = json.loads(json.dumps(asdict(recipe)))
    made_by = state["recipe"]
    differing = {key: (made_by.get(key), value) for key, value in wanted.items() if made_by.get(key) != value}
    if differing:
        raise ValueError(f"{path} was made by another recipe: {differing} (checkpoint, now); use a new --out folder")
    model.load_state_dict(load_file(path / "weights.safetensors"))
    ema.update(load_file(path / "ema.safetensors"))
    _restore(optimiser, load_file(path / "optimiser.safetensors"))
    return int(state["step"])


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
