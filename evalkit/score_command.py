"""The body of `evalkit score FOLDER` for videos that no run made: score, keep files, print one line per metric."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from evalkit.execution import COMPLETE, WITH_FAILURES
from evalkit.folder_scores import FAILED, FolderJob, FolderScores, score_folder
from evalkit.metric_setup import MetricSetup
from evalkit.metrics.weights import WeightsError
from evalkit.progress import Console

ARROWS = {"up": "up", "down": "down", "zero": "to 0"}
NANO_NOTE = (
    "nano networks were trained on drawn characters: compare clips and methods with each other, never with published "
    "figures; for those: python -m evalkit weights get ..., then --backbones official"
)


def score_any_folder(options: argparse.Namespace, setup: MetricSetup) -> int:
    """Score, print, and say where everything is."""
    from evalkit.errors import EvalkitError

    out = options.out or Path("runs") / f"score-{options.run.resolve().name}"
    job = FolderJob(
        videos=options.run,
        out=out,
        audio=options.audio,
        portraits=options.portraits,
        real=options.real,
        boxes=options.boxes,
        metrics=tuple(options.metrics),
        setup=setup,
    )
    console = Console(is_silent=options.json)
    state = {"begun": False}

    def progress(done: int, whole: int, name: str) -> None:
        if not state["begun"]:
            console.begin("score", whole, float(whole))
            state["begun"] = True
        console.step(1.0, name)

    try:
        result = score_folder(job, progress)
    except WeightsError as error:
        raise EvalkitError(str(error)) from error
    finally:
        if state["begun"]:
            console.end()
    if options.json:
        content: dict[str, Any] = {"out": str(out), "clips": result.rows(), "summary": result.summary()}
        print(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print("\n".join(summary_lines(result, out)))
    return WITH_FAILURES if any(one.status == FAILED for one in result.clips) else COMPLETE


def summary_lines(result: FolderScores, out: Path) -> list[str]:
    """One line per metric with interval, denominator and network; then what failed, and where the files are."""
    lines = [f"{'metric':18} {'':5} {'value':>9}  {'95 % interval':19} {'clips':>7}  network"]
    for row in result.summary():
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        interval = "" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
        note = f"  ({row['note']})" if row["note"] else ""
        count = f"{row['n']}/{row['of']}"
        lines.append(
            f"{row['metric']:18} {ARROWS.get(row['direction'], ''):5} {value:>9}  {interval:19} {count:>7}  "
            f"{row['backbone']}{note}"
        )
    lines += [f"failed: {one.clip}: {one.error}" for one in result.clips if one.status == FAILED]
    if any(info.backbone.get("kind") == "nano" for info in result.metrics):
        lines.append(NANO_NOTE)
    lines.append(f"{out / 'clips.csv'} (one row per clip), {out / 'summary.csv'}, {out / 'scores.json'} (all details)")
    return lines
