"""A stand-in for torchmetrics where it is not installed: states, reset, forward, and synchronisation as it does them."""

from __future__ import annotations

import copy
import sys
from types import ModuleType
from typing import Any

import pytest
import torch


class Metric(torch.nn.Module):
    """The part of `torchmetrics.Metric` that the classes rely on, with the same rules for gathered states."""

    def __init__(self, **more: Any):
        super().__init__()
        assert not set(more) - {"sync_on_compute", "dist_sync_on_step", "compute_on_cpu"}
        self._defaults: dict[str, Any] = {}
        self._reductions: dict[str, Any] = {}
        self.update_count = 0

    def add_state(self, name: str, default: Any, dist_reduce_fx: str | None = None, persistent: bool = False) -> None:
        assert isinstance(default, torch.Tensor) or default == []
        assert dist_reduce_fx in ("sum", "mean", "cat", None)
        setattr(self, name, copy.deepcopy(default))
        self._defaults[name], self._reductions[name] = copy.deepcopy(default), dist_reduce_fx

    def reset(self) -> None:
        for name, default in self._defaults.items():
            setattr(self, name, copy.deepcopy(default))

    def gathered(self, others: list[Metric]) -> Metric:
        """What every rank holds before it computes: states of all ranks, reduced by their rules."""
        ranks = [self, *others]
        joined = copy.copy(self)
        joined.__dict__ = dict(self.__dict__)
        for name, rule in self._reductions.items():
            states = [getattr(rank, name) for rank in ranks]
            if isinstance(self._defaults[name], list):
                merged: Any = [torch.cat(state) for state in states]
                merged = torch.cat(merged) if rule == "cat" else merged
            else:
                stacked = torch.stack(states)
                merged = stacked.sum(0) if rule == "sum" else stacked
            setattr(joined, name, merged)
        return joined


def use_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library where it is installed, else the stand-in."""
    try:
        import torchmetrics  # noqa: F401
    except ImportError:
        module = ModuleType("torchmetrics")
        module.Metric = Metric  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torchmetrics", module)


def over_ranks(ranks: list[Any]) -> Any:
    """compute() of the first rank after synchronisation with the others."""
    first = ranks[0]
    if isinstance(first, Metric):
        return type(first).compute(first.gathered(ranks[1:]))

    # The library hands over one tensor per state, in the order in which they were added; lists come joined.
    names = iter(first._reductions)
    held = {name: [_joined(getattr(rank, name)) for rank in ranks] for name in first._reductions}

    def gather(state: torch.Tensor, group: Any = None) -> list[torch.Tensor]:
        return held[next(names)]

    first.sync(dist_sync_fn=gather, distributed_available=lambda: True)
    try:
        return type(first).compute(first)
    finally:
        first.unsync()


def _joined(state: Any) -> torch.Tensor:
    return torch.cat(state) if isinstance(state, list) else state
