"""Methodology, commands and digests: what the definition says, put into words."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass

from reports import format as fmt
from reports.data import Json, Run, error_of
from reports.tables import title

DIRECTIONS = {"up": "higher is better", "down": "lower is better"}


@dataclass(frozen=True)
class Digest:
    """One line of the digest list."""

    what: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Failure:
    """One record that did not finish."""

    label: str
    status: str
    message: str
    tail: str


def paragraphs(run: Run) -> list[str]:
    """The methodology in sentences, generated from the definition."""
    made = [_scope(run), *[_dataset(d) for d in run.datasets.values()], _methods(run)]
    made.append(
        "The unit of resampling is the sample. Values are means over samples with a 95 % interval; n is the number of "
        "samples with a value. Differences are paired: the mean over the same samples of one method minus another."
    )
    made.append(
        "A value is marked best only when every competing row of its column has an interval and none of them touches "
        "its own; controls do not compete. A figure marked paper is quoted from the publication and was not measured "
        "here. An empty cell carries its reason."
    )
    return [text for text in made if text]


def _scope(run: Run) -> str:
    e = run.experiment
    seeds = ", ".join(str(seed) for seed in e.get("seeds") or []) or "not stated"
    limit = f", limited to {e['limit']} samples" if e.get("limit") else ""
    name, suite, profile = (str(e.get(key) or "not stated") for key in ("name", "suite", "profile"))
    return f"Experiment {name}, suite {suite}, profile {profile}, seeds {seeds}{limit}."


def _dataset(dataset) -> str:
    lengths = [sample.duration_s for sample in dataset.samples if sample.duration_s]
    span = ""
    if lengths:
        ends = fmt.seconds(min(lengths)), fmt.seconds(max(lengths))
        span = f" of {ends[0]}" if ends[0] == ends[1] else f" of {ends[0]} to {ends[1]}"
    styles = sorted({sample.style for sample in dataset.samples if sample.style})
    kinds = f"; styles: {', '.join(styles)}" if styles else ""
    return f"Test set {dataset.title}: {fmt.plural(len(dataset.samples), 'sample')}{span}{kinds}."


def _methods(run: Run) -> str:
    named = [f"{m.title} ({m.kind}{f', version {m.version}' if m.version else ''})" for m in run.methods.values()]
    return f"Methods: {', '.join(named)}." if named else ""


def metric_rows(run: Run) -> list[list[str]]:
    """How each column is measured: title, unit, direction, network, its digest."""
    return [
        [
            metric.title,
            metric.unit or "none",
            DIRECTIONS.get(metric.direction, "neither"),
            f"{metric.backbone.get('name', 'none')}"
            + (f" ({metric.backbone['kind']})" if metric.backbone.get("kind") else ""),
            fmt.short_digest(str(metric.backbone.get("digest") or "")),
        ]
        for metric in run.metrics.values()
    ]


def commands(run: Run) -> list[str]:
    """Commands that make the same run again, check it, and rebuild this page."""
    stated = run.experiment.get("commands")
    if isinstance(stated, list) and stated:
        return [str(command) for command in stated]
    e = run.experiment
    name = str(e.get("name") or "EXPERIMENT")
    folder = shlex.quote(f"runs/{name}")
    parts = ["python -m evalkit run", shlex.quote(name)]
    if e.get("suite"):
        parts += ["--suite", shlex.quote(str(e["suite"]))]
    if run.experiment.get("methods"):
        measured = dict.fromkeys(clip.method for clip in run.generate) | dict.fromkeys(m for m, _, _ in run.speed)
        chosen = [m for m in run.methods if m in measured]
        parts += ["--methods", shlex.quote(",".join(chosen))] if chosen else []
    if e.get("seeds"):
        parts += ["--seeds", ",".join(str(seed) for seed in e["seeds"])]
    if e.get("limit"):
        parts += ["--limit", str(e["limit"])]
    parts += ["--out", folder]
    return [" ".join(parts), f"python -m evalkit verify {folder}", f"python -m reports {folder}"]


def digests(run: Run) -> list[Digest]:
    """Digests of sets, measuring networks, the cells and every artefact."""
    made = [Digest(f"test set {d.title}", d.digest) for d in run.datasets.values() if d.digest]
    for metric in run.metrics.values():
        if metric.backbone.get("digest"):
            network = str(metric.backbone.get("name") or "network")
            made.append(Digest(f"network {network}", str(metric.backbone["digest"]), metric.title))
    cells = run.root / "table" / "cells.json"
    if cells.is_file():
        made.append(Digest("table/cells.json", hashlib.sha256(cells.read_bytes()).hexdigest()))
    return made


def artefact_digests(run: Run) -> list[Digest]:
    """Digest of every recorded artefact."""
    made = []
    for _, record in run.records():
        for item in record.get("artefacts") or []:
            if isinstance(item, dict) and item.get("path"):
                made.append(Digest(str(item["path"]), str(item.get("sha256") or ""), _bytes(item)))
    return made


def _bytes(item: Json) -> str:
    count = item.get("bytes")
    return fmt.size(count) if isinstance(count, int) else ""


def failures(run: Run) -> list[Failure]:
    """Every record that is not done, with the end of its log."""
    made = []
    for label, record in run.records():
        if record.get("status") == "done":
            continue
        error = error_of(record)
        tail = error.get("tail")
        tail = "\n".join(str(line) for line in tail) if isinstance(tail, list) else str(tail or "")
        kind, text = str(error.get("class") or ""), str(error.get("message") or "no message was recorded")
        message = f"{kind}: {text}" if kind else text
        made.append(Failure(label, str(record.get("status") or "unknown"), message, tail))
    return made


def method_legend(run: Run) -> list[tuple[int, str, str]]:
    """Palette index, title and kind of each method that made a video or a score."""
    used = {clip.method for clip in run.generate} | {clip.method for _, clip in run.scores}
    return [(i, title(run, name), run.methods[name].kind) for i, name in enumerate(run.methods) if name in used]
