"""The body of each verb: resolve, act, print. Nothing here computes a number."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit import datasets, listing
from evalkit.catalogue import ALL, STREAM_PART
from evalkit.definition import FILE as EXPERIMENT_FILE
from evalkit.definition import Definition, load_definition
from evalkit.derived import PAIRED
from evalkit.errors import EvalkitError, PrerequisiteMissingError
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
from evalkit.experiments import get_experiment
from evalkit.gates import GATE_FAILED, Gate, check_cells, is_broken, read_gates, result_lines
from evalkit.gates import Result as GateResult
from evalkit.generator import GeneratorSetup
from evalkit.measures import metric_names
from evalkit.names import unknown
from evalkit.network_options import metric_setup, weights_folder
from evalkit.plan import make_plan
from evalkit.plugins import load_plugins
from evalkit.power import plan_lines
from evalkit.progress import Console
from evalkit.records import DONE, GENERATE, INVALID, SCORE, SET, SPEED
from evalkit.resolve import Selection, narrow, resolve
from evalkit.settings import FILE as SETTINGS_FILE
from evalkit.store import Store, read_json

MOST_LINES = 40


def run(options: argparse.Namespace) -> int:
    """`run EXPERIMENT`."""
    if options.experiment == ALL:
        return run_all(options)
    selection = _selection(options)
    folder = _out(options, selection)
    console = Console(is_silent=False)
    gates = read_gates(options.gate) if options.gate else ()
    finished = run_experiment(options.experiment, selection, folder, _options(options), console)
    results = _checked(folder, gates) if finished.exit_code in (COMPLETE, WITH_FAILURES) else []
    _tell_end(options, folder, finished, result_lines(results) if results else [])
    return GATE_FAILED if finished.exit_code == COMPLETE and is_broken(results) else finished.exit_code


def run_all(options: argparse.Namespace) -> int:
    """`run all`: one run for all that clips give, one for the long stream, and a page over both."""
    from evalkit.derived import build_index

    selection = _selection(options)
    folder = _out(options, selection)
    gates = read_gates(options.gate) if options.gate else ()
    codes, broken, lines = [], False, []
    for name, place in ((ALL, "tables"), (STREAM_PART, "stream")):
        apart = replace(selection, metrics=(), samples=(), methods=())  # the stream has names of its own
        chosen = replace(selection, seconds=None) if name == ALL else apart
        finished = run_experiment(name, chosen, folder / place, _options(options), Console())
        codes.append(finished.exit_code)
        if finished.exit_code not in (COMPLETE, WITH_FAILURES):
            _tell_end(options, folder / place, finished)
            return finished.exit_code
        results = _checked(folder / place, gates) if name == ALL else []
        broken = broken or is_broken(results)
        lines += [*(result_lines(results) if results else []), f"tables: {folder / place / 'table'}"]
    page, problem = build_index([folder], folder / "index.html")
    lines.append(f"all runs and tables: {page}" if page else problem)
    content = {"run": str(folder), "exit_code": max(codes), "index": str(page) if page else None}
    _print(options, content, lines)
    return GATE_FAILED if broken and max(codes) == COMPLETE else max(codes)


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
        "counts": {kind: made.counts(kind) for kind in (GENERATE, SPEED, SCORE, SET)},
        "due": [
            {"record": item.key.path, "state": item.state, "reason": item.reason}
            for item in made.items
            if item.state not in (DONE, INVALID)
        ],
        "media_s": round(sum(item.media_s for item in made.due(GENERATE)), 1),
        "shows": plan_lines(definition, read_json(folder / PAIRED) or ()),
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
    if options.what and options.what not in listing.TABLES:
        raise unknown("list", options.what, listing.TABLES)
    tables = listing.TABLES
    wanted = [options.what] if options.what else list(tables)
    content = {name: tables[name](_selection(options)) for name in wanted}
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


def weights(options: argparse.Namespace) -> int:
    """`weights list|get|verify [ID ...]`."""
    from evalkit.weights_command import run_weights

    content, lines, is_good = run_weights(options.action, options.ids, weights_folder(options.metric_weights))
    _print(options, content, lines)
    return COMPLETE if is_good else WITH_FAILURES


def status(options: argparse.Namespace) -> int:
    """`status RUN`."""
    from evalkit.status import run_status, status_lines

    content = run_status(_existing(options.run))
    _print(options, content, status_lines(content))
    return WITH_FAILURES if content["failures"] else COMPLETE


def score(options: argparse.Namespace) -> int:
    """`score RUN`, or `score FOLDER` of any videos."""
    if options.run.is_dir() and not (options.run / EXPERIMENT_FILE).is_file():
        from evalkit.score_command import score_any_folder

        return score_any_folder(options, metric_setup(options, default="auto"))
    given = [name for name in ("audio", "portraits", "real", "boxes") if getattr(options, name)]
    if given and options.run.is_dir():
        raise EvalkitError(f"{options.run} is a run folder; --{given[0]} is for folders of videos that no run made")
    definition = _narrowed(options)
    finished = score_run(options.run, definition, _options(options), Console(), options.force)
    _tell_end(options, options.run, finished)
    return finished.exit_code


def table(options: argparse.Namespace) -> int:
    """`table RUN`: tables from records, recomputed each time."""
    from evalkit.derived import BEST, write_derived
    from evalkit.printing import print_table

    definition = load_definition(_existing(options.run))
    store = Store(options.run)
    cells = write_derived(store, definition, make_plan(store, definition))
    shown = _narrowed(options)
    kept = [cell for cell in cells if _is_shown(cell, shown, options)]
    if options.json:
        print(json.dumps(kept, indent=1, ensure_ascii=False, allow_nan=False))
    elif kept == cells:
        best, paired = (read_json(store.path(name)) or () for name in (BEST, PAIRED))
        print("\n".join(print_table(definition, one, cells, options.format, best, paired) for one in definition.tables))
    else:
        print("\n".join(_cell_line(cell) for cell in kept))
    return COMPLETE


def compare(options: argparse.Namespace) -> int:
    """`compare RUN_A [RUN_B] [--gate FILE]`."""
    from dataclasses import asdict

    from evalkit.compare import change_lines, check_changes, compare_runs, open_run

    gates = read_gates(options.gate) if options.gate else ()
    if options.other is None and not gates:
        raise EvalkitError("compare needs a second run, or --gate FILE.toml to check the promises about one")
    _existing(options.run)
    changes = [] if options.other is None else compare_runs(open_run(options.run), open_run(options.other), gates)
    results = [
        *_checked(options.other or options.run, gates),
        *(check_changes(changes, gates, metric_names()) if options.other else []),
    ]
    lines = [] if options.other is None else change_lines(changes)
    content = {"changes": [asdict(one) for one in changes], "gates": [asdict(one) for one in results]}
    _print(options, content, [*lines, *(result_lines(results) if gates else [])])
    worse = not gates and any(one.verdict == "worse" for one in changes)
    return GATE_FAILED if worse or is_broken(results) else COMPLETE


def report(options: argparse.Namespace) -> int:
    """`report RUN ...`: a page per run, figure files, or a page over all of them."""
    from evalkit.derived import build_index, build_report, write_derived, write_figures

    written: list[Path] = []
    for run in [options.run, *options.others]:
        if options.index and not (run / EXPERIMENT_FILE).is_file():
            continue  # a folder of runs
        definition = load_definition(_existing(run))
        store = Store(run)
        write_derived(store, definition, make_plan(store, definition))
        if options.figures:
            written += write_figures(store, options.to)
            continue
        path, problem = build_report(store, is_forced=True, out=options.to, mode=options.mode)
        if path is None:
            raise PrerequisiteMissingError(problem)
        written.append(path)
    if options.index:
        page, problem = build_index([options.run, *options.others], options.index)
        if page is None:
            raise PrerequisiteMissingError(problem)
        written.append(page)
    _print(options, {"report": str(written[-1]), "files": [str(path) for path in written]}, [str(path) for path in written])
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


def _checked(folder: Path, gates: Sequence[Gate]) -> list[GateResult]:
    """The gates that speak of one run, against its tables."""
    if not gates:
        return []
    store = Store(folder)
    cells, paired = (read_json(store.path(name)) or () for name in ("table/cells.json", PAIRED))
    return check_cells(gates, cells, paired, metric_names())


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
        metric_setup=metric_setup(options),
    )


def _generator(options: argparse.Namespace) -> GeneratorSetup:
    """Weights and settings as full paths, so that a worker in another folder finds them."""
    weights = str(Path(options.weights).resolve()) if options.weights and Path(options.weights).exists() else options.weights
    settings = options.settings or (SETTINGS_FILE if Path(SETTINGS_FILE).is_file() else "")
    # Which device of several is the executor's to say: a job sees only its own, as number 0.
    return GeneratorSetup(
        weights,
        options.size,
        options.device.partition(":")[0],
        options.dtype,
        options.fp8,
        options.offload,
        str(Path(settings).resolve()) if settings else "",
        tuple(options.assigned),
    )


def _options(options: argparse.Namespace) -> Options:
    words = [word if not Path(word).is_absolute() else Path(word).name for word in sys.argv[1:]]
    if options.parallel < 1:
        raise EvalkitError(f"--parallel {options.parallel}: give 1 or more jobs")
    number = options.device.partition(":")[2]
    return Options(
        options.retry_failed,
        options.threads,
        "evalkit " + " ".join(words),
        executor=options.executor,
        gpus=options.gpus if options.gpus is not None or not number else (number,),
        parallel=options.parallel,
        shard=options.shard,
    )


def _out(options: argparse.Namespace, selection: Selection) -> Path:
    get_experiment(options.experiment)  # a mistyped name is reported before anything else
    return options.out or Path("runs") / f"{options.experiment}-{selection.suite}"


def _existing(folder: Path) -> Path:
    load_plugins(load_definition(folder).plugins)
    return folder


def _narrowed(options: argparse.Namespace) -> Definition:
    definition = load_definition(_existing(options.run))
    return narrow(definition, _selection(options))


def _tell_end(options: argparse.Namespace, folder: Path, finished: Finished, more: Sequence[str] = ()) -> None:
    counts = {kind: finished.plan.counts(kind) for kind in (GENERATE, SPEED, SCORE, SET) if finished.plan.of(kind)}
    content = {
        "run": str(folder),
        "exit_code": finished.exit_code,
        "counts": counts,
        "report": str(finished.report) if finished.report else None,
        "message": finished.message or None,
        "gates": list(more),
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
    lines += more
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
    lines += [f"power: {line}" for line in content["shows"]]
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
