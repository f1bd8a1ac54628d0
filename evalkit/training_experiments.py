"""Experiments about what training bought: the shipped weights for a minute, distillation step by step, its ingredients."""

from __future__ import annotations

from evalkit.experiments import DOWN, NEITHER, UP, ZERO, Column, Experiment, Row, SpeedProtocol, Table, experiment
from evalkit.methods import STUDENT_STEPS, UNDISTILLED_STEPS

SYNC_C = Column("sync_c", "Sync-C", UP)
DINO_S = Column("dino_s", "Dino-S", UP, digits=3)
MOUTH = Column("mouth_correlation", "Mouth r", UP, digits=3)
CLOSURE = Column("lip_closure", "Lips shut at p, b, m", UP)
SHARPNESS = Column("sharpness", "Sharpness", NEITHER)
CHANGE = Column("frame_change", "Frame change", NEITHER)
BORDER = Column("border_change", "Change at borders", NEITHER, digits=3)
SHARPNESS_DRIFT = Column("sharpness_drift", "Sharpness, last 5 s", ZERO, digits=1, unit="%")
COLOUR_SHIFT = Column("colour_shift", "Colour, last 5 s", DOWN, unit="of 255")
FID, FVD = Column("fid", "FID", DOWN), Column("fvd", "FVD", DOWN)
FPS = Column("fps", "FPS", UP, unit="frames/s")
TRUTH = Row("truth", "Truth", "control")
OURS = Row("live_avatar", "Live Avatar (ours)")
SHORT, MINUTE = ("genbench_short",), ("genbench_minute",)
SHORT_SPEED = SpeedProtocol(name="short", dataset=SHORT[0], clip_s=4.8, min_blocks=24)
"""The others' speed is read from their clips of the same set."""


def _experiment(
    name: str,
    title: str,
    columns: tuple[Column, ...],
    rows: tuple[Row, ...],
    datasets: tuple[str, ...],
    speed: SpeedProtocol | None = None,
) -> Experiment:
    return Experiment(
        name=name,
        title=title,
        methods=tuple(row.method for row in rows if not row.reason),
        datasets=datasets,
        metrics=tuple(column.metric for column in columns if column is not FPS),
        tables=(Table(name, title, columns, rows, datasets),),
        speed=speed,
    )


@experiment
def minute() -> Experiment:
    """The shipped weights on a minute of speech each: sixteen pictures of all styles and compositions, beside the truth."""
    columns = (SYNC_C, DINO_S, MOUTH, CLOSURE, SHARPNESS, SHARPNESS_DRIFT, COLOUR_SHIFT, CHANGE, BORDER, FPS)
    return _experiment(
        "minute", "A minute of each picture and voice", columns, (OURS, TRUTH), MINUTE, SpeedProtocol(dataset=MINUTE[0])
    )


@experiment
def distillation() -> Experiment:
    """What distillation buys: stage 1 at 1 to 40 Euler steps beside the student at 1, 2 and 4."""
    columns = (SYNC_C, DINO_S, MOUTH, CLOSURE, SHARPNESS, CHANGE, BORDER, FID, FVD, FPS)
    rows = (
        *(Row(f"undistilled_{count}_steps", f"Undistilled, {_steps(count)}", "ablation") for count in UNDISTILLED_STEPS),
        *(Row(f"live_avatar_{count}_steps", f"Distilled, {_steps(count)}", "ablation") for count in STUDENT_STEPS),
        Row("live_avatar", "Distilled, 4 steps (ours)"),
        TRUTH,
    )
    return _experiment("distillation", "What distillation buys", columns, rows, SHORT, SHORT_SPEED)


@experiment
def ingredients() -> Experiment:
    """Each ingredient of the stream left out, for a minute a clip, on pictures of the world and on altered ones."""
    columns = (SYNC_C, DINO_S, MOUTH, CLOSURE, SHARPNESS_DRIFT, COLOUR_SHIFT, CHANGE, BORDER)
    rows = (
        Row("live_avatar_no_aas", "Without AAS", "ablation"),
        Row("live_avatar_no_rolling_rope", "Without Rolling RoPE", "ablation"),
        Row("live_avatar_clean_kv", "Clean key/value cache", "ablation"),
        OURS,
    )
    datasets = ("genbench_minute", "genbench_outside")
    return _experiment("ingredients", "Ingredients of the stream, one left out at a time", columns, rows, datasets)


def _steps(count: int) -> str:
    return f"{count} step" + "s" * (count > 1)
