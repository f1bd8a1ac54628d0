"""The body of each verb: resolve, act, print. Nothing here computes a number."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit import datasets, measures
from evalkit.definition import Definition, load_definition
from evalkit.errors import PrerequisiteMissingError
from evalkit.execution import (
    BAD_DEFINITION,
    COMPLETE,
    INTERRUPTED,
    WITH_FAILURES,
    Finished,
    Options,
    check_same_run,
    run_experiment,
    score_run,
)
from evalkit.experiments import experiment_names, get_experiment
from evalkit.generator import GeneratorSetup, configured_method
from evalkit.names import unknown
from evalkit.plan import make_plan
from evalkit.plugins import load_plugins
from evalkit.progress import Console
from evalkit.records import DONE, GENERATE, INVALID, SCORE, SPEED
from evalkit.resolve import Selection, narrow, resolve
from evalkit.settings import FILE as SETTINGS_FILE
from evalkit.store import Store

WHAT = ("methods", "metrics", "datasets", "experiments")
MOST_LINES = 40


def run(options: argparse.Namespace) -> int:
    """`run EXPERIMENT`."""
    selection = _selection(options)
    folder = _out(options, selection)
    console = Console(is_silent=False)
    finished = run_experiment(options.experiment, selection, folder, _options(options), console)
    _tell_end(options, folder, finished)
    return finished.exit_code


def plan(options: argparse.Namespace) -> int:
    """`plan EXPERIMENT`: costs nothing, writes nothing into records."""
    selection = _selection(options)
    folder = _out(options, selection)
    check_same_run(folder, options.experiment, selection)
    definition = resolve(options.experiment, selection, folder, Console(is_silent=True), build=False)
    made = make_plan(Store(folder), definition) if folder.is_dir() else make_plan_nowhere(folder, definition)
    content = {
        "run": str(folder),
        "experiment": definition.name,
        "methods": [one.name for one in definition.runnable()],
        "datasets": [_set_summary(folder, definition, one.name) for one in definition.datasets],
        "metrics": [{"name": one.name, "reason": one.reason or None} for one in definition.metrics],
        "counts": {kind: made.counts(kind) for kind in (GENERATE, SPEED, SCORE)},
        "due": [
            {"record": item.key.path, "state": item.state, "reason": item.reason}
            for item in made.items
            if item.state not in (DONE, INVALID)
        ],
        "media_s": round(sum(item.media_s for item in made.due(GENERATE)), 1),
    }
    _print(options, content, _plan_lines(content, definition))
    return COMPLETE


def make_plan_nowhere(folder: Path, definition: Definition) -> Any:
    """The plan of a run whose folder does not exist yet: everything is missing, nothing is written."""
    store = Store(folder)
    store.digests.save = lambda: None  # type: ignore[method-assign]  # a plan must not create the folder
    return make_plan(store, definition)


def list_names(options: argparse.Namespace) -> int:
    """`list [what]`."""
    load_plugins(options.plugin)
    if options.what and options.what not in WHAT:
        raise unknown("list", options.what, WHAT)
    tables = {"experiments": _experiments, "methods": _methods, "metrics": _metrics, "datasets": _datasets}
    wanted = [options.what] if options.what else list(tables)
    content = {name: tables[name](options) for name in wanted}
    lines = []
    for name, rows in content.items():
        lines.append(name)
        lines += [f"  {row['name']:30} {row['about']}" for row in rows]
    _print(options, content, lines)
    return COMPLETE


def doctor(options: argparse.Namespace) -> int:
    """`doctor [EXPERIMENT]`."""
    from dataclasses import asdict

    from evalkit.doctor import FAIL, examine

    selection = _selection(options)
    checks = examine(get_experiment(options.experiment), selection, _out(options, selection))
    lines = [f"{one.state:4}  {one.name:32} {one.detail}" + (f"  -> {one.fix}" if one.fix else "") for one in checks]
    failed = [one for one in checks if one.state == FAIL]
    lines.append(f"{len(failed)} problems" if failed else f"ready; next: python -m evalkit run {options.experiment}")
    _print(options, [asdict(one) for one in checks], lines)
    return BAD_DEFINITION if failed else COMPLETE


def status(options: argparse.Namespace) -> int:
    """`status RUN`."""
    from evalkit.status import run_status, status_lines

    content = run_status(_existing(options.run))
    _print(options, content, status_lines(content))
    return WITH_FAILURES if content["failures"] else COMPLETE


def score(options: argparse.Namespace) -> int:
    """`score RUN`."""
    definition = _narrowed(options)
    finished = score_run(options.run, definition, _options(options), Console(), options.force)
    _tell_end(options, options.run, finished)
    return finished.exit_code


def table(options: argparse.Namespace) -> int:
    """`table RUN`: tables from records, recomputed each time."""
    from evalkit.derived import write_derived
    from evalkit.printing import print_table

    definition = load_definition(_existing(options.run))
    store = Store(options.run)
    cells = write_derived(store, definition, make_plan(store, definition))
    shown = _narrowed(options)
    kept = [cell for cell in cells if _is_shown(cell, shown, options)]
    if options.json:
        print(json.dumps(kept, indent=1, ensure_ascii=False, allow_nan=False))
    elif kept == cells:
        print("\n".join(print_table(definition, one, cells, options.format) for one in definition.tables))
    else:
        print("\n".join(_cell_line(cell) for cell in kept))
    return COMPLETE


def report(options: argparse.Namespace) -> int:
    """`report RUN`."""
    from evalkit.derived import build_report, write_derived

    definition = load_definition(_existing(options.run))
    store = Store(options.run)
    write_derived(store, definition, make_plan(store, definition))
    path, problem = build_report(store, is_forced=True)
    if path is None:
        raise PrerequisiteMissingError(problem)
    _print(options, {"report": str(path)}, [str(path)])
    return COMPLETE


def verify(options: argparse.Namespace) -> int:
    """`verify RUN`."""
    from evalkit.verify import verify_run

    found = verify_run(_existing(options.run))
    checked = found["checked"]
    lines = [
        *found["problems"],
        f"{checked['records']} records and {checked['artefacts']} artefacts checked, {len(found['problems'])} problems",
    ]
    _print(options, found, lines)
    return COMPLETE if found["ok"] else WITH_FAILURES


def study(options: argparse.Namespace) -> int:
    """`study build` and `study score`."""
    from evalkit.study import commands

    return commands.build(options) if options.part == "build" else commands.score(options)


def _selection(options: argparse.Namespace) -> Selection:
    load_plugins(options.plugin)
    return Selection(
        methods=options.methods,
        metrics=options.metrics,
        samples=options.samples,
        seeds=options.seeds,
        limit=options.limit,
        suite=options.suite,
        profile=options.profile,
        seconds=options.seconds,
        plugins=tuple(str(Path(one).resolve()) for one in options.plugin),
        generator=_generator(options),
    )


def _generator(options: argparse.Namespace) -> GeneratorSetup:
    """Weights and settings as full paths, so that a worker in another folder finds them."""
    weights = str(Path(options.weights).resolve()) if options.weights and Path(options.weights).exists() else options.weights
    settings = options.settings or (SETTINGS_FILE if Path(SETTINGS_FILE).is_file() else "")
    return GeneratorSetup(
        weights,
        options.size,
        options.device,
        options.dtype,
        options.fp8,
        options.offload,
        str(Path(settings).resolve()) if settings else "",
        tuple(options.assigned),
    )


def _options(options: argparse.Namespace) -> Options:
    words = [word if not Path(word).is_absolute() else Path(word).name for word in sys.argv[1:]]
    return Options(options.retry_failed, options.threads, "evalkit " + " ".join(words))


def _out(options: argparse.Namespace, selection: Selection) -> Path:
    get_experiment(options.experiment)  # a mistyped name is reported before anything else
    return options.out or Path("runs") / f"{options.experiment}-{selection.suite}"


def _existing(folder: Path) -> Path:
    load_plugins(load_definition(folder).plugins)
    return folder


def _narrowed(options: argparse.Namespace) -> Definition:
    definition = load_definition(_existing(options.run))
    return narrow(definition, _selection(options))


def _tell_end(options: argparse.Namespace, folder: Path, finished: Finished) -> None:
    counts = {kind: finished.plan.counts(kind) for kind in (GENERATE, SPEED, SCORE) if finished.plan.of(kind)}
    content = {
        "run": str(folder),
        "exit_code": finished.exit_code,
        "counts": counts,
        "report": str(finished.report) if finished.report else None,
        "message": finished.message or None,
    }
    lines = [
        f"{kind}: " + ", ".join(f"{count} {state}" for state, count in found.items() if count)
        for kind, found in counts.items()
    ]
    if finished.message:
        lines.append(finished.message)
    if finished.exit_code in (COMPLETE, WITH_FAILURES):
        lines.append(f"tables: {folder / 'table'}")
        if finished.report:
            lines.append(f"report: {finished.report}")
    lines.append("next: " + _next_command(options, folder, finished.exit_code))
    _print(options, content, lines)


def _next_command(options: argparse.Namespace, folder: Path, exit_code: int) -> str:
    if exit_code == COMPLETE:
        return f"python -m evalkit table {folder}"
    if exit_code == WITH_FAILURES:
        return f"python -m evalkit status {folder}"
    name = getattr(options, "experiment", None) or load_definition(folder).name
    words = ["python -m evalkit run", name, "--out", str(folder)]
    words += [] if options.profile == "nano" else ["--profile", options.profile]
    return " ".join([*words, *_generator(options).words()]) + (" (continues)" if exit_code == INTERRUPTED else "")


def _plan_lines(content: dict[str, Any], definition: Definition) -> list[str]:
    lines = [f"{definition.title}: {definition.suite} suite, profile {definition.profile}, run folder {content['run']}"]
    lines.append(f"methods: {', '.join(content['methods']) or 'none can run here'}")
    blocked = [one for one in definition.methods if one.reason and one.kind not in ("rival", "paradigm")]
    lines += [f"  not {one.name}: {one.reason}" for one in blocked]
    lines += [f"set {one['name']}: {one['text']}" for one in content["datasets"]]
    lines += [f"metric {one['name']}: {one['reason']}" for one in content["metrics"] if one["reason"]]
    lines += [
        f"{kind}: " + (", ".join(f"{n} {state}" for state, n in counts.items() if n) or "nothing")
        for kind, counts in content["counts"].items()
    ]
    due = [one for one in content["due"] if one["state"] != "missing"]
    lines += [f"  {one['state']}: {one['record']}: {one['reason']}" for one in due[:MOST_LINES]]
    if len(due) > MOST_LINES:
        lines.append(f"  and {len(due) - MOST_LINES} more (--json lists all)")
    lines.append(f"to generate: {content['media_s']:g} s of video; next: python -m evalkit run {definition.name}")
    return lines


def _set_summary(folder: Path, definition: Definition, name: str) -> dict[str, Any]:
    info = definition.dataset(name)
    assert info is not None
    built = datasets.is_built(folder, name)
    text = f"{len(info.samples)} of {info.size} samples" if built else f"will be built, {info.size} samples"
    return {"name": name, "built": built, "samples": len(info.samples), "size": info.size, "text": text}


def _experiments(_options: argparse.Namespace) -> list[dict[str, str]]:
    return [{"name": name, "about": get_experiment(name).title.format(seconds="10010")} for name in experiment_names()]


def _methods(options: argparse.Namespace) -> list[dict[str, str]]:
    from evalkit.methods import method_names

    found = []
    for name in method_names(_generator(options)):
        method = configured_method(name, _generator(options))
        problem = method.problem(options.profile)
        about = f"{method.kind}: {method.title}; needs {method.needs or 'nothing'}"
        found.append({"name": name, "about": about + (f"; NOT READY: {problem}" if problem else "")})
    return found


def _metrics(options: argparse.Namespace) -> list[dict[str, str]]:
    from evalkit.experiments import Column

    found = []
    for name in measures.metric_names():
        info = measures.describe(Column(name, name, ""), options.profile)
        about = info.reason or measures.backbone_label(info.backbone) or "from speed records"
        found.append({"name": name, "about": about})
    return found


def _datasets(options: argparse.Namespace) -> list[dict[str, str]]:
    found = []
    for name in datasets.dataset_names():
        made = datasets.get_dataset(name)
        sizes = ", ".join(f"{count} samples in {suite}" for suite, count in made.sizes.items())
        found.append({"name": name, "about": f"{made.title}: {sizes}"})
    return found


def _is_shown(cell: dict[str, Any], shown: Definition, options: argparse.Namespace) -> bool:
    if options.methods and "all" not in options.methods and cell["method"] not in {one.name for one in shown.methods}:
        return False
    return not options.metrics or "all" in options.metrics or cell["metric"] in options.metrics


def _cell_line(cell: dict[str, Any]) -> str:
    value = "-" if cell["value"] is None else f"{cell['value']:.4g}"
    note = f"  ({cell['reason']})" if cell["reason"] else ""
    return f"{cell['dataset']:24} {cell['method']:30} {cell['metric']:20} {value:>10}  {cell['status']}{note}"


def _print(options: argparse.Namespace, content: Any, lines: Sequence[str]) -> None:
    if options.json:
        print(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print("\n".join(lines))
