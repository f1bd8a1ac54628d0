"""The optimiser of a stage: Muon for matrices inside the network, AdamW for everything else.

Muon is momentum whose update is made orthogonal, so that all directions of a matrix learn at one pace.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from liveavatar.training.recipes import Recipe
from liveavatar.training.scale import is_sharded


class Optimisers:
    """Several torch optimisers stepped as one; `parts` is what a checkpoint stores."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    def set_rate(self, rate: float) -> None:
        """The learning rate of every group."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        """One update."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget gradients."""
        for part in self.parts:
            part.zero_grad()


def make_optimiser(model: nn.Module, recipe: Recipe) -> Optimisers:
    """By `recipe.optimiser`: "adamw" for all, or "muon" for two-dimensional weights and AdamW for the rest."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices: list[Tensor] = []
    if recipe.optimiser == "muon":
        # Embedding tables are looked up, not multiplied: their rows have no common geometry to orthogonalise.
        tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        matrices = [p for p in trained if p.ndim == 2 and id(p) not in tables]
        if is_sharded(trained):
            raise ValueError("Muon needs whole matrices and these are sharded; set optimiser='adamw'")
    elif recipe.optimiser != "adamw":
        raise ValueError(f"optimiser={recipe.optimiser!r}: allowed are 'adamw' and 'muon'")
    chosen = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in chosen]
    decayed, plain = [p for p in rest if p.ndim > 1], [p for p in rest if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    # The fused loop over many tensors takes no mix of sharded and whole ones.
    foreach = False if is_sharded(trained) else None
    parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=recipe.rate, betas=recipe.betas, foreach=foreach)]
    if matrices:
        muon = torch.optim.Muon(matrices, lr=recipe.rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw")
        parts.append(muon)
    return Optimisers(parts)


def allocate(optimisers: Optimisers) -> None:
    """Make the state that AdamW would make at its first step: a sharded checkpoint is read into what is there."""
    for part in optimisers.parts:
        for group in part.param_groups:
            for parameter in group["params"]:
                moments = {"exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
                part.state[parameter] = {"step": torch.zeros(()), **moments}
