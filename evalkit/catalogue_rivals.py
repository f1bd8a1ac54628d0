"""The experiments about other systems and their rows: `table1` (what they can), `table5` (clips for raters), `contrasts`."""

from __future__ import annotations

from evalkit.capabilities import REAL_TIME, STREAMING, UNLIMITED
from evalkit.experiments import UP, Column, Experiment, Row, SpeedProtocol, Table, experiment
from evalkit.measures import RATINGS
from evalkit.methods.base import PARADIGM
from evalkit.methods.paradigms import CONTRASTS, PARADIGMS
from evalkit.methods.paradigms.files import SHIPPED, TEACHER, problem_of

NOT_SET_UP = "needs its own checkout, weights and GPU: python -m evalkit doctor table2 says how"
NOT_RUN = "a nano re-implementation of the scheme; run it with --methods {name}, or all with --methods all"

PARADIGM_ROWS = tuple(
    Row(f"paradigm:{one.name}", one.title, PARADIGM, reason=NOT_RUN.format(name=f"paradigm:{one.name}"))
    for one in PARADIGMS.values()
)
PARADIGM_METHODS = tuple(row.method for row in PARADIGM_ROWS)
CONTRAST_ROWS = tuple(Row(f"contrast:{one.name}", one.title, PARADIGM) for one in CONTRASTS.values())
CONTRAST_METHODS = tuple(row.method for row in CONTRAST_ROWS)

OFFICIAL = Row("live_avatar_official", "Live Avatar (official code)", "rival", NOT_SET_UP)
TABLE1_ROWS = (
    Row("hallo3", "Hallo3", "rival", NOT_SET_UP),
    Row("stableavatar", "StableAvatar", "rival", NOT_SET_UP),
    Row("wan_s2v", "Wan-S2V", "rival", NOT_SET_UP),
    Row("ditto", "Ditto", "rival", NOT_SET_UP),
    Row("infinitetalk", "InfiniteTalk", "rival", NOT_SET_UP),
    Row("omniavatar", "OmniAvatar", "rival", NOT_SET_UP),
    OFFICIAL,
    *PARADIGM_ROWS,
    Row("live_avatar", "Live Avatar (ours)"),
)
SETS = ("genbench_short", "genbench_long")


def fast_paradigms() -> tuple[str, ...]:
    """The paradigms that are quick enough to run always, where their weights are there."""
    names = [one for one in ("ditto",) if not problem_of(SHIPPED, (TEACHER, *PARADIGMS[one].tuned))]
    return tuple(f"paradigm:{name}" for name in names)


@experiment
def table1() -> Experiment:
    """The paper's Table 1, every tick derived from runs: streaming, real time, unlimited length."""
    table = Table(
        name="table1",
        title="What systems can do, as measured (the paper's Table 1)",
        columns=(
            Column(STREAMING, "Streaming", UP, is_tick=True),
            Column(REAL_TIME, "Real time", UP, is_tick=True),
            Column(UNLIMITED, "Unlimited length", UP, is_tick=True),
        ),
        rows=TABLE1_ROWS,
        datasets=("genbench_long",),
        paper_table="Table 1",
    )
    return Experiment(
        name="table1",
        title="Capabilities, derived from runs (Table 1)",
        methods=("live_avatar", *fast_paradigms()),
        datasets=SETS,
        metrics=(),
        tables=(table,),
        optional_methods=PARADIGM_METHODS,
        speed=SpeedProtocol(),
        probes_streaming=True,
    )


@experiment
def table5() -> Experiment:
    """The paper's Table 5: the short clips that people rate; `evalkit study` makes their page and scores their answers."""
    from evalkit.catalogue import OURS, RIVALS

    table = Table(
        name="table5",
        title="User study (the paper's Table 5)",
        columns=tuple(Column(name, name.capitalize(), UP, digits=1) for name in RATINGS),
        rows=(*RIVALS, OFFICIAL, OURS),
        datasets=("genbench_short",),
        paper_table="Table 5",
    )
    return Experiment(
        name="table5",
        title="Clips for the user study (Table 5)",
        methods=("live_avatar", *fast_paradigms()),
        datasets=("genbench_short",),
        metrics=(),
        tables=(table,),
        optional_methods=PARADIGM_METHODS,
    )


@experiment
def contrasts() -> Experiment:
    """Two controlled contrasts on long clips: pixel round trip or latents; an anchor that moves along or stays."""
    from evalkit.catalogue import ASE, DINO_S, IQA, MOUTH, NO_ROLLING_ROPE, OURS, SYNC_C

    table = Table(
        name="contrasts",
        title="One change each: context as pixels or latents, anchor moving or staying",
        # A still video resembles its picture best: how much moves stands beside.
        columns=(ASE, IQA, SYNC_C, DINO_S, Column("motion", "Motion", "", in_paper=False), MOUTH),
        rows=(*CONTRAST_ROWS, OURS, NO_ROLLING_ROPE),
        datasets=("genbench_long",),
    )
    return Experiment(
        name="contrasts",
        title="Two controlled contrasts on long clips",
        methods=CONTRAST_METHODS,
        datasets=("genbench_long",),
        metrics=("ase", "iqa", "sync_c", "dino_s", "motion", "mouth_correlation"),
        tables=(table,),
        optional_methods=(OURS.method, NO_ROLLING_ROPE.method),
        reference=CONTRAST_METHODS[0],
    )
