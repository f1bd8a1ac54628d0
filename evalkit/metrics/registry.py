"""Names of metrics and extractors; a class is imported when it is first asked for, so listing costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache
from typing import Any

from evalkit.metric_setup import NANO, MetricSetup
from evalkit.metrics.backbones import kind_of
from evalkit.metrics.base import Extractor
from evalkit.names import unknown

_METRICS: dict[str, str] = {
    "ase": "evalkit.metrics.quality:Aesthetics",
    "iqa": "evalkit.metrics.quality:ImageQuality",
    "sync_c": "evalkit.metrics.sync:SyncC",
    "sync_d": "evalkit.metrics.sync:SyncD",
    "sync_offset": "evalkit.metrics.sync:SyncOffset",
    "sync_offset_ms": "evalkit.metrics.sync:SyncOffsetMs",
    "dino_s": "evalkit.metrics.dino_s:DinoS",
    "identity_drift": "evalkit.metrics.dino_s:IdentityDrift",
    "mouth_correlation": "evalkit.metrics.mouth:MouthCorrelation",
    "lip_closure": "evalkit.metrics.lip_closure:LipClosure",
    "colour_drift": "evalkit.metrics.pixels:ColourDrift",
    "motion": "evalkit.metrics.pixels:Motion",
    "jerk": "evalkit.metrics.pixels:Jerk",
    "flicker": "evalkit.metrics.pixels:Flicker",
    "sharpness": "evalkit.metrics.steadiness:Sharpness",
    "sharpness_drift": "evalkit.metrics.steadiness:SharpnessDrift",
    "colour_shift": "evalkit.metrics.steadiness:ColourShift",
    "frame_change": "evalkit.metrics.steadiness:FrameChange",
    "border_change": "evalkit.metrics.steadiness:BorderChange",
    "face_coverage": "evalkit.metrics.faces:FaceCoverage",
    "fid": "evalkit.metrics.set_metrics:Fid",
    "kid": "evalkit.metrics.set_metrics:Kid",
    "fvd": "evalkit.metrics.set_metrics:Fvd",
    "fvd_one_clip": "evalkit.metrics.set_metrics:FvdOneClip",
    "fvd_long": "evalkit.metrics.set_metrics:FvdLong",
    # Variants that need official weights.
    "fid_clean": "evalkit.metrics.set_metrics:FidClean",
    "fid_tf": "evalkit.metrics.set_metrics:FidTf",
    "fvd_cd": "evalkit.metrics.set_metrics:FvdDebiased",
    "sync_c_reference": "evalkit.metrics.sync:SyncCReference",
    "sync_d_reference": "evalkit.metrics.sync:SyncDReference",
    "sync_c_wholeframe": "evalkit.metrics.sync:SyncCWholeFrame",
    "sync_d_wholeframe": "evalkit.metrics.sync:SyncDWholeFrame",
    "dino_s_full": "evalkit.metrics.dino_s:DinoSFull",
}
_EXTRACTORS: dict[str, str] = {
    "syncnet": "evalkit.metrics.sync_features:SyncFeatures",
    "syncnet_wholeframe": "evalkit.metrics.sync_features:WholeFrameSyncFeatures",
    "image": "evalkit.metrics.image_features:ImageFeatures",
    "clip": "evalkit.metrics.clip_features:ClipFeatures",
    "quality": "evalkit.metrics.quality_features:QualityFeatures",
    "mouth": "evalkit.metrics.mouth_features:MouthFeatures",
    "faces": "evalkit.metrics.face_features:FaceFeatures",
    "pixels": "evalkit.metrics.pixel_features:PixelFeatures",
}
_OFFICIAL_EXTRACTORS: dict[str, str] = {
    "syncnet": "evalkit.metrics.official_sync:TrackedSyncFeatures",
    "syncnet_reference": "evalkit.metrics.official_sync:ReferenceSyncFeatures",
    "syncnet_wholeframe": "evalkit.metrics.official_sync:WholeFrameSyncFeatures",
    "image": "evalkit.metrics.official_images:DinoFeatures",
    "image_full": "evalkit.metrics.official_images:WholeDinoFeatures",
    "inception": "evalkit.metrics.official_images:InceptionFeatures",
    "inception_clean": "evalkit.metrics.official_images:CleanInceptionFeatures",
    "inception_tf": "evalkit.metrics.official_images:TfInceptionFeatures",
    "clip": "evalkit.metrics.official_clips:I3dFeatures",
    "clip_debiased": "evalkit.metrics.official_clips:VideoMaeFeatures",
    "quality": "evalkit.metrics.official_quality:QAlignFeatures",
}
"""Their classes take the setup, for weights and device."""


def metric_names() -> list[str]:
    """Every known metric, in table order."""
    return list(_METRICS)


def extractor_names(metrics: Iterable[str] | None = None, setup: MetricSetup = NANO) -> list[str]:
    """Every extractor, or those that the named metrics need, without repeats."""
    if metrics is None:
        return list(dict.fromkeys([*_EXTRACTORS, *_OFFICIAL_EXTRACTORS]))
    return list(dict.fromkeys(name for metric in metrics for name in get_metric(metric, setup).extractors))


def get_metric(name: str, setup: MetricSetup = NANO) -> Any:
    """The metric of that name (a `Metric` or `SetMetric`); UnknownNameError with the nearest names if there is none."""
    return _metric(name, setup)


@cache
def _metric(name: str, setup: MetricSetup) -> Any:
    metric = _load("metric", _METRICS, name)()
    metric.setup = setup
    return metric


def get_extractor(name: str, setup: MetricSetup = NANO) -> Extractor:
    """The extractor of that name with its network loaded, one per process and setup."""
    return _extractor(name, setup)


@cache
def _extractor(name: str, setup: MetricSetup) -> Extractor:
    if setup.interpreter(name):
        from evalkit.metrics.remote import RemoteExtractor

        return RemoteExtractor(name, setup)
    if name in _OFFICIAL_EXTRACTORS and kind_of(name, setup) == "official":
        return _load("extractor", _OFFICIAL_EXTRACTORS, name)(setup)
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
