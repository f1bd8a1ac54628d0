"""The training loop of every nano metric network: a time budget, curves as JSONL, resume from the last checkpoint."""

from __future__ import annotations

import json
import logging
import math
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What determines a training run besides the data.

    The rate falls as a cosine over the budget: minutes of processor time or `max_steps`, whichever is spent first.
    """

    minutes: float
    seed: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 20
    max_steps: int | None = None
    validate_every_s: float = 150.0
    checkpoint_every_s: float = 45.0


class Task(ABC):
    """A network with its loss and its check; `loss` draws its own batch."""

    name: ClassVar[str]
    network: nn.Module
    extra: nn.Module
    """Parts that are trained along and not shipped."""

    @abstractmethod
    def loss(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss of one fresh batch, and figures for the curve."""

    @abstractmethod
    def validate(self) -> dict[str, Any]:
        """Figures on held-out clips; the network is in evaluation mode."""


@dataclass
class Progress:
    """Where a run stands; `elapsed_s` is processor time of training steps, so a busy machine changes nothing."""

    step: int = 0
    elapsed_s: float = 0.0


def train(task: Task, recipe: Recipe, folder: Path) -> Progress:
    """Train until the budget is spent; continues from the checkpoint in `folder`, which also gets curve.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(recipe.seed)
    modules = nn.ModuleDict({"network": task.network, "extra": task.extra})
    optimiser = torch.optim.AdamW(modules.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    progress = load_checkpoint(folder, modules, optimiser, generator)
    next_check_s, next_save_s = (
        progress.elapsed_s + every for every in (recipe.validate_every_s, recipe.checkpoint_every_s)
    )
    modules.train()
    while not _is_over(progress, recipe):
        started = time.process_time()
        rate = _rate(progress, recipe)
        figures = _step(task, optimiser, generator, rate)
        progress.step += 1
        progress.elapsed_s += time.process_time() - started
        if progress.step % 10 == 0:
            _log(folder, {"step": progress.step, "elapsed_s": round(progress.elapsed_s, 1), "rate": rate, **figures})
        if progress.elapsed_s >= next_check_s:
            next_check_s += recipe.validate_every_s
            _log(folder, {"step": progress.step, "validation": validate(task)})
        if progress.elapsed_s >= next_save_s:
            next_save_s += recipe.checkpoint_every_s
            save_checkpoint(folder, modules, optimiser, generator, progress)
    save_checkpoint(folder, modules, optimiser, generator, progress)
    return progress


def validate(task: Task) -> dict[str, Any]:
    """Held-out figures; leaves the network in training mode."""
    task.network.eval()
    with torch.inference_mode():
        figures = task.validate()
    task.network.train()
    logger.info(
        "%s held out: %s", task.name, {key: value for key, value in figures.items() if not isinstance(value, dict)}
    )
    return figures


def save_checkpoint(
    folder: Path, modules: nn.Module, optimiser: torch.optim.Optimizer, generator: Generator, progress: Progress
) -> None:
    """Everything that resuming needs, written whole or not at all."""
    tensors = {f"module.{key}": value.contiguous() for key, value in modules.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value).contiguous() for key, value in state.items()}
    tensors["generator"] = generator.get_state()
    partial = folder / "checkpoint.partial"
    save_file(tensors, str(partial), metadata={"progress": json.dumps(asdict(progress))})
    partial.replace(folder / "checkpoint.safetensors")


def load_checkpoint(
    folder: Path, modules: nn.Module, optimiser: torch.optim.Optimizer, generator: Generator
) -> Progress:
    """Continue from the folder's checkpoint if it has one; a fresh Progress otherwise."""
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return Progress()
    with safe_open(str(path), framework="pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
    modules.load_state_dict({key.removeprefix("module."): t for key, t in tensors.items() if key.startswith("module.")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    generator.set_state(tensors["generator"])
    return progress


def _step(task: Task, optimiser: torch.optim.Optimizer, generator: Generator, rate: float) -> dict[str, float]:
    for group in optimiser.param_groups:
        group["lr"] = rate
    loss, figures = task.loss(generator)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, 5.0)
    if torch.isfinite(norm):
        optimiser.step()
    return {"loss": round(loss.item(), 5), **{key: round(value, 5) for key, value in figures.items()}}


def _share_done(progress: Progress, recipe: Recipe) -> float:
    by_time = progress.elapsed_s / (60 * recipe.minutes)
    by_step = progress.step / recipe.max_steps if recipe.max_steps else 0.0
    return max(by_time, by_step)


def _is_over(progress: Progress, recipe: Recipe) -> bool:
    return _share_done(progress, recipe) >= 1


def _rate(progress: Progress, recipe: Recipe) -> float:
    warm = min(1.0, (progress.step + 1) / recipe.warmup_steps)
    return recipe.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * _share_done(progress, recipe))))


def _log(folder: Path, figures: dict[str, Any]) -> None:
    with (folder / "curve.jsonl").open("a") as file:
        file.write(json.dumps(figures) + "\n")
