"""A plug-in for tests: three short samples and a table of set metrics over control rows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from evalkit.datasets import SampleSet, register_dataset
from evalkit.experiments import Column, Experiment, Row, Table, experiment
from evalkit.genbench_sets import load_genbench
from genbench.build import build_set
from genbench.spec import SetSize, draw_set

COLUMNS = (
    Column("motion", "Motion", "zero"),
    Column("fid", "FID", "down"),
    Column("kid", "KID", "down", digits=4),
    Column("fid_clean", "FID (clean)", "down"),
)
ROWS = (Row("truth", "Truth", "control"), Row("truth_shifted", "Late voice", "control"))


def three(name: str) -> SampleSet:
    """Three samples of about two seconds."""

    def build(folder: Path, suite: str, progress: Any) -> None:
        build_set(draw_set("short", suite, size=SetSize(3, (1.8, 2.0))), folder, on_sample=lambda _made_now: progress(1, 1))

    return SampleSet(name, name, {"quick": 3, "full": 3}, build, partial(load_genbench, name))


register_dataset("genbench_short", partial(three, "genbench_short"))


@experiment
def set_table() -> Experiment:
    """Distances of sets, and one per-clip metric beside them."""
    table = Table("sets", "Distances of sets", COLUMNS, ROWS, ("genbench_short",))
    return Experiment(
        name="set_table",
        title="Distances of sets",
        methods=("truth", "truth_shifted"),
        datasets=("genbench_short",),
        metrics=("motion", "fid", "kid"),
        tables=(table,),
        reference="truth",
    )
