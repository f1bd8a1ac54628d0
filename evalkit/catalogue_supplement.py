"""Experiments beside the main comparison: speed over several devices (Table 3), clips of the training domain (Table 8)."""

from __future__ import annotations

from evalkit.catalogue import (
    ASE,
    CONTROLS,
    DINO_S,
    FPS,
    IQA,
    METRICS,
    MOUTH,
    OFFSET,
    OURS,
    RIVALS,
    SYNC_C,
    SYNC_D,
    TTFF,
)
from evalkit.experiments import (
    DOWN,
    NEITHER,
    OFFLINE,
    PREDICTED,
    UP,
    Column,
    Experiment,
    Row,
    SpeedProtocol,
    Table,
    experiment,
)

IN_DOMAIN = "genbench_in_domain"
LONG = "genbench_long"


@experiment
def table3() -> Experiment:
    """The paper's Table 3: predicted over several devices, and measured in one process where a row can run in one."""
    rows = (
        Row("live_avatar_clean_kv", "Without TPP", "ablation"),
        Row("live_avatar_sp4", "Without TPP, SP on 4 devices", "ablation"),
        Row("live_avatar_no_vae_parallel", "Without VAE parallelism", "ablation"),
        Row("live_avatar_no_dmd", "Without DMD", "ablation"),
        OURS,
    )
    columns = (
        Column("devices", "#GPUs", NEITHER, digits=0),
        Column("nfe", "NFE", NEITHER, digits=0),
        Column("fps_predicted", "FPS, predicted", UP, unit="frames/s"),
        Column("ttff_predicted", "TTFF, predicted", DOWN, unit="s"),
        Column("fps", "FPS, one process", UP, unit="frames/s", in_paper=False),
        Column("ttff", "TTFF, one process", DOWN, unit="s", in_paper=False),
    )
    return Experiment(
        name="table3",
        title="Inference efficiency (Table 3)",
        methods=tuple(row.method for row in rows),
        datasets=(LONG,),
        metrics=(),
        tables=(Table("table3", "Inference efficiency (the paper's Table 3)", columns, rows, (LONG,), "Table 3"),),
        speed=SpeedProtocol(scenarios=(OFFLINE, PREDICTED)),
        has_clips=False,
    )


@experiment
def table8() -> Experiment:
    """The paper's Table 8: held-out clips of the training domain, whose truth allows distances between sets."""
    table = Table(
        name="table8",
        title="Clips of the training domain (the paper's Table 8)",
        columns=(
            Column("fid", "FID", DOWN),
            Column("fvd", "FVD", DOWN),
            *(ASE, IQA, SYNC_C, SYNC_D, DINO_S, FPS),
            *(Column(TTFF.metric, TTFF.title, DOWN, unit=TTFF.unit, in_paper=False), OFFSET, MOUTH),
        ),
        rows=(*RIVALS, OURS, *CONTROLS),
        datasets=(IN_DOMAIN,),
        paper_table="Table 8",
    )
    return Experiment(
        name="table8",
        title="Clips of the training domain, with truth (Table 8)",
        methods=("live_avatar", *(row.method for row in CONTROLS)),
        datasets=(IN_DOMAIN,),
        metrics=("fid", "fvd", *METRICS),
        tables=(table,),
    )
