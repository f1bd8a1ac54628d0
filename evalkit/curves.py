"""Curves over time: quality within clips in 10-second bins, and memory of stress streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalkit.definition import Definition
from evalkit.experiments import WINDOW_S
from evalkit.plan import POSITIONS, STRESS_STREAM, STRESS_WINDOWS, streamed_sample, window_begin_s
from evalkit.records import DONE, GENERATE, Key, Record
from evalkit.results import Results
from evalkit.store import Store, read_json

BIN_S = 10.0
LEAST_BINS = 2


def drift_curves(results: Results) -> list[dict[str, Any]]:
    """One curve per method, set, sample and metric, for clips long enough to drift. Several seeds are averaged."""
    curves: dict[tuple[str, str, str, str], dict[float, list[float]]] = {}
    for record in results.scores:
        if record.key.dataset == STRESS_WINDOWS:
            _add_window(curves, record)
            continue
        series = record.outputs.get("series") or {}
        for name, points in series.items():
            metric = _curve_name(record.key.metric, name, len(series))
            bins = binned(points["t_s"], points["value"])
            if len(bins) < LEAST_BINS:
                continue
            curve = curves.setdefault((record.key.method, record.key.dataset, record.key.sample, metric), {})
            for t_s, value in bins:
                curve.setdefault(t_s, []).append(value)
    return [
        {
            "method": method,
            "dataset": dataset,
            "sample": sample,
            "metric": metric,
            "t_s": sorted(curve),
            "value": [sum(curve[t]) / len(curve[t]) for t in sorted(curve)],
        }
        for (method, dataset, sample, metric), curve in curves.items()
    ]


def _add_window(curves: dict[tuple[str, str, str, str], dict[float, list[float]]], record: Record) -> None:
    """A window of a long stream is one point of that stream's curve, at its middle."""
    key, value = record.key, record.outputs.get("value")
    if isinstance(value, int | float):
        name = (key.method, key.dataset, streamed_sample(key.dataset, key.sample), key.metric)
        middle_s = window_begin_s(key.sample) + WINDOW_S / 2
        curves.setdefault(name, {}).setdefault(middle_s, []).append(float(value))


def binned(times_s: Sequence[float], values: Sequence[float], bin_s: float = BIN_S) -> list[tuple[float, float]]:
    """(middle of the bin, mean of its values) for every bin that holds values."""
    groups: dict[int, list[float]] = {}
    for t_s, value in zip(times_s, values, strict=True):
        groups.setdefault(int(t_s // bin_s), []).append(value)
    return [((index + 0.5) * bin_s, sum(found) / len(found)) for index, found in sorted(groups.items())]


def memory_curves(store: Store, definition: Definition) -> list[dict[str, Any]]:
    """Resident memory of each stress stream, with how much it grew after its first tenth."""
    made = []
    samples = {streamed_sample(dataset.name, sample.id) for dataset in definition.datasets for sample in dataset.samples}
    for method in definition.runnable() if definition.stress else []:
        for sample in sorted(samples):
            for seed in definition.seeds:
                key = Key(GENERATE, method.name, STRESS_STREAM, sample, seed)
                record = store.read(key)
                if record is not None and record.status == DONE:
                    made.append(_memory(store, method.title, key, record))
    return made


def position_records(store: Store, definition: Definition) -> list[dict[str, Any]]:
    """Positions of each method's first blocks, at its first step: what Figure 7 of the paper shows."""
    made = []
    for record in store.records(GENERATE):
        method = definition.method(record.key.method)
        if record.key.dataset != POSITIONS or record.status != DONE or method is None:
            continue
        content = read_json(store.path(f"{record.key.artefact_dir}/{POSITIONS}.json")) or []
        made.append({"title": method.title, "method": method.name, "blocks": [one for one in content if one["step"] == 0]})
    order = [method.name for method in definition.methods]
    return sorted(made, key=lambda one: order.index(one["method"]))


def _memory(store: Store, title: str, key: Key, record: Record) -> dict[str, Any]:
    curve = read_json(store.path(f"{key.artefact_dir}/memory.json")) or {}
    details = record.outputs.get("details") or {}
    return {
        "label": f"{title}, {record.outputs.get('frames')} frames",
        "method": key.method,
        "sample": key.sample,
        "seed": key.seed,
        **(details.get("memory") or {}),
        **{name: details[name] for name in ("times_playback", "starts", "highest_position") if name in details},
        "frames": record.outputs.get("frames"),
        "t_s": curve.get("t_s", []),
        "rss_mib": curve.get("rss_mib", []),
    }


def _curve_name(metric: str, series: str, count: int) -> str:
    """A metric's only series, or the one named after it, is the metric itself over time."""
    return metric if count == 1 or series == metric else f"{metric}.{series}"
