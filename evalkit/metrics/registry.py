"""Names of metrics and extractors; a class is imported when it is first asked for, so listing costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache

from evalkit.metrics.base import Extractor, Metric
from evalkit.names import unknown

_METRICS: dict[str, str] = {
    "sync_c": "evalkit.metrics.sync:SyncC",
    "sync_d": "evalkit.metrics.sync:SyncD",
    "sync_offset": "evalkit.metrics.sync:SyncOffset",
    "dino_s": "evalkit.metrics.dino_s:DinoS",
    "mouth_correlation": "evalkit.metrics.mouth:MouthCorrelation",
    "lip_closure": "evalkit.metrics.lip_closure:LipClosure",
}
_EXTRACTORS: dict[str, str] = {
    "syncnet": "evalkit.metrics.sync_features:SyncFeatures",
    "image": "evalkit.metrics.image_features:ImageFeatures",
    "mouth": "evalkit.metrics.mouth_features:MouthFeatures",
}


def metric_names() -> list[str]:
    """Every known metric, in table order."""
    return list(_METRICS)


def extractor_names(metrics: Iterable[str] | None = None) -> list[str]:
    """Every extractor, or those that the named metrics need, without repeats."""
    if metrics is None:
        return list(_EXTRACTORS)
    return list(dict.fromkeys(name for metric in metrics for name in get_metric(metric).extractors))


@cache
def get_metric(name: str) -> Metric:
    """The metric of that name; UnknownNameError with the nearest names if there is none."""
    return _load("metric", _METRICS, name)()


@cache
def get_extractor(name: str) -> Extractor:
    """The extractor of that name with its network loaded, one per process."""
    return _load("extractor", _EXTRACTORS, name)()


def register_metric(name: str, target: str) -> None:
    """Add a metric as "module:Class"; a taken name is refused."""
    _register("metric", _METRICS, name, target)


def register_extractor(name: str, target: str) -> None:
    """Add an extractor as "module:Class"; a taken name is refused."""
    _register("extractor", _EXTRACTORS, name, target)


def _register(kind: str, table: dict[str, str], name: str, target: str) -> None:
    if table.get(name, target) != target:
        raise ValueError(f"{kind} {name!r} is already {table[name]}; choose another name")
    table[name] = target


def _load(kind: str, table: dict[str, str], name: str) -> type:
    if name not in table:
        raise unknown(kind, name, table)
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
