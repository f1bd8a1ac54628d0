"""A plug-in for tests: the fakes under the names of the real methods, sets and metrics, for runs of shipped experiments."""

from __future__ import annotations

from functools import partial
from typing import Any

from evalkit import experiments
from evalkit.datasets import register_dataset
from evalkit.genbench_sets import TITLES
from evalkit.measures import AddedMetric, register_metric
from evalkit.methods import register_method
from evalkit.methods.base import ABLATION, CONTROL, SYSTEM, Inputs, Session
from tests.evalkit.fakes import FakeMethod, FakeMetric, FakeSession, extract, fake_set


class StubMethod(FakeMethod):
    """A fake that also has positions of blocks."""

    def load(self, profile: str) -> Session:
        return StubSession(self)


class StubSession(FakeSession):
    """One loaded stub."""

    def positions(self, inputs: Inputs, seed: int, blocks: int) -> list[dict[str, Any]]:
        return [
            {"block": block, "step": 0, "own": [block], "sink": 10 + block, "past": [], "sink_is": "adapted"}
            for block in range(blocks)
        ]


class StubMetric(FakeMetric):
    """The number in the fake video, whatever it is called."""

    def __init__(self, name: str) -> None:
        self.name = name


# Importing the fakes made their experiments known too; `all` would take them in.
for one in ("fake_table", "fake_speed", "fake_stress"):
    experiments._EXPERIMENTS.pop(one, None)
KINDS = {
    "live_avatar": SYSTEM,
    "live_avatar_clean_kv": ABLATION,
    "truth": CONTROL,
}
for one, kind in KINDS.items():
    register_method(one, partial(StubMethod, one, kind))
for one in TITLES:
    register_dataset(one, partial(fake_set, one, 2, 24.0))
for one in ("sync_c", "sync_d", "sync_offset", "dino_s"):
    register_metric(one, AddedMetric(StubMetric(one), extract))
