"""The experiments that ship with evalkit, by the paper's names: its tables and figures, `ablations`, `stress`, `speed`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from evalkit.catalogue_rivals import NOT_SET_UP, PARADIGM_METHODS, PARADIGM_ROWS, fast_paradigms
from evalkit.experiments import (
    DOWN,
    NEITHER,
    SCENARIOS,
    UP,
    ZERO,
    Column,
    Experiment,
    Row,
    Segments,
    SpeedProtocol,
    Table,
    experiment,
    experiment_names,
    get_experiment,
    is_shipped,
    register_experiment,
)

ASE = Column("ase", "ASE", UP)
IQA = Column("iqa", "IQA", UP)
SYNC_C = Column("sync_c", "Sync-C", UP)
SYNC_D = Column("sync_d", "Sync-D", DOWN)
DINO_S = Column("dino_s", "Dino-S", UP, digits=3)
FPS = Column("fps", "FPS", UP, unit="frames/s")
TTFF = Column("ttff", "TTFF", DOWN, unit="s")
OFFSET = Column("sync_offset", "Offset", ZERO, digits=1, unit="frames", in_paper=False)
MOUTH = Column("mouth_correlation", "Mouth r", UP, digits=3, in_paper=False)

CLOSURE = Column("lip_closure", "Lips shut at p, b, m", UP, in_paper=False)
MOTION = Column("motion", "Motion", NEITHER, unit="%/s", in_paper=False)
FID = Column("fid", "FID", DOWN, in_paper=False)
KID = Column("kid", "KID", DOWN, digits=4, in_paper=False)
FVD = Column("fvd", "FVD", DOWN, in_paper=False)

METRICS = ("ase", "iqa", "sync_c", "sync_d", "sync_offset", "dino_s", "mouth_correlation", "lip_closure", "motion")
SET_METRICS = ("fid", "kid", "fvd")
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
        columns=(ASE, IQA, SYNC_C, SYNC_D, DINO_S, FPS, extra, OFFSET, MOUTH, CLOSURE, MOTION, FID, KID, FVD),
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
        metrics=(*METRICS, *SET_METRICS),
        tables=(table,),
        speed=SpeedProtocol(),
    )


POSITION_BLOCKS = 12
QUICK_STREAM = Segments(stream_s=600.0, spans_s=((0, 10), (100, 110), (300, 310), (590, 600)), windows=10)
FULL_STREAM = Segments(windows=100)
SINK_TABLE = Table(
    name="table4",
    title="Rolling sink frame (the paper's Table 4)",
    columns=(ASE, IQA, SYNC_C, DINO_S, MOUTH, MOTION),
    rows=(NO_AAS, NO_ROLLING_ROPE, NO_HISTORY_CORRUPT, OURS, *CONTROLS),
    datasets=SETS,
    paper_table="Table 4",
)
CACHE_TABLE = Table(
    name="table6",
    title="Clean cache against timestep-forcing (the paper's Table 6)",
    columns=(ASE, IQA, SYNC_C, SYNC_D, DINO_S, FPS, TTFF, OFFSET, MOUTH),
    rows=(CLEAN_KV, Row("live_avatar", "Timestep-forcing (ours)"), *CONTROLS),
    datasets=SETS,
    paper_table="Table 6",
)


@experiment
def table4() -> Experiment:
    """The paper's Table 4: the sink's switches, and training without History Corrupt."""
    return Experiment(
        name="table4",
        title="Rolling sink frame on long clips (Table 4)",
        methods=("live_avatar", NO_AAS.method, NO_ROLLING_ROPE.method, *(row.method for row in CONTROLS)),
        datasets=SETS,
        metrics=METRICS,
        tables=(SINK_TABLE,),
    )


@experiment
def table6() -> Experiment:
    """The paper's Table 6: one clean cache, or one per timestep; short and long."""
    return Experiment(
        name="table6",
        title="Clean cache against timestep-forcing (Table 6)",
        methods=("live_avatar", CLEAN_KV.method, *(row.method for row in CONTROLS)),
        datasets=SETS,
        metrics=METRICS,
        tables=(CACHE_TABLE,),
        speed=SpeedProtocol(),
    )


@experiment
def ablations() -> Experiment:
    """The paper's Tables 4 and 6: switches of the one rollout."""
    return Experiment(
        name="ablations",
        title="Ablations of the streaming rollout (Tables 4 and 6)",
        methods=("live_avatar", CLEAN_KV.method, NO_AAS.method, NO_ROLLING_ROPE.method, *(row.method for row in CONTROLS)),
        datasets=SETS,
        metrics=METRICS,
        tables=(SINK_TABLE, CACHE_TABLE),
        speed=SpeedProtocol(),
    )


@experiment
def figure4() -> Experiment:
    """The paper's Figure 4: long clips through time, side by side."""
    return Experiment(
        name="figure4",
        title="Long clips through time (Figure 4)",
        methods=("live_avatar", "truth"),
        datasets=("genbench_long",),
        metrics=(),
        tables=(),
        optional_methods=(CLEAN_KV.method, NO_AAS.method, NO_ROLLING_ROPE.method),
    )


@experiment
def figure7() -> Experiment:
    """The paper's Figure 7: positions of cache and sink, with and without Rolling RoPE, as the rollout itself has them."""
    return Experiment(
        name="figure7",
        title="Positions of cache and sink (Figure 7)",
        methods=("live_avatar", NO_ROLLING_ROPE.method),
        datasets=("genbench_short",),
        metrics=(),
        tables=(),
        positions=POSITION_BLOCKS,
        has_clips=False,
    )


@experiment
def figure8() -> Experiment:
    """The paper's Figure 8: who works when, drawn from a clip's own timeline."""
    return Experiment(
        name="figure8",
        title="Timeline of inference (Figure 8)",
        methods=("live_avatar",),
        datasets=("genbench_short",),
        metrics=(),
        tables=(),
    )


@experiment
def speed() -> Experiment:
    """Speed as a viewer meets it: live sound, switches from silence to speech, a soak, a cold start; scopes side by side."""
    columns = (
        FPS,
        Column("fps_denoiser_vae", "Denoiser + VAE", UP, unit="frames/s", in_paper=False),
        Column("fps_denoiser", "Denoiser", UP, unit="frames/s", in_paper=False),
        TTFF,
        Column("live_first", "First frame, live", DOWN, unit="s", in_paper=False),
        Column("live_p50", "Latency p50", DOWN, unit="s", in_paper=False),
        Column("live_p99", "Latency p99", DOWN, unit="s", in_paper=False),
        Column("live_misses", "Misses", DOWN, digits=0, in_paper=False),
        Column("live_freeze", "Longest freeze", DOWN, unit="s", in_paper=False),
        Column("switch_p50", "Switch p50", DOWN, unit="s", in_paper=False),
        Column("switch_p95", "Switch p95", DOWN, unit="s", in_paper=False),
        Column("switch_stall", "Switch stall", DOWN, unit="s", in_paper=False),
        Column("soak_fps", "Soak FPS", UP, unit="frames/s", in_paper=False),
        Column("soak_memory", "Soak memory growth", DOWN, digits=1, unit="MiB", in_paper=False),
        Column("cold_first", "Cold start", DOWN, unit="s", in_paper=False),
    )
    table = Table("speed", "Speed by scenario and scope", columns, (OURS,), ("genbench_long",))
    return Experiment(
        name="speed",
        title="Speed: live, offline, switch, soak, cold",
        methods=("live_avatar",),
        datasets=("genbench_long",),
        metrics=(),
        tables=(table,),
        speed=SpeedProtocol(scenarios=SCENARIOS, soak_s=120.0),
    )


@experiment
def stress() -> Experiment:
    """The paper's Table 7: one stream of thousands of seconds, scored in segments."""
    return long_stream("stress", "A stream of {seconds} s (Table 7)", FULL_STREAM)


@experiment
def table7() -> Experiment:
    """As `stress`; the quick suite runs ten minutes, with segments that fit them."""
    return with_quick_stream("table7", "A stream of {seconds} s, scored in segments (Table 7)")


@experiment
def figure9() -> Experiment:
    """The paper's Figure 9: the stream of Table 7 through time."""
    return with_quick_stream("figure9", "A stream of {seconds} s through time (Figure 9)")


def with_quick_stream(name: str, title: str) -> Experiment:
    """A long stream whose quick form lasts ten minutes."""
    return replace(long_stream(name, title, FULL_STREAM), quick_form=long_stream(name, title, QUICK_STREAM))


def long_stream(name: str, title: str, segments: Segments) -> Experiment:
    """One stream, scored in segments that are the rows of its table."""
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
        name=name,
        title=title,
        methods=("live_avatar",),
        datasets=names,
        metrics=("ase", "iqa", "sync_c", "sync_d", "sync_offset", "dino_s"),
        tables=(table,),
        stress=segments,
    )


def everything() -> Experiment:
    """All tables and figures that clips and speed records give, in one run: a clip that several of them want is made once.

    Streams of thousands of seconds are runs of their own (`STREAM_PART`), and so are experiments of plug-ins.
    """
    parts = [get_experiment(name) for name in experiment_names() if name not in APART and is_shipped(name)]
    parts = [part for part in parts if part.stress is None]
    tables = {table.name: table for part in parts for table in part.tables}
    return Experiment(
        name=ALL,
        title="Every table and figure",
        methods=_joined(part.methods for part in parts),
        datasets=_joined(part.datasets for part in parts),
        metrics=_joined(part.metrics for part in parts),
        tables=tuple(tables.values()),
        optional_methods=_joined(part.optional_methods for part in parts),
        speed=SpeedProtocol(scenarios=_joined(part.speed.scenarios for part in parts if part.speed is not None)),
        probes_streaming=any(part.probes_streaming for part in parts),
        positions=max(part.positions for part in parts),
    )


def _joined(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Names of all groups, each once, in order."""
    return tuple(dict.fromkeys(name for group in groups for name in group))


ALL, STREAM_PART = "all", "table7"
APART = (ALL, "speed", "contrasts", "minute", "distillation", "ingredients")
"""Not parts of `all`: itself, and what the paper has no table of."""
register_experiment(ALL, everything)


def segment_name(span_s: tuple[int, int]) -> str:
    """The data set that holds one segment of a stress stream."""
    return f"stress_{span_s[0]}_{span_s[1]}"
