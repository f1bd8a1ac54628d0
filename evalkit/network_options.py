"""What the command line says about the metrics' networks: nano or official, where they lie, where they run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from evalkit.errors import EvalkitError
from evalkit.metric_setup import Kind, MetricSetup

EXTRACTORS_WITH_PACKAGES = ("quality", "image", "image_full", "syncnet", "clip", "clip_debiased", "inception")
"""Extractors whose official networks may need another Python's packages."""


def weights_folder(given: str) -> str:
    """Where official weights lie: as told, else by the environment, else in the user's cache."""
    place = given or os.environ.get("EVALKIT_WEIGHTS", "") or str(Path.home() / ".cache" / "evalkit")
    return str(Path(place).expanduser().resolve())


def metric_setup(options: argparse.Namespace, default: Kind | None = None) -> MetricSetup:
    """Networks of the metrics: what the options say; else nano ones, and official ones where present at 14B."""
    pairs = [one.partition("=") for one in options.metric_python]
    for name, sign, _ in pairs:
        if not sign or name not in EXTRACTORS_WITH_PACKAGES:
            known = ", ".join(EXTRACTORS_WITH_PACKAGES)
            raise EvalkitError(f"--metric-python {name}: give EXTRACTOR=PYTHON, with one of: {known}")
    backbones: Kind = options.backbones or default or ("nano" if options.profile == "nano" else "auto")
    return MetricSetup(
        backbones=backbones,
        weights="" if backbones == "nano" else weights_folder(options.metric_weights),
        device=options.metric_device or options.device,
        interpreters=tuple((name, python) for name, _, python in pairs),
    )
