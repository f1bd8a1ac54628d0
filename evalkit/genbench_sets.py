"""The GenBench sets as evalkit sees them: short, long and in-domain, built through genbench's own API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evalkit.datasets import LoadedSet, Progress, Sample, SampleSet, input_digest
from evalkit.definition import SampleInfo
from evalkit.errors import EvalkitError, PrerequisiteMissingError

TITLES = {"genbench_short": "GenBench-Short", "genbench_long": "GenBench-Long", "genbench_in_domain": "GenBench-In-Domain"}
SIZES = {
    "genbench_short": {"quick": 8, "full": 100},
    "genbench_long": {"quick": 2, "full": 15},
    "genbench_in_domain": {"quick": 8, "full": 50},
}


def genbench_set(name: str) -> SampleSet:
    """One of the GenBench sets."""

    def build(folder: Path, suite: str, progress: Progress) -> None:
        _build(name.removeprefix("genbench_"), suite, folder, progress)

    return SampleSet(name, TITLES[name], SIZES[name], build, lambda folder: load_genbench(name, folder))


def _build(short_name: str, suite: str, folder: Path, progress: Progress) -> None:
    try:
        from genbench.build import build_set
        from genbench.spec import draw_set
    except ImportError as error:
        raise PrerequisiteMissingError(
            f"building GenBench needs {error.name or error}; install it with: pip install 'liveavatar[genbench]'"
        ) from error
    specs = draw_set(short_name, suite)
    made = 0

    def step(_made_now: bool) -> None:
        nonlocal made
        made += 1
        progress(made, len(specs.samples))

    build_set(specs, folder, on_sample=step)


def load_genbench(name: str, folder: Path) -> LoadedSet:
    """Read a built set; genbench compares every size with its manifest."""
    from genbench.errors import DamagedSetError
    from genbench.manifest import load_manifest

    try:
        manifest = load_manifest(folder)
    except DamagedSetError as error:
        raise EvalkitError(f"test set {name}: {error}") from error
    samples = {entry.id: _sample(name, folder, entry) for entry in manifest.samples}
    return LoadedSet(name, TITLES[name], manifest.digest, samples)


def manifest_suite(folder: Path) -> str:
    """The suite that a built set belongs to; empty when it cannot be told."""
    try:
        return str(json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("suite", ""))
    except (OSError, ValueError):
        return ""


def _sample(name: str, folder: Path, entry: Any) -> Sample:
    given, truth = entry.inputs(), entry.truth_file or entry.truth_video
    info = SampleInfo(
        id=entry.id,
        digest=input_digest(entry.image.sha256, entry.audio.sha256, given.prompt),
        duration_s=float(entry.duration_s),
        style=entry.style,
        composition=entry.composition,
        image=_inside(name, given.image, folder),
        audio=_inside(name, given.audio, folder),
        transcript=entry.transcript_text(),
        identity=entry.image.sha256[:16],
        truth_digest=truth.sha256 if truth else "",
    )
    return Sample(info, given.image, given.audio, given.prompt, entry)


def _inside(name: str, path: Path, folder: Path) -> str:
    return f"datasets/{name}/{path.relative_to(folder).as_posix()}"
