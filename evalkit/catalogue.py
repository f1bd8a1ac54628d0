"""The experiments that ship with evalkit: `table2`, `ablations` and `stress`."""

from __future__ import annotations

from evalkit.catalogue_rivals import NOT_SET_UP, PARADIGM_METHODS, PARADIGM_ROWS, fast_paradigms
from evalkit.experiments import DOWN, UP, ZERO, Column, Experiment, Row, Segments, SpeedProtocol, Table, experiment

ASE = Column("ase", "ASE", UP)
IQA = Column("iqa", "IQA", UP)
SYNC_C = Column("sync_c", "Sync-C", UP)
SYNC_D = Column("sync_d", "Sync-D", DOWN)
DINO_S = Column("dino_s", "Dino-S", UP, digits=3)
FPS = Column("fps", "FPS", UP, unit="frames/s")
TTFF = Column("ttff", "TTFF", DOWN, unit="s")
OFFSET = Column("sync_offset", "Offset", ZERO, digits=1, unit="frames", in_paper=False)
MOUTH = Column("mouth_correlation", "Mouth r", UP, digits=3, in_paper=False)

METRICS = ("ase", "iqa", "sync_c", "sync_d", "sync_offset", "dino_s", "mouth_correlation")
SETS = ("genbench_short", "genbench_long")

RIVALS = (
    Row("ditto", "Ditto", "rival", reason=NOT_SET_UP),
    Row("echomimic_v2", "Echomimic-V2", "rival", reason=NOT_SET_UP),
    Row("hallo3", "Hallo3", "rival", reason=NOT_SET_UP),
    Row("stableavatar", "StableAvatar", "rival", reason=NOT_SET_UP),
    Row("omniavatar", "OmniAvatar", "rival", reason=NOT_SET_UP),
    Row("wan_s2v", "WanS2V", "rival", reason=NOT_SET_UP),
)
OURS = Row("live_avatar", "Live Avatar (ours)")
CONTROLS = (
    Row("truth", "Truth", "control"),
    Row("truth_swapped", "Truth, another voice", "control"),
    Row("truth_shifted", "Truth, voice 200 ms late", "control"),
)
CLEAN_KV = Row("live_avatar_clean_kv", "Clean key/value cache", "ablation")
NO_AAS = Row("live_avatar_no_aas", "Without AAS", "ablation")
NO_ROLLING_ROPE = Row("live_avatar_no_rolling_rope", "Without Rolling RoPE", "ablation")
NO_HISTORY_CORRUPT = Row(
    "live_avatar_no_history_corrupt",
    "Without History Corrupt",
    "ablation",
    "needs weights trained without it; none are shipped yet",
)


@experiment
def table2() -> Experiment:
    """The paper's Table 2: quality and speed on short and long clips."""
    extra = Column("ttff", "TTFF", DOWN, unit="s", in_paper=False)
    table = Table(
        name="table2",
        title="Quality and speed on GenBench (the paper's Table 2)",
        columns=(ASE, IQA, SYNC_C, SYNC_D, DINO_S, FPS, extra, OFFSET, MOUTH),
        rows=(*RIVALS, *PARADIGM_ROWS, OURS, *CONTROLS),
        datasets=SETS,
        paper_table="Table 2",
    )
    return Experiment(
        name="table2",
        title="Comparison with existing systems (Table 2)",
        methods=("live_avatar", "truth", "truth_swapped", "truth_shifted", *fast_paradigms()),
        optional_methods=PARADIGM_METHODS,
        datasets=SETS,
        metrics=METRICS,
        tables=(table,),
        speed=SpeedProtocol(),
    )


@experiment
def ablations() -> Experiment:
    """The paper's Tables 4 and 6: switches of the one rollout."""
    sink = Table(
        name="table4",
        title="Rolling sink frame (the paper's Table 4)",
        columns=(ASE, IQA, SYNC_C, DINO_S, MOUTH),
        rows=(NO_AAS, NO_ROLLING_ROPE, NO_HISTORY_CORRUPT, OURS),
        datasets=SETS,
        paper_table="Table 4",
    )
    caches = Table(
        name="table6",
        title="Clean cache against timestep-forcing (the paper's Table 6)",
        columns=(ASE, IQA, SYNC_C, SYNC_D, DINO_S, FPS, TTFF, OFFSET, MOUTH),
        rows=(CLEAN_KV, Row("live_avatar", "Timestep-forcing (ours)")),
        datasets=SETS,
        paper_table="Table 6",
    )
    return Experiment(
        name="ablations",
        title="Ablations of the streaming rollout (Tables 4 and 6)",
        methods=("live_avatar", CLEAN_KV.method, NO_AAS.method, NO_ROLLING_ROPE.method),
        datasets=SETS,
        metrics=METRICS,
        tables=(sink, caches),
        speed=SpeedProtocol(),
    )


@experiment
def stress() -> Experiment:
    """The paper's Table 7: one stream of thousands of seconds, scored in segments."""
    segments = Segments()
    names = tuple(segment_name(span) for span in segments.spans_s)
    table = Table(
        name="table7",
        title="One long stream, scored in segments (the paper's Table 7)",
        columns=(ASE, IQA, SYNC_C, DINO_S, Column("sync_d", "Sync-D", DOWN, in_paper=False), OFFSET),
        rows=(OURS,),
        datasets=names,
        paper_table="Table 7",
        by_dataset=True,
    )
    return Experiment(
        name="stress",
        title="A stream of {seconds} s (Table 7)",
        methods=("live_avatar",),
        datasets=names,
        metrics=("ase", "iqa", "sync_c", "sync_d", "sync_offset", "dino_s"),
        tables=(table,),
        stress=segments,
    )


def segment_name(span_s: tuple[int, int]) -> str:
    """The data set that holds one segment of a stress stream."""
    return f"stress_{span_s[0]}_{span_s[1]}"
