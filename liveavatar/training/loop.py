"""The training loop: steps, schedule, EMA, checkpoints, curves, signals and a time limit.

A stage offers gradients for a step; everything else is here. All randomness is keyed by (seed, stream, step), so a resumed
run needs no generator state and equals an uninterrupted one.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from liveavatar.training import checkpoint, parallel
from liveavatar.training.checkpoint import TrainingState
from liveavatar.training.optimiser import Optimisers, allocate, make_optimiser
from liveavatar.training.recipes import Recipe
from liveavatar.training.scale import clip_gradients, local

logger = logging.getLogger(__name__)


class Stage(Protocol):
    """What the loop trains: one network with a loss."""

    @property
    def model(self) -> nn.Module:
        """The trainable network."""

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one step and figures to log."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out figures of the (averaged) weights."""


@runtime_checkable
class SeveralNetworks(Protocol):
    """A stage that trains several networks and runs its own backward passes."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """By name; the first is the product, which is averaged, evaluated and exported."""

    @property
    def made_from(self) -> dict[str, str]:
        """Digests of what the stage was built on and does not train."""

    def accumulate(self, name: str, step: int) -> dict[str, float]:
        """Add one step's gradients to the named network's parameters; returns figures to log, "loss" among them."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out figures of the product's (averaged) weights."""


class _OneNetwork:
    """A `Stage` as the loop sees it."""

    def __init__(self, stage: Stage, recipe: Recipe) -> None:
        self.stage, self.recipe = stage, recipe
        self.networks: dict[str, nn.Module] = {"model": stage.model}
        self.made_from: dict[str, str] = getattr(stage, "made_from", {})

    def accumulate(self, name: str, step: int) -> dict[str, float]:
        del name
        recipe, parts = self.recipe, self.recipe.accumulate
        device, total = next(self.stage.model.parameters()).device.type, 0.0
        for part in range(parts):
            # Gathered weights are freed and gathered anew: casts of them must not be kept.
            with torch.autocast(device, torch.bfloat16, enabled=recipe.bf16, cache_enabled=not recipe.is_sharded):
                loss, figures = self.stage.loss(step) if parts == 1 else self.stage.loss(step, part, parts)  # type: ignore[call-arg]
            (loss / parts if parts > 1 else loss).backward()
            total += loss.item() / parts
        return {"loss": total, **figures}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return self.stage.evaluate(model)


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


def product_updates(recipe: Recipe, step: int) -> int:
    """How often the product was updated once `step` (from 0) is done; a pure function, so nothing has to be kept."""
    done = step + 1 - recipe.critic_first
    return 0 if done <= 0 else -(-done // recipe.product_every)


def due(recipe: Recipe, names: list[str], step: int) -> list[str]:
    """The networks that step `step` updates, in order: the product when it is its turn, the others always."""
    others = names[1:]
    return names if product_updates(recipe, step) > product_updates(recipe, step - 1) else others


def train(
    stage: Stage | SeveralNetworks,
    recipe: Recipe,
    out: Path,
    max_minutes: float = math.inf,
    show: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Train to the recipe's last step, or until the time limit or a signal; returns the averaged weights.

    show: called with the step at every evaluation, while the averaged weights are in place.
    """
    trained = stage if isinstance(stage, SeveralNetworks) else _OneNetwork(stage, recipe)
    networks = trained.networks
    if len(networks) == 1 and (recipe.product_every, recipe.critic_first) != (1, 0):
        raise ValueError(f"stage {recipe.stage!r} has one network; leave product_every at 1 and critic_first at 0")
    state = TrainingState(
        recipe,
        networks,
        {name: make_optimiser(network, recipe) for name, network in networks.items()},
        {},
        trained.made_from,
    )
    state.ema.update({name: value.detach().clone() for name, value in state.product.state_dict().items()})
    is_sharded = state.is_sharded
    takes_part = parallel.is_first() or is_sharded  # in evaluating and saving: no process has a sharded model alone
    if is_sharded:
        for optimisers in state.optimisers.values():
            allocate(optimisers)
    found = checkpoint.latest(out)
    step = checkpoint.load(found, state) if found else 0
    if parallel.is_first():
        _forget_curves(out, step)
    stop, start, saved, bad = _Stop(), time.monotonic(), time.monotonic(), 0
    while step < recipe.steps and not parallel.any_wants(stop.requested or _over(start, max_minutes)):
        figures = _one_step(trained, state, step)
        bad = 0 if math.isfinite(figures["grad_norm"]) else bad + 1
        if bad == 3:
            raise FloatingPointError(f"gradients not finite for 3 steps up to {step}; the last checkpoint in {out} is good")
        step += 1
        if not takes_part:
            continue
        if step % recipe.log_every == 0:
            _log(out, {"step": step, "minutes": (time.monotonic() - start) / 60, **figures})
        if step % recipe.evaluate_every == 0 or step == recipe.steps:
            _log(out, {"step": step, "held_out": _evaluate(trained, state, step, show)})
            if recipe.keeps_averages:
                checkpoint.save_average(out, step, state)
        is_time = _over(saved, recipe.checkpoint_minutes)
        if parallel.any_wants(is_time) if is_sharded else is_time:  # clocks differ between processes
            checkpoint.save(out, step, state)
            saved = time.monotonic()
    if takes_part:
        checkpoint.save(out, step, state)
    return state.ema


def _over(start: float, minutes: float) -> bool:
    return time.monotonic() - start > 60 * minutes


def _one_step(stage: SeveralNetworks, state: TrainingState, step: int) -> dict[str, float]:
    """Update every network whose turn it is; figures of networks after the first carry their name."""
    recipe, names = state.recipe, list(state.networks)
    figures: dict[str, float] = {}
    norms = []
    for name in due(recipe, names, step):
        is_product = name == names[0]
        rate = learning_rate(recipe, step) * (1.0 if is_product else recipe.critic_rate / recipe.rate)
        got, norm = _update(stage, state.networks[name], state.optimisers[name], name, recipe, step, rate)
        figures |= {key if is_product else f"{name}_{key}": value for key, value in {**got, "grad_norm": norm}.items()}
        norms.append(norm)
        if is_product and math.isfinite(norm):
            _average(state.ema, state.product.state_dict(), recipe, product_updates(recipe, step))
    return figures | {"grad_norm": max(norms) if all(map(math.isfinite, norms)) else math.nan}


def _update(
    stage: SeveralNetworks, network: nn.Module, optimiser: Optimisers, name: str, recipe: Recipe, step: int, rate: float
) -> tuple[dict[str, float], float]:
    """One optimiser step, left out where gradients are not finite; returns figures and the gradient's norm."""
    optimiser.set_rate(rate)
    figures = stage.accumulate(name, step)
    parallel.average_gradients(network.parameters())
    norm = clip_gradients(list(network.parameters()), recipe.clip)
    if torch.isfinite(norm):
        optimiser.step()
    optimiser.zero_grad()
    return figures, norm.item()


def _average(ema: dict[str, Tensor], weights: Mapping[str, Tensor], recipe: Recipe, updates: int) -> None:
    """Move the average towards the weights; slowly only once there were some updates."""
    decay = min(recipe.ema, updates / (updates + 9))
    for name, value in weights.items():
        kept, value = local(ema[name]), local(value)
        kept.lerp_(value, 1 - decay) if value.is_floating_point() else kept.copy_(value)


@torch.no_grad()
def _evaluate(
    stage: SeveralNetworks, state: TrainingState, step: int, show: Callable[[int], None] | None
) -> dict[str, float]:
    """Held-out figures with the averaged weights swapped in; their batches have other shapes, not worth compiling."""
    model = state.product
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(state.ema)
    model.eval()
    with torch.compiler.set_stance("force_eager"):
        figures = stage.evaluate(model)
        if show is not None:
            show(step)
    model.train()
    model.load_state_dict(kept)
    return figures


def _log(out: Path, record: dict[str, object]) -> None:
    if not parallel.is_first():
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / "curves.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    logger.info("%s", record)


def _forget_curves(out: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint: these steps are run again."""
    file = out / "curves.jsonl"
    if not file.exists():
        return
    lines = file.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if kept != lines:
        partial = file.with_suffix(".partial")
        partial.write_text("".join(kept))
        partial.replace(file)
