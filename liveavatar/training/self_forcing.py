"""Self-forcing with History Corrupt: the student's own clip and its gradient, in three forms (paper, Algorithms 1 and 2).

A clip is rolled out over the student's levels and left at one exit level, where the last evaluation has a gradient;
history is the keys and values of *noisy* blocks, made on the way, without a further clean evaluation.

* sequential (Algorithm 1): block after block with caches, one graph over the clip.
* blockwise (Algorithm 2): the same without a graph; then one block at a time is evaluated again and differentiated.
* parallel: with one cache per level a block at a level reads only that level, so levels may go outside and all blocks of
  a level are one masked evaluation. T evaluations instead of T times blocks, and no cache.

All three give one clip and one gradient, because histories, sink and latents of earlier levels are constants in all of
them, the scores see the complete clip once, and the mean is over the clip's elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from liveavatar.streaming.flow import add_noise, clean_estimate, euler_step
from liveavatar.training.clip_network import ClipConditions, ClipNetwork, LayerKeysValues
from liveavatar.training.recipes import SelfForcingOptions

Encode = Callable[[], ClipConditions]
ClipGradient = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RolloutPlan:
    """What a rollout follows. levels: the student's, from 1 down, without 0; exit_step: index of the last one evaluated.

    noises: one [B, C, F, H, W] per level: the start, then what each transition mixes in.
    """

    levels: tuple[float, ...]
    exit_step: int
    noises: Sequence[Tensor]
    options: SelfForcingOptions = field(default_factory=SelfForcingOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.exit_step < len(self.levels):
            raise ValueError(f"exit_step={self.exit_step}: there are {len(self.levels)} levels, give 0 or more and fewer")

    def move(self, x: Tensor, velocity: Tensor, step: int, noise: Tensor) -> Tensor:
        """x from level number `step` to the next, which is a constant from then on."""
        level, below = self.levels[step], self.levels[step + 1]
        if self.options.transition == "euler":
            return euler_step(x, velocity, level, below).detach()
        estimate = clean_estimate(x, velocity, level)
        return add_noise(estimate, noise, torch.tensor(below, dtype=x.dtype, device=x.device)).detach()


@dataclass
class _Record:
    """What Algorithm 2 keeps of a rollout: each block's latents before its last evaluation, and what it looked back on."""

    entering: list[Tensor] = field(default_factory=list)
    past: list[list[LayerKeysValues]] = field(default_factory=list)


def student_backward(network: ClipNetwork, encode: Encode, plan: RolloutPlan, gradient: ClipGradient) -> Tensor:
    """Roll a clip out and add d mean(<clip, G>) / d theta to the parameters' gradients; returns the clip, detached.

    gradient: called once with the whole clip, gives G of its shape, taken as a constant (`dmd.distribution_gradient`).
    encode: makes the conditions with a graph; called once, or once per block in the blockwise form.
    """
    if plan.options.form == "blockwise":
        return _blockwise_backward(network, encode, plan, gradient)
    clip = roll_out(network, encode(), plan)
    made = clip.detach()
    _backward((clip * gradient(made)).sum().div(clip.numel()))
    return made


def roll_out(network: ClipNetwork, conditions: ClipConditions, plan: RolloutPlan) -> Tensor:
    """The student's clip [B, C, F, H, W]: clean estimates at the exit level, with a graph unless grad mode is off."""
    if plan.options.form == "parallel":
        return _parallel(network, conditions, plan)
    return _sequential(network, conditions, plan, None)


def _parallel(network: ClipNetwork, conditions: ClipConditions, plan: RolloutPlan) -> Tensor:
    x = plan.noises[0]
    with torch.no_grad():
        for step in range(plan.exit_step):
            levels = torch.full((network.blocks,), plan.levels[step], dtype=torch.float64)
            x = plan.move(x, network.whole(x, levels, conditions).to(x.dtype), step, plan.noises[step + 1])
    level = plan.levels[plan.exit_step]
    levels = torch.full((network.blocks,), level, dtype=torch.float64)
    velocity = network.whole(x, levels, conditions, detach_history=not plan.options.history_grad)
    return clean_estimate(x, velocity.to(x.dtype), level)


def _sequential(network: ClipNetwork, conditions: ClipConditions, plan: RolloutPlan, record: _Record | None) -> Tensor:
    """Blocks outside, levels inside, as a stream does it. With a record: no graph at all."""
    history, last = plan.options.history, plan.exit_step
    with torch.no_grad():
        sink = network.sink(conditions)
    caches: list[list[LayerKeysValues]] = [[] for _ in plan.levels]
    clip = []
    for index in range(network.blocks):
        x = network.of_block(plan.noises[0], index)
        for step in range(last + 1):
            cache = caches[step if history == "per_level" else 0]
            past = [sink, *cache[network.window(index)]]
            if step == last and record is not None:
                record.entering.append(x)
                record.past.append(past)
            with torch.set_grad_enabled(torch.is_grad_enabled() and step == last and record is None):
                velocity, made = network.block(x, plan.levels[step], index, conditions, past)
                velocity = velocity.to(x.dtype)
            if history == "per_level" or (history == "exit_level" and step == last):
                cache.append(made)
            if step < last:
                x = plan.move(x, velocity, step, network.of_block(plan.noises[step + 1], index))
        clip.append(clean_estimate(x, velocity, plan.levels[last]))
        if history == "clean":
            with torch.no_grad():  # the further evaluation that History Corrupt does without
                past = [sink, *caches[0][network.window(index)]]
                _, made = network.block(clip[-1].detach(), 0.0, index, conditions, past)
            caches[0].append(made)
    return torch.cat(clip, dim=2)


def _blockwise_backward(network: ClipNetwork, encode: Encode, plan: RolloutPlan, gradient: ClipGradient) -> Tensor:
    """Algorithm 2. The scores are taken once, on the complete clip, so that the sum over blocks is Algorithm 1's."""
    record, level = _Record(), plan.levels[plan.exit_step]
    with torch.no_grad():
        clip = _sequential(network, encode(), plan, record)
    wanted = gradient(clip)
    for index in reversed(range(network.blocks)):
        # Popped: a block's history is held no longer than some earlier block needs it.
        x, past = record.entering.pop(), record.past.pop()
        velocity, _ = network.block(x, level, index, encode(), past)
        estimate = clean_estimate(x, velocity.to(x.dtype), level)
        _backward((estimate * network.of_block(wanted, index)).sum().div(clip.numel()))
    return clip


def _backward(loss: Tensor) -> None:
    """Autocast is for evaluations; the backward pass takes the types that these used."""
    with torch.autocast(loss.device.type, enabled=False):
        loss.backward()
