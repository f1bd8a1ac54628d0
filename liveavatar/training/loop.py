"""The training loop: steps, schedule, EMA, checkpoints, curves, signals and a time limit.

A stage offers a loss for a step; everything else is here. All randomness is keyed by (seed, stream, step), so a resumed
run needs no generator state and equals an uninterrupted one.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from liveavatar.training import checkpoint, parallel
from liveavatar.training.optimiser import Optimisers, make_optimiser
from liveavatar.training.recipes import Recipe

logger = logging.getLogger(__name__)


class Stage(Protocol):
    """What the loop trains."""

    @property
    def model(self) -> nn.Module:
        """The trainable network."""

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one step and figures to log."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out figures of the (averaged) weights."""


class _Stop:
    """Set by SIGINT or SIGTERM: the step in hand ends, a checkpoint is written, the run can be resumed."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)

    def _request(self, *_: object) -> None:
        self.requested = True


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then cosine from `rate` to `final_rate` at the last step."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.final_rate + (recipe.rate - recipe.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(stage: Stage, recipe: Recipe, out: Path, max_minutes: float = math.inf) -> dict[str, Tensor]:
    """Train to the recipe's last step, or until the time limit or a signal; returns the averaged weights."""
    model, optimiser = stage.model, make_optimiser(stage.model, recipe)
    ema = {name: value.detach().clone() for name, value in model.state_dict().items()}
    found = checkpoint.latest(out)
    step = checkpoint.load(found, model, ema, optimiser, recipe) if found else 0
    stop, start, saved, bad = _Stop(), time.monotonic(), time.monotonic(), 0
    while step < recipe.steps and not parallel.any_wants(stop.requested or _over(start, max_minutes)):
        figures = _one_step(stage, optimiser, ema, recipe, step)
        bad = 0 if math.isfinite(figures["grad_norm"]) else bad + 1
        if bad == 3:
            raise FloatingPointError(f"gradients not finite for 3 steps up to {step}; the last checkpoint in {out} is good")
        step += 1
        if not parallel.is_first():
            continue
        if step % recipe.log_every == 0:
            _log(out, {"step": step, "minutes": (time.monotonic() - start) / 60, **figures})
        if step % recipe.evaluate_every == 0 or step == recipe.steps:
            _log(out, {"step": step, "held_out": _evaluate(stage, ema)})
        if time.monotonic() - saved > 60 * recipe.checkpoint_minutes:
            checkpoint.save(out, step, model, ema, optimiser, recipe)
            saved = time.monotonic()
    if parallel.is_first():
        checkpoint.save(out, step, model, ema, optimiser, recipe)
    return ema


def _over(start: float, minutes: float) -> bool:
    return time.monotonic() - start > 60 * minutes


def _one_step(stage: Stage, optimiser: Optimisers, ema: dict[str, Tensor], recipe: Recipe, step: int) -> dict[str, float]:
    optimiser.set_rate(learning_rate(recipe, step))
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        loss, figures = stage.loss(step)
    loss.backward()
    parallel.average_gradients(stage.model.parameters())
    norm = nn.utils.clip_grad_norm_(stage.model.parameters(), recipe.clip)
    if torch.isfinite(norm):
        optimiser.step()
        decay = min(recipe.ema, (step + 1) / (step + 10))
        for name, value in stage.model.state_dict().items():
            ema[name].lerp_(value, 1 - decay) if value.is_floating_point() else ema[name].copy_(value)
    optimiser.zero_grad()
    return {"loss": loss.item(), "grad_norm": norm.item(), **figures}


@torch.no_grad()
def _evaluate(stage: Stage, ema: dict[str, Tensor]) -> dict[str, float]:
    """Held-out figures with the averaged weights swapped in."""
    kept = {name: value.clone() for name, value in stage.model.state_dict().items()}
    stage.model.load_state_dict(ema)
    stage.model.eval()
    figures = stage.evaluate(stage.model)
    stage.model.train()
    stage.model.load_state_dict(kept)
    return figures


def _log(out: Path, record: dict[str, object]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "curves.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    logger.info("%s", record)
