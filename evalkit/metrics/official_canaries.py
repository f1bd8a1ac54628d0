"""Published values of official networks on known inputs, measured where the files for them are present."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from evalkit.metric_setup import MetricSetup

Expected = tuple[str, float | None, float, float]
"""Name of the canary, value, expected value, tolerance."""

SYNC_EXAMPLE = {"sync_offset": (3.0, 1.0), "sync_d": (5.353, 0.05), "sync_c": (10.021, 0.1)}
"""The authors' example clip, which is a face crop already; offset, distance and confidence that they print."""
BLACK_AND_WHITE_FVD, FVD_TOLERANCE = 151.26, 1.0
"""Black against white clips of 30 pictures, as several public scripts show it for this network."""
FLYER_RATING, RATING_TOLERANCE = 1.911, 0.01
"""Quality of the picture in Q-Align's repository, by its model card."""


def published(name: str, setup: MetricSetup) -> list[Expected | str]:
    """What is known of this metric's official network: comparisons, or a sentence saying why there is none here."""
    base = name.removesuffix("_wholeframe").removesuffix("_reference")
    if base in SYNC_EXAMPLE:
        return [_sync_example(base, setup)]
    if name in ("fvd", "fvd_one_clip", "fvd_long"):
        return [_black_and_white(setup)]
    if name in ("dino_s", "dino_s_full", "identity_drift"):
        return [_own_picture(name, setup)]
    if name in ("fid", "kid", "fid_clean", "fid_tf"):
        return [_own_set(name, setup)]
    if name in ("iqa", "ase"):
        return [_flyer(name, setup)]
    return ["no published value is known"]


def _sync_example(name: str, setup: MetricSetup) -> Expected | str:
    from evalkit.metrics.extract import extract
    from evalkit.metrics.registry import get_metric
    from evalkit.metrics.sync import analyse
    from evalkit.metrics.weights import WeightsError

    try:
        video = setup.folder.file("syncnet", "example.avi")
    except WeightsError:
        return "example.avi is not among the weights, so its published values were not checked"
    arrays = extract(video, SimpleNamespace(), ["syncnet_wholeframe"], setup=setup)["syncnet_wholeframe"]
    whole = analyse(arrays["video"], arrays["audio"]).whole
    values = {"sync_offset": float(whole.offset_frames), "sync_d": whole.distance, "sync_c": whole.confidence}
    assert get_metric(name, setup).backbone.kind == "official"
    return "published example", values[name], *SYNC_EXAMPLE[name]


def _black_and_white(setup: MetricSetup) -> Expected:
    from evalkit.metrics.registry import get_extractor

    network: Any = get_extractor("clip", setup)
    black, white = (network.embed(np.full((30, 64, 64, 3), value, np.uint8)) for value in (0, 255))
    difference = black.astype(np.float64) - white
    return "black against white", float(np.square(difference).sum()), BLACK_AND_WHITE_FVD, FVD_TOLERANCE


def _own_picture(name: str, setup: MetricSetup) -> Expected:
    """A picture's cosine with itself is 1."""
    from evalkit.metrics.canaries import known_clip
    from evalkit.metrics.extract import extract_arrays
    from evalkit.metrics.registry import get_metric

    still = np.repeat(known_clip().frames[:1], 11, 0)
    metric = get_metric(name, setup)
    arrays = extract_arrays(still, 5.0, None, SimpleNamespace(), metric.extractors, setup)
    return "picture with itself", metric.score(arrays, None).value, 0.0 if name == "identity_drift" else 1.0, 1e-4


def _own_set(name: str, setup: MetricSetup) -> Expected:
    """A set's distance from itself is 0; a kernel distance without bias is a little below."""
    from evalkit.metrics.canaries import known_clip
    from evalkit.metrics.extract import extract_arrays
    from evalkit.metrics.registry import get_metric

    metric = get_metric(name, setup)
    arrays = extract_arrays(known_clip().frames[:9], 25.0, None, SimpleNamespace(), metric.extractors, setup)
    found = metric.score({"a": arrays}, {"a": arrays})
    if name == "kid":  # without bias, hence a little below 0: no copy may look farther away than that
        return "set with itself", max(found.value, 0.0), 0.0, 1e-9
    return "set with itself", found.value, 0.0, 1e-6 * sum(found.details["traces"])


def _flyer(name: str, setup: MetricSetup) -> Expected | str:
    from evalkit.metrics.image_features import read_picture
    from evalkit.metrics.levels import scores_of
    from evalkit.metrics.registry import get_extractor

    picture = setup.folder.place("qalign") / "singapore_flyer.jpg"
    if name != "iqa" or not picture.is_file():
        return "singapore_flyer.jpg is not beside the weights, so its published rating was not checked"
    network: Any = get_extractor("quality", setup)
    logits = network.rate(read_picture(picture)[None], name)
    return "singapore_flyer.jpg", float(scores_of(logits)[0]), FLYER_RATING, RATING_TOLERANCE
