"""From an experiment's name and a user's selections to a resolved definition: names checked, versions fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evalkit import capabilities, datasets, measures
from evalkit.datasets import LoadedSet
from evalkit.definition import DatasetInfo, Definition, MethodInfo, MetricInfo, SampleInfo, unique_columns
from evalkit.environment import main_packages
from evalkit.errors import EvalkitError
from evalkit.experiments import FULL_SPEED, Experiment, Row, SpeedProtocol, get_experiment
from evalkit.generator import GeneratorSetup, configured_method
from evalkit.methods import configured_names, method_names
from evalkit.metric_setup import MetricSetup
from evalkit.names import choose, unknown
from evalkit.progress import Console
from evalkit.stress import prepare_segments

SUITES = ("quick", "full")
PROFILES = ("nano", "s2v-14b")


@dataclass(frozen=True)
class Selection:
    """What a user chose on the command line; empty means the experiment's default."""

    methods: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    limit: int | None = None
    suite: str = "quick"
    profile: str = "nano"
    seconds: float | None = None
    plugins: tuple[str, ...] = ()
    generator: GeneratorSetup = field(default_factory=GeneratorSetup)
    metric_setup: MetricSetup = field(default_factory=MetricSetup)

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise EvalkitError(f"--limit {self.limit}: give 1 or more samples")
        if self.seconds is not None and self.seconds < 10:
            raise EvalkitError(f"--seconds {self.seconds:g}: a stress stream needs at least 10 s, its first segment")

    def to_json(self) -> dict[str, Any]:
        """What is kept of it in the definition."""
        return {
            "methods": list(self.methods),
            "metrics": list(self.metrics),
            "samples": list(self.samples),
            "seeds": list(self.seeds),
            "limit": self.limit,
        }


def resolve(name: str, selection: Selection, run: Path, console: Console, build: bool = True) -> Definition:
    """The definition of a run. With `build`, sets that are not in the run folder yet are made; else they stay empty."""
    experiment = _chosen(get_experiment(name), selection)
    methods = (
        choose(
            "method",
            selection.methods,
            list(dict.fromkeys([*experiment.all_methods, *method_names(selection.generator)])),
            experiment.methods,
        )
        if "all" not in selection.methods
        else _all_methods(experiment, selection)
    )
    columns = unique_columns(experiment.tables)
    names = list(dict.fromkeys([*(column.metric for column in columns), *experiment.metrics]))
    if "all" not in selection.metrics:
        _check_known(selection.metrics, names)
    chosen = choose("metric", selection.metrics, names, names)
    metrics = [measures.describe(column, selection.metric_setup) for column in columns]
    timed = (*measures.SPEED_COLUMNS, *capabilities.COLUMNS)
    speed_wanted = any(metric in timed for metric in chosen)
    sets = _sets(experiment, selection, run, console, build)
    whole = sum(one.size for one in sets)
    picked = sum(len(one.samples) for one in sets)
    return Definition(
        name=experiment.name,
        title=experiment.title,
        suite=selection.suite,
        profile=selection.profile,
        seeds=_seeds(selection.seeds, experiment.seeds),
        methods=_methods(experiment, methods, selection),
        datasets=tuple(sets),
        metrics=tuple(_leave_out(metric, chosen) for metric in metrics),
        tables=experiment.tables,
        limit=selection.limit,
        partial=picked < whole,
        reference=experiment.reference,
        speed=_speed(experiment, selection.suite) if speed_wanted else None,
        stress=experiment.stress,
        probes_streaming=experiment.probes_streaming and capabilities.STREAMING in chosen,
        positions=experiment.positions,
        has_clips=experiment.has_clips,
        packages=main_packages(),
        plugins=selection.plugins,
        generator=selection.generator,
        metric_setup=selection.metric_setup,
        selection=selection.to_json(),
    )


def _speed(experiment: Experiment, suite: str) -> SpeedProtocol | None:
    """The experiment's protocol; the full suite measures by the full one, on the same set and in the same scenarios."""
    protocol = experiment.speed
    if protocol is None or suite != "full" or protocol.name != SpeedProtocol.name:
        return protocol
    return replace(FULL_SPEED, dataset=protocol.dataset, scenarios=protocol.scenarios)


def narrow(definition: Definition, selection: Selection) -> Definition:
    """A finished definition cut down by the selections given to a verb that works on a run."""
    methods = choose(
        "method",
        selection.methods,
        [one.name for one in definition.runnable()],
        [one.name for one in definition.methods],
    )
    metrics = choose(
        "metric", selection.metrics, [one.name for one in definition.metrics], [one.name for one in definition.metrics]
    )
    known = [sample.id for one in definition.datasets for sample in one.samples]
    ids = choose("sample", selection.samples, known, known)
    kept = [
        replace(one, samples=_first([s for s in one.samples if s.id in ids], selection.limit)) for one in definition.datasets
    ]
    return replace(
        definition,
        methods=tuple(one for one in definition.methods if one.name in methods),
        metrics=tuple(_leave_out(one, metrics) for one in definition.metrics),
        seeds=_seeds(selection.seeds, definition.seeds),
        datasets=tuple(kept),
    )


def _chosen(experiment: Experiment, selection: Selection) -> Experiment:
    if selection.suite not in SUITES:
        raise unknown("suite", selection.suite, SUITES)
    if selection.profile not in PROFILES:
        raise unknown("profile", selection.profile, PROFILES)
    if selection.suite == "quick" and experiment.quick_form is not None and selection.seconds is None:
        experiment = experiment.quick_form
    if experiment.stress is None:
        if selection.seconds is not None:
            raise EvalkitError(f"--seconds belongs to the stress experiment; {experiment.name} has no stream")
        return experiment
    stress = replace(experiment.stress, stream_s=selection.seconds or experiment.stress.stream_s)
    return replace(experiment, stress=stress, title=experiment.title.format(seconds=f"{stress.stream_s:g}"))


def _check_known(wanted: Sequence[str], here: Sequence[str]) -> None:
    """A metric that exists, but in no table of this experiment, is another mistake than a name that does not."""
    for name in wanted:
        if name not in here and name in measures.metric_names():
            raise EvalkitError(f"metric {name} is in no table of this experiment; its metrics: {', '.join(here)}")


def _all_methods(experiment: Experiment, selection: Selection) -> tuple[str, ...]:
    """The experiment's own, and whatever else has a row and is set up here, or is defined by the settings."""
    setup = selection.generator
    rows = [row.method for table in experiment.tables for row in table.rows if row.method in method_names()]
    others = [*rows, *configured_names(setup)]
    ready = [name for name in others if not configured_method(name, setup).problem(selection.profile)]
    return tuple(dict.fromkeys([*experiment.all_methods, *ready]))


def _methods(experiment: Experiment, chosen: Sequence[str], selection: Selection) -> tuple[MethodInfo, ...]:
    rows: dict[str, Row] = {}
    for table in experiment.tables:
        for row in table.rows:
            rows.setdefault(row.method, row)  # the first table that names a method gives it its title
    infos = [_method(name, rows.get(name), selection) for name in chosen]
    left = [row for name, row in rows.items() if name not in chosen]
    return (*infos, *(_left_out(row) for row in left))


def _method(name: str, row: Row | None, selection: Selection) -> MethodInfo:
    method, profile = configured_method(name, selection.generator), selection.profile
    problem = method.problem(profile)
    title = row.title if row else method.title
    if problem:
        return MethodInfo(name, title, method.kind, method.version, reason=problem)
    return MethodInfo(
        name,
        title,
        method.kind,
        method.version,
        method.identity(profile),
        gpus=method.gpus(profile),
        only_scenarios=method.only_scenarios,
        speed=method.speed,
        limit_per_s=method.limit_per_s,
        batch=method.batch,
        longest_s=method.longest_s,
        longest_reason=method.longest_reason,
    )


def _left_out(row: Row) -> MethodInfo:
    reason = row.reason or f"not selected; run it with --methods {row.method}"
    return MethodInfo(row.method, row.title, row.kind, reason=reason, is_left_out=not row.reason)


def _leave_out(metric: MetricInfo, chosen: Sequence[str]) -> MetricInfo:
    if metric.name in chosen or metric.reason:
        return metric
    return replace(metric, reason=f"not selected; measure it with --metrics {metric.name}", is_left_out=True)


def _sets(experiment: Experiment, selection: Selection, run: Path, console: Console, build: bool) -> list[DatasetInfo]:
    names = [experiment.stress.source] if experiment.stress else list(experiment.datasets)
    loaded = {
        name: _built(name, selection.suite, run, console) if build or datasets.is_built(run, name) else None
        for name in names
    }
    known = [sample_id for one in loaded.values() if one for sample_id in one.samples]
    for sample_id in selection.samples if known else ():
        if sample_id not in known and sample_id != "all":
            raise unknown("sample", sample_id, known)
    infos = [_describe(name, one, selection) for name, one in loaded.items()]
    if experiment.stress is None:
        return infos
    return prepare_segments(run, experiment.stress, infos[0], build)


def _built(name: str, suite: str, run: Path, console: Console) -> LoadedSet:
    made = datasets.get_dataset(name)
    if not datasets.is_built(run, name):
        console.say(f"building {name} ({made.sizes.get(suite, '?')} samples, suite {suite})")
        phase = console.begin(f"build {name}", made.sizes.get(suite, 0), made.sizes.get(suite, 0))

        def progress(finished: int, whole: int) -> None:
            phase.items, phase.work = whole, float(whole)
            console.step(1.0)

        try:
            made.build(datasets.folder_of(run, name), suite, progress)
        finally:
            console.end()
    return made.load(datasets.folder_of(run, name))


def _describe(name: str, loaded: LoadedSet | None, selection: Selection) -> DatasetInfo:
    made = datasets.get_dataset(name)
    if loaded is None:
        return DatasetInfo(name, made.title, "", made.sizes.get(selection.suite, 0), ())
    ids = list(loaded.samples)
    wanted = selection.samples if selection.samples and "all" not in selection.samples else ids
    infos = [replace(loaded.samples[one].info, next_digest=loaded.next_of(one).info.digest) for one in ids if one in wanted]
    return DatasetInfo(name, loaded.title, loaded.digest, len(ids), _first(infos, selection.limit))


def _first(samples: Sequence[SampleInfo], limit: int | None) -> tuple[SampleInfo, ...]:
    """The first `limit` of the fixed shuffled order, listed in the set's own order."""
    if limit is None:
        return tuple(samples)
    kept = set(datasets.shuffled([sample.id for sample in samples])[:limit])
    return tuple(sample for sample in samples if sample.id in kept)


def _seeds(wanted: Sequence[str], default: Sequence[int]) -> tuple[int, ...]:
    if not wanted or "all" in wanted:
        return tuple(default)
    try:
        return tuple(dict.fromkeys(int(seed) for seed in wanted))
    except ValueError as error:
        raise EvalkitError(f"--seeds {','.join(wanted)}: give whole numbers, such as --seeds 0,1,2") from error
