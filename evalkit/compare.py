"""Two runs against each other, cell by cell, on the samples that both have: what got better, what got worse, what is open.

Values are compared only where they mean the same: equal sample inputs, equal metric version and backbone, and for speed
equal machines and protocols. Everything else is named and left out.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit import gates as gating
from evalkit import measures, significance, stats
from evalkit.comparisons import BETTER, EQUIVALENT, INCONCLUSIVE, SIGNS, WORSE, is_apart, more_samples
from evalkit.definition import Definition, MetricInfo, load_definition
from evalkit.gates import Gate
from evalkit.plan import make_plan
from evalkit.plugins import load_plugins
from evalkit.records import Record
from evalkit.results import Results, collect
from evalkit.speed import VALID
from evalkit.stats import Paired
from evalkit.store import Store, read_json

NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Change:
    """One cell of the second run minus the same cell of the first. n: samples (or repeats) behind it."""

    metric: str
    method: str
    dataset: str
    verdict: str
    reason: str = ""
    n: int = 0
    first: float | None = None
    second: float | None = None
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    more_samples: int | None = None
    margin: float = 0.0


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    store: Store
    definition: Definition
    results: Results


def open_run(run: Path) -> Side:
    """Read a run folder; its plug-ins are loaded."""
    definition = load_definition(run)
    load_plugins(definition.plugins)
    store = Store(run)
    return Side(store, definition, collect(store, definition, make_plan(store, definition)))


def compare_runs(first: Side, second: Side, gates: Sequence[Gate] = ()) -> list[Change]:
    """Every cell that both runs have; families for Holm's correction are the methods of one metric and set."""
    found: list[Change] = []
    for dataset in first.definition.datasets:
        for metric in first.definition.measured():
            found += _scores(first, second, dataset.name, metric, gates)
    return [*found, *_speeds(first, second, gates)]


def check_changes(
    changes: Sequence[Change], gates: Sequence[Gate], known_metrics: Collection[str] = ()
) -> list[gating.Result]:
    """What the gates of two runs say."""
    found = []
    for gate in (one for one in gates if one.is_of_two_runs):
        own = [one for one in changes if gating.gate_of(gates, one.metric, one.method, one.dataset) is gate]
        if not any(gate.matches(one.metric, one.method, one.dataset) for one in changes):
            found.append(gating.unmatched(gate, "what both runs have", known_metrics))
        found += [_result(gate, one) for one in own]
    return found


def change_lines(changes: Iterable[Change]) -> list[str]:
    """One line a change."""
    return [_line(one) for one in changes] or ["the two runs have no cell in common"]


def verdict_of(found: Paired, p_holm: float, direction: str, margin: float) -> str:
    """better, equivalent (interval inside the margin), worse (beyond the margin and told apart), or inconclusive."""
    if found.low is None or found.high is None:
        return EQUIVALENT if found.mean == 0 else INCONCLUSIVE
    if -margin <= found.low and found.high <= margin:
        return EQUIVALENT
    sign = SIGNS.get(direction)
    if p_holm >= significance.LEVEL or not is_apart(found):
        return INCONCLUSIVE
    if sign is None:
        return "differs"
    if sign * found.mean > 0:
        return BETTER
    return WORSE if abs(found.mean) > margin else INCONCLUSIVE


def _scores(first: Side, second: Side, dataset: str, metric: MetricInfo, gates: Sequence[Gate]) -> list[Change]:
    pairs: dict[str, Paired] = {}
    means: dict[str, tuple[float, float]] = {}
    left: list[Change] = []
    for method in first.definition.runnable():
        ours, theirs = (side.results.groups.get((method.name, dataset, metric.name)) for side in (first, second))
        if ours is None or theirs is None or not ours.values or not theirs.values:
            continue
        reason = _difference(metric, second.definition.metric(metric.name))
        same = _same_samples(first.definition, second.definition, dataset)
        before = {name: value for name, value in ours.by_sample().items() if name in same}
        after = {name: value for name, value in theirs.by_sample().items() if name in same}
        found = stats.paired(after, before, metric.direction, same)
        if reason or found is None:
            why = reason or "no sample with equal inputs is in both runs"
            left.append(Change(metric.name, method.name, dataset, NOT_COMPARABLE, why))
            continue
        pairs[method.name] = found
        common = [name for name in before if name in after]
        means[method.name] = statistics.fmean(before[n] for n in common), statistics.fmean(after[n] for n in common)
    adjusted = significance.holm([one.p for one in pairs.values()])
    made = []
    for (method_name, found), p_holm in zip(pairs.items(), adjusted, strict=True):
        before_mean, after_mean = means[method_name]
        gate = gating.gate_of(gates, metric.name, method_name, dataset)
        margin = gate.margin(before_mean) if gate else 0.0
        verdict = verdict_of(found, p_holm, metric.direction, margin)
        more = more_samples(found) if verdict == INCONCLUSIVE else None
        made.append(
            Change(
                metric.name, method_name, dataset, verdict, "", found.n, before_mean, after_mean, found.mean, found.low,
                found.high, found.p, p_holm, more, margin,
            )
        )  # fmt: skip
    return [*made, *left]


def _same_samples(first: Definition, second: Definition, dataset: str) -> dict[str, str]:
    """Sample -> its unit of resampling, for samples whose inputs are equal in both runs."""
    one, other = first.dataset(dataset), second.dataset(dataset)
    if one is None or other is None:
        return {}
    digests = {sample.id: sample.digest for sample in other.samples}
    return {sample.id: sample.identity or sample.id for sample in one.samples if digests.get(sample.id) == sample.digest}


def _difference(metric: MetricInfo, other: MetricInfo | None) -> str:
    """Why two runs' values of a metric are not the same quantity; empty when they are."""
    if other is None:
        return "the second run does not know this metric"
    if metric.backbone != other.backbone:
        names = [measures.backbone_label(one.backbone) or "none" for one in (metric, other)]
        return f"measured by {names[0]} in the first run, by {names[1]} in the second"
    return "" if metric.version == other.version else f"metric version {metric.version} against {other.version}"


def _speeds(first: Side, second: Side, gates: Sequence[Gate]) -> list[Change]:
    made = []
    for method in first.definition.runnable():
        for metric in measures.SPEED_COLUMNS:
            before, after = (side.results.speed(method.name, metric)[1] for side in (first, second))
            if before is None or after is None or first.definition.metric(metric) is None:
                continue
            made.append(_speed(first, second, method.name, metric, before, after, gates))
    return made


def _speed(
    first: Side, second: Side, method: str, metric: str, before: Record, after: Record, gates: Sequence[Gate]
) -> Change:
    """Medians of repeats; told apart only where the ranges do not touch and the medians differ by more than the margin."""
    protocol = before.outputs.get("protocol") or {}
    dataset = str(protocol.get("dataset", ""))
    change = Change(metric, method, dataset, NOT_COMPARABLE)
    for which, record in (("first", before), ("second", after)):
        if record.outputs.get("verdict") != VALID:
            reason = f"the {which} run's measurement is INVALID: {record.outputs.get('reason')}"
            return Change(metric, method, dataset, NOT_COMPARABLE, reason)
    if protocol != after.outputs.get("protocol"):
        return Change(metric, method, dataset, NOT_COMPARABLE, "measured under different protocols")
    machines = [_machine(side.store, record) for side, record in ((first, before), (second, after))]
    if machines[0] != machines[1]:
        return Change(metric, method, dataset, NOT_COMPARABLE, "measured on different machines")
    field = measures.SPEED_COLUMNS[metric].field
    old, new = ([float(one[field]) for one in record.outputs["repeats"]] for record in (before, after))
    info = first.definition.metric(metric)
    gate = gating.gate_of(gates, metric, method, dataset)
    middle = statistics.median(old)
    margin = gate.margin(middle) if gate else 0.0
    difference = statistics.median(new) - middle
    low, high = min(new) - max(old), max(new) - min(old)
    found = Paired(difference, low, high, min(len(old), len(new)), None, None, None)
    p = 0.0 if is_apart(found) else 1.0
    verdict = verdict_of(found, p, info.direction if info else "", margin)
    return Change(
        metric, method, change.dataset, verdict, "ranges of repeats", found.n, middle, middle + difference, difference, low,
        high, margin=margin,
    )  # fmt: skip


def _machine(store: Store, record: Record) -> Any:
    """What of the environment decides a speed: processor, cores, memory, accelerators."""
    block = read_json(store.path(f"env/{record.origin.get('env_id')}.json")) or {}
    return {name: block.get(name) for name in ("cpu", "cpus", "cpus_usable", "machine", "gpus")}


def _result(gate: Gate, change: Change) -> gating.Result:
    where = f"{change.metric} of {change.method} on {change.dataset}"
    outcome = gating.MISSING if change.verdict == NOT_COMPARABLE else change.verdict
    return gating.Result(gate.text(), where, gating.state_of(gate, outcome), _line(change).partition(": ")[2])


def _line(change: Change) -> str:
    where = f"{change.dataset} {change.method} {change.metric}"
    if change.mean is None:
        return f"{where}: {change.verdict}: {change.reason}"
    interval = "" if change.low is None or change.high is None else f" [{change.low:+.4g}, {change.high:+.4g}]"
    p = f", p {change.p_holm:.3g}" if change.p_holm is not None else ""
    more = ""
    if change.more_samples:
        more = f"; about {change.more_samples} more samples would decide"
    elif change.verdict == INCONCLUSIVE and change.more_samples is None and change.p is not None:
        more = "; no number of samples is in sight that would decide"
    values = f"{change.first:.4g} -> {change.second:.4g}"
    return f"{where}: {change.verdict}: {values}, {change.mean:+.4g}{interval}, n {change.n}{p}{more}"
