"""Metrics of talking video: features from one pass over a file, then numbers from features.

`extract(video, sample, extractor_names)` makes arrays; `get_metric(name).score(arrays, sample)` makes a `Score`.
Networks and torch are imported when the first extractor is used, not here.
"""

from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream, Metric, Score
from evalkit.metrics.extract import extract
from evalkit.metrics.registry import (
    extractor_names,
    get_extractor,
    get_metric,
    metric_names,
    register_extractor,
    register_metric,
)

__all__ = [
    "Backbone",
    "Clip",
    "Extractor",
    "FeatureStream",
    "Metric",
    "Score",
    "extract",
    "extractor_names",
    "get_extractor",
    "get_metric",
    "metric_names",
    "register_extractor",
    "register_metric",
]
