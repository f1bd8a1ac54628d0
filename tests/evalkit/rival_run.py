"""A plug-in for tests: a small experiment whose set has voices of 4 s, for running adapters through the whole harness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evalkit.datasets import LoadedSet, Sample, SampleSet, input_digest, register_dataset
from evalkit.definition import SampleInfo
from evalkit.experiments import Column, Experiment, Row, SpeedProtocol, Table, experiment
from evalkit.fingerprint import digest, file_sha256
from tests.evalkit.fake_checkouts import make_inputs

NAMES = ("s0", "s1")


def voices(name: str, seconds: float) -> SampleSet:
    """Two samples."""

    def build(folder: Path, suite: str, progress: Any) -> None:
        for one in NAMES:
            make_inputs(folder, one, seconds)
        (folder / "manifest.json").write_text(json.dumps({"samples": 2}), encoding="utf-8")

    def load(folder: Path) -> LoadedSet:
        samples = {}
        for one in NAMES:
            image, audio = folder / f"{one}.png", folder / f"{one}.wav"
            given = input_digest(file_sha256(image), file_sha256(audio), "")
            info = SampleInfo(one, given, seconds, image=f"datasets/{name}/{one}.png", audio=f"datasets/{name}/{one}.wav")
            samples[one] = Sample(info, image, audio, f"prompt of {one}")
        return LoadedSet(name, name, digest([one.info.digest for one in samples.values()]), samples)

    return SampleSet(name, name, {"quick": 2, "full": 2}, build, load)


register_dataset("voices_short", lambda: voices("voices_short", 4.0))
register_dataset("voices_long", lambda: voices("voices_long", 16.0))


@experiment
def rivals() -> Experiment:
    """Speed alone: no metric has to look at grey pictures."""
    return defined("rivals", ("voices_short", "voices_long"))


@experiment
def short_rivals() -> Experiment:
    """One set only."""
    return defined("short_rivals", ("voices_short",))


def defined(name: str, sets: tuple[str, ...]) -> Experiment:
    columns = (Column("fps", "FPS", "up"), Column("ttff", "TTFF", "down", in_paper=False))
    rows = (Row("wan_s2v", "WanS2V", "rival", "not set up"), Row("ditto", "Ditto", "rival", "not set up"))
    table = Table(name, "Rivals", columns, rows, sets)
    speed = SpeedProtocol(dataset=sets[-1])
    return Experiment(name, "Rivals", ("wan_s2v",), sets, (), (table,), reference="wan_s2v", speed=speed)
