"""Checks a built set: every file re-hashed, strays named, the quality gate run again over the files as they lie."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from genbench.examiners import make_examiners
from genbench.making import examined
from genbench.manifest import Manifest, load_manifest
from genbench.picture import read_pixels
from genbench.quality import Check, Gate, failures, likeness_print, near_duplicates


@dataclass(frozen=True)
class Findings:
    """failures: lines, empty where the set passes. not_done: checks without a model, and on how many samples. done: how
    many ran.
    """

    manifest: Manifest
    failures: tuple[str, ...]
    not_done: dict[str, int]
    done: int


def check_set(folder: Path, gate: Gate | None = None, with_gate: bool = True) -> Findings:
    """Re-hash and examine a set; gate: the set's own limits unless given, networks only where given.

    Raises DamagedSetError for the first file that is missing or not the one that was built.
    """
    manifest = load_manifest(folder)
    manifest.verify()
    strays = [f"{path} is in no sample" for path in _strays(manifest)]
    if not with_gate:
        return Findings(manifest, tuple(strays), {}, 0)
    gate = gate or _own_gate(manifest)
    examiners = make_examiners(gate)
    faults, undone, done = [], Counter[str](), 0
    for sample in manifest.samples:
        checks = [Check(**record) for record in examined(sample, gate, examiners).checks]
        faults += [f"{sample.id}: {reason}" for reason in failures(checks)]
        undone.update(check.name for check in checks if check.passed is None)
        done += sum(check.passed is not None for check in checks)
    prints = {sample.id: likeness_print(read_pixels(sample.inputs().image)) for sample in manifest.samples}
    if not _is_cut_from_videos(manifest):
        faults += [f"{name}: nearly the picture of {other}" for name, other in near_duplicates(prints, gate).items()]
    return Findings(manifest, (*strays, *faults), dict(undone), done)


def _own_gate(manifest: Manifest) -> Gate:
    """The limits that the set was built with, without its models, which may not be on this machine."""
    models = ("agreement_model", "detector", "detector_model", "recogniser")
    return Gate.from_record(manifest.gate | dict.fromkeys(models, ""))


def _is_cut_from_videos(manifest: Manifest) -> bool:
    return any(sample.truth_video is not None for sample in manifest.samples)


def _strays(manifest: Manifest) -> list[str]:
    """Files below samples/ and truth/ that the manifest does not name."""
    known = {entry.path for sample in manifest.samples for entry in sample.files()}
    found = (path for part in ("samples", "truth") for path in (manifest.folder / part).rglob("*") if path.is_file())
    return sorted(name for path in found if (name := path.relative_to(manifest.folder).as_posix()) not in known)
