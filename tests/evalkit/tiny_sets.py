"""A plug-in for tests: the GenBench sets with one short sample each, made by genbench as the real ones are."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from evalkit.datasets import SampleSet, register_dataset
from evalkit.genbench_sets import TITLES, load_genbench
from genbench.build import build_set
from genbench.spec import SetSize, draw_set


def tiny_set(name: str) -> SampleSet:
    """One sample of about two seconds."""

    def build(folder: Path, suite: str, progress: Any) -> None:
        specs = draw_set(name.removeprefix("genbench_"), suite, size=SetSize(1, (1.8, 2.0)))
        build_set(specs, folder, on_sample=lambda _made_now: progress(1, 1))

    return SampleSet(name, name, {"quick": 1, "full": 1}, build, partial(load_genbench, name))


for one in TITLES:
    register_dataset(one, partial(tiny_set, one))
