"""The one door to metrics: those of `evalkit.metrics` and those that a plug-in adds."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.definition import MetricInfo
from evalkit.errors import brief
from evalkit.experiments import COLD, LIVE, OFFLINE, PREDICTED, SOAK, SWITCH, Column
from evalkit.metric_setup import NANO, MetricSetup

if TYPE_CHECKING:
    import numpy as np

    Features = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class SpeedColumn:
    """A column that comes from speed records: of which scenario, and the field it shows. is_exact: always the same count."""

    scenario: str
    field: str
    is_exact: bool = False


SPEED_COLUMNS = {
    "fps": SpeedColumn(OFFLINE, "fps_end_to_end"),
    "ttff": SpeedColumn(OFFLINE, "ttff"),
    "fps_denoiser": SpeedColumn(OFFLINE, "fps_denoiser"),
    "fps_denoiser_vae": SpeedColumn(OFFLINE, "fps_denoiser_vae"),
    "real_time_factor": SpeedColumn(OFFLINE, "real_time_factor"),
    "live_first": SpeedColumn(LIVE, "first_frame_s"),
    "live_p50": SpeedColumn(LIVE, "latency_p50"),
    "live_p99": SpeedColumn(LIVE, "latency_p99"),
    "live_misses": SpeedColumn(LIVE, "misses"),
    "live_freeze": SpeedColumn(LIVE, "longest_freeze_s"),
    "switch_p50": SpeedColumn(SWITCH, "switch_p50"),
    "switch_p95": SpeedColumn(SWITCH, "switch_p95"),
    "switch_stall": SpeedColumn(SWITCH, "stall_max_s"),
    "soak_fps": SpeedColumn(SOAK, "fps_steady"),
    "soak_memory": SpeedColumn(SOAK, "memory_growth_mib"),
    "cold_first": SpeedColumn(COLD, "first_frame_s"),
    "devices": SpeedColumn(PREDICTED, "devices", is_exact=True),
    "nfe": SpeedColumn(PREDICTED, "nfe", is_exact=True),
    "fps_predicted": SpeedColumn(PREDICTED, "fps_predicted"),
    "ttff_predicted": SpeedColumn(PREDICTED, "ttff_predicted"),
}


@dataclass(frozen=True)
class AddedMetric:
    """A plug-in's metric: the metric itself and the function that gives its features from a video file."""

    metric: Any
    extract: Callable[[Path, Any], dict[str, dict[str, Any]]]


_ADDED: dict[str, AddedMetric] = {}


def register_metric(name: str, added: AddedMetric) -> None:
    """Add a metric under `name`, for plug-ins and tests."""
    _ADDED[name] = added


def metric_names() -> list[str]:
    """Every metric that can be named, also those that come from speed records."""
    shipped = _registry().metric_names() if _registry() else []
    return list(dict.fromkeys([*shipped, *SPEED_COLUMNS, *_ADDED]))


def get_metric(name: str, setup: MetricSetup = NANO) -> Any:
    """The metric object, or None for a name without one."""
    if name in _ADDED:
        return _ADDED[name].metric
    registry = _registry()
    return registry.get_metric(name, setup) if registry and name in registry.metric_names() else None


def describe(column: Column, setup: MetricSetup = NANO) -> MetricInfo:
    """What a table column measures here, or why it cannot."""
    plain = MetricInfo(column.metric, column.title, column.unit, column.direction, column.digits, in_paper=column.in_paper)
    if column.metric in SPEED_COLUMNS:
        return plain
    try:
        metric = get_metric(column.metric, setup)
        backbone = _backbone(metric) if metric is not None else {}
    except (ImportError, OSError, RuntimeError, KeyError) as error:
        return _without(plain, f"{type(error).__name__}: {brief(error)}")
    if metric is None:
        return _without(plain, "no metric of this name is registered")
    return MetricInfo(
        name=column.metric,
        title=column.title,
        unit=column.unit or str(getattr(metric, "unit", "")),
        direction=str(getattr(metric, "direction", column.direction)),
        digits=column.digits,
        version=str(getattr(metric, "version", "1")),
        extractors=tuple(metric.extractors),
        backbone=backbone,
        in_paper=column.in_paper,
        is_set=bool(getattr(metric, "is_set", False)),
    )


def describe_name(name: str, setup: MetricSetup = NANO) -> MetricInfo:
    """The same for a metric by name, with its own title and unit."""
    metric = get_metric(name, setup)
    column = Column(name, getattr(metric, "title", name), getattr(metric, "direction", ""), in_paper=False)
    return describe(column, setup)


def extract(
    video: Path, sample: Any, metrics: Sequence[str], extractors: Sequence[str], setup: MetricSetup = NANO
) -> dict[str, Any]:
    """Features by extractor; a shipped video is decoded once for all extractors."""
    found: dict[str, Any] = {}
    for name in metrics:
        if name in _ADDED:
            made = _ADDED[name].extract(video, sample)
            found.update({extractor: arrays for extractor, arrays in made.items() if extractor in extractors})
    left = [name for name in extractors if name not in found]
    if left:
        from evalkit.metrics.extract import extract as extract_shipped

        found.update(extract_shipped(video, sample, left, setup=setup))
    return found


def extractor_version(metric: str, extractor: str, setup: MetricSetup = NANO) -> str:
    """The declared version of an extractor, so that its stored features can become stale."""
    if metric in _ADDED:
        return str(getattr(_ADDED[metric].metric, "version", "1"))
    registry = _registry()
    return str(getattr(registry.get_extractor(extractor, setup), "version", "1")) if registry else ""


def backbone_label(backbone: Mapping[str, Any]) -> str | None:
    """Short text for a table header: name and the first digits of the weights' digest; "pixels" where none is needed."""
    if not backbone:
        return None
    if backbone.get("kind") == "none":
        return "pixels"
    mark = str(backbone.get("digest") or "")[:12]
    return f"{backbone['name']}@{mark}" if mark else str(backbone["name"])


def _registry() -> Any:
    if importlib.util.find_spec("evalkit.metrics") is None:
        return None
    from evalkit.metrics import registry

    return registry


def _backbone(metric: Any) -> dict[str, Any]:
    value = metric.backbone
    value = value() if callable(value) else value
    if value is None:
        return {}
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else dict(value)


def _without(info: MetricInfo, reason: str) -> MetricInfo:
    return MetricInfo(info.name, info.title, info.unit, info.direction, info.digits, in_paper=info.in_paper, reason=reason)
