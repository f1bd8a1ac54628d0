"""A run from start to end: lock, plan, jobs phase by phase, then tables, statistics and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit.definition import FILE, Definition, load_definition, save_definition
from evalkit.derived import build_report, write_derived
from evalkit.errors import EvalkitError, PrerequisiteMissingError
from evalkit.executors import make_executor
from evalkit.jobs import JobSpec, phase_jobs
from evalkit.lock import RunLock, one_at_a_time
from evalkit.plan import Plan, make_plan
from evalkit.progress import Console
from evalkit.records import GENERATE, SCORE, SET, SPEED
from evalkit.resolve import Selection, resolve
from evalkit.runner import Driver, Interrupts, Outcome
from evalkit.store import Store

COMPLETE, WITH_FAILURES, BAD_DEFINITION, INTERRUPTED = 0, 1, 2, 130
PHASES = (GENERATE, SPEED, SCORE, SET)


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what."""

    retry_failed: bool = False
    threads: int | None = None
    command: str = ""
    executor: str = "local"
    gpus: tuple[str, ...] | None = None
    parallel: int = 1
    shard: tuple[int, int] | None = None


@dataclass(frozen=True)
class Finished:
    """How a run ended."""

    exit_code: int
    plan: Plan
    outcome: Outcome
    report: Path | None
    message: str = ""


@dataclass(frozen=True)
class Context:
    """What a run holds while it lasts."""

    lock: RunLock
    interrupts: Interrupts
    options: Options
    console: Console


def run_experiment(name: str, selection: Selection, run: Path, options: Options, console: Console) -> Finished:
    """Do everything an experiment wants that is not done yet."""
    check_same_run(run, name, selection)
    with Interrupts() as interrupts, RunLock(run, options.command, options.shard) as lock:
        _announce(lock, run, console)
        check_prerequisites(resolve(name, selection, run, console, build=False), selection, console)
        with one_at_a_time(run):
            definition = resolve(name, selection, run, console)
            save_definition(run, definition)
        return _execute(definition, run, PHASES, Context(lock, interrupts, options, console))


def score_run(run: Path, definition: Definition, options: Options, console: Console, is_forced: bool) -> Finished:
    """Compute the scores that are missing or stale for clips that exist; with `is_forced`, all of them."""
    with Interrupts() as interrupts, RunLock(run, options.command, options.shard) as lock:
        _announce(lock, run, console)
        if is_forced:
            _forget_scores(run, definition)
        return _execute(definition, run, (SCORE, SET), Context(lock, interrupts, options, console))


def _execute(definition: Definition, run: Path, phases: Sequence[str], context: Context) -> Finished:
    store, options = Store(run), context.options
    if options.shard is None:
        store.sweep()  # of another shard's half-made files nobody but that shard can know
    plan = _own_plan(store, definition, options)
    with make_executor(options.executor, options.gpus, options.parallel) as executor:
        context.interrupts.listen()
        driver = Driver(store, context.console, context.lock, context.interrupts, executor)
        for phase in phases:
            jobs = phase_jobs(plan, definition, phase, options.retry_failed)
            outcome = driver.run([_told(job, options) for job in jobs])
            if jobs:
                plan = _own_plan(store, definition, options)
            if outcome.is_over:
                break
    return _finish(store, definition, plan, driver.outcome, phases, options.shard)


def _own_plan(store: Store, definition: Definition, options: Options) -> Plan:
    plan = make_plan(store, definition)
    return plan.shard(*options.shard) if options.shard else plan


def _told(job: JobSpec, options: Options) -> JobSpec:
    """A job with the user's options; shards keep their logs apart."""
    mark = "" if options.shard is None else f".{options.shard[0]}-of-{options.shard[1]}"
    return replace(job, id=job.id + mark, options={**job.options, "threads": options.threads})


def _forget_scores(run: Path, definition: Definition) -> None:
    """Remove the score records of what is selected; stored features stay."""
    plan = make_plan(Store(run), definition)
    for item in [*plan.of(SCORE), *plan.of(SET)]:
        (run / item.key.path).unlink(missing_ok=True)


def _finish(
    store: Store,
    definition: Definition,
    plan: Plan,
    outcome: Outcome,
    phases: Sequence[str],
    shard: tuple[int, int] | None,
) -> Finished:
    if outcome.disk_full:
        return Finished(BAD_DEFINITION, plan, outcome, None, outcome.disk_full)
    relevant = [item for phase in phases for item in plan.of(phase)]
    unfinished = [item for item in relevant if item.state not in ("done", "invalid")]
    exit_code = WITH_FAILURES if unfinished else COMPLETE
    if shard is not None:
        if outcome.is_interrupted:
            return Finished(INTERRUPTED, plan, outcome, None, "interrupted; the same command continues")
        message = f"shard {shard[0]}/{shard[1]} is done; when all are, the same command without --shard makes the tables"
        return Finished(exit_code, plan, outcome, None, message)
    # Tables of a score or narrowed run show the whole definition, so that nothing disappears from them.
    whole = load_definition(store.root)
    write_derived(store, whole, plan if whole == definition else make_plan(store, whole))
    if outcome.is_interrupted:
        return Finished(INTERRUPTED, plan, outcome, None, "interrupted; the same command continues")
    report, problem = build_report(store)
    return Finished(exit_code, plan, outcome, report, problem)


def check_same_run(run: Path, name: str, selection: Selection) -> None:
    """A run folder belongs to one experiment, suite and profile; other selections may change."""
    if not (run / FILE).is_file():
        return
    held = load_definition(run)
    for what, old, new in (
        ("experiment", held.name, name),
        ("suite", held.suite, selection.suite),
        ("profile", held.profile, selection.profile),
    ):
        if old != new:
            raise EvalkitError(f"{run} holds {what} {old}, not {new}; give another folder with --out")


def check_prerequisites(definition: Definition, selection: Selection, console: Console) -> None:
    """Refuse to begin when a wanted method cannot run; say which columns will stay empty.

    A run that left its main row out would look like a success. A metric without a network yet is a known gap of the
    table, unless it was asked for by name.
    """
    wanted = {row.method for table in definition.tables for row in table.rows if row.reason}
    wanted -= set(selection.methods)  # who names a method wants to know why it cannot run
    blocked = [one for one in definition.methods if one.reason and one.name not in wanted and not one.is_left_out]
    if blocked:
        ready = ",".join(one.name for one in definition.runnable())
        raise PrerequisiteMissingError(blocked[0].reason + (f"; or run the others: --methods {ready}" if ready else ""))
    if not definition.runnable():
        raise PrerequisiteMissingError("no method to run; see: python -m evalkit list methods")
    for metric in definition.metrics:
        if metric.reason and metric.name in selection.metrics:
            raise PrerequisiteMissingError(f"metric {metric.name} cannot be measured: {metric.reason}")
        if metric.reason and not metric.is_left_out:
            console.say(f"not measured: {metric.name}: {metric.reason}")


def _announce(lock: RunLock, run: Path, console: Console) -> None:
    if lock.taken_over:
        console.say(lock.taken_over)
    console.say(f"run folder: {run}")
