"""The bodies of `study build` and `study score`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from evalkit.datasets import load_set
from evalkit.definition import DatasetInfo, Definition, load_definition
from evalkit.errors import EvalkitError, PrerequisiteMissingError
from evalkit.methods.base import CONTROL, VIDEO
from evalkit.plugins import load_plugins
from evalkit.records import DONE, GENERATE, Key, dumps
from evalkit.store import Store, read_json, write_text
from evalkit.study.answers import read_answers
from evalkit.study.design import Study, design_study
from evalkit.study.page import render_page
from evalkit.study.scoring import markdown, score_study

PAGE, KEY = "page.html", "key.json"


def build(options: argparse.Namespace) -> int:
    """`study build RUN`: the page for raters, and the key that must stay away from them."""
    run: Path = options.run
    definition = load_definition(run)
    load_plugins(definition.plugins)
    dataset = options.dataset or definition.datasets[0].name
    methods = _methods(definition, options.methods)
    samples = _samples(definition, dataset, methods, run, options.limit)
    lengths = {one.id: one.duration_s for one in _dataset(definition, dataset).samples}
    study = design_study(
        [(method, sample, lengths[sample]) for sample in samples for method in methods], options.seed, dataset, run.name
    )
    videos = {one.id: _video(run, one.method, dataset, one.sample, definition) for one in study.clips}
    loaded = load_set(run, dataset)
    page = render_page(study, videos, {name: loaded.samples[name].image for name in samples})
    folder: Path = options.out or run / "study"
    write_text(folder / PAGE, page)
    write_text(folder / KEY, dumps(study.to_json()))
    count = f"{len(study.clips)} clips of {len(methods)} methods, {len(study.trials)} pairs"
    print(f"{count}, about {_minutes(study):.0f} minutes")
    print(f"for raters: {folder / PAGE}")
    print(f"for yourself alone: {folder / KEY} (it says which clip is whose)")
    print(f"next: python -m evalkit study score ANSWERS.json ... --key {folder / KEY}")
    return 0


def score(options: argparse.Namespace) -> int:
    """`study score FILES`: Table 5 of the answers."""
    content = read_json(options.key)
    if not isinstance(content, dict):
        raise PrerequisiteMissingError(f"{options.key} is no key; `study build` writes one beside its page")
    study = Study.from_json(content)
    files = [file for given in options.files for file in (sorted(given.glob("*.json")) if given.is_dir() else [given])]
    raters = read_answers([file for file in files if file.resolve() != options.key.resolve()], study)
    if not raters:
        raise EvalkitError("no answers: give the files that raters saved, or the folder that holds them")
    result = score_study(raters, study)
    text = markdown(result, _titles(options.key))
    if options.out is not None:
        write_text(options.out / "study.json", dumps(result))
        write_text(options.out / "study.md", text)
    sys.stdout.write(json.dumps(result, indent=1) + "\n" if options.json else text)
    return 0


def _methods(definition: Definition, wanted: Sequence[str]) -> list[str]:
    runnable = {one.name: one for one in definition.runnable()}
    for name in wanted:
        if name not in runnable:
            raise EvalkitError(f"{name} made no clips in this run; its methods: {', '.join(runnable)}")
    if wanted:
        return list(dict.fromkeys(wanted))
    first = definition.reference
    names = [name for name, one in runnable.items() if one.kind != CONTROL]
    return sorted(names, key=lambda name: name != first)


def _dataset(definition: Definition, name: str) -> DatasetInfo:
    info = definition.dataset(name)
    if info is None:
        raise EvalkitError(f"set {name} is not part of this run; its sets: {', '.join(d.name for d in definition.datasets)}")
    return info


def _samples(definition: Definition, dataset: str, methods: list[str], run: Path, limit: int | None) -> list[str]:
    """The samples of which every method has a finished clip, so that none is compared on other material."""
    store, seed = Store(run), definition.seeds[0]
    found = []
    for sample in _dataset(definition, dataset).samples:
        records = [store.read(Key(GENERATE, method, dataset, sample.id, seed)) for method in methods]
        if all(record is not None and record.status == DONE for record in records):
            found.append(sample.id)
    if not found:
        raise EvalkitError(f"no sample of {dataset} has a finished clip of each of {', '.join(methods)}; choose --methods")
    return found[:limit]


def _video(run: Path, method: str, dataset: str, sample: str, definition: Definition) -> Path:
    return run / Key(GENERATE, method, dataset, sample, definition.seeds[0]).artefact_dir / VIDEO


def _minutes(study: Study) -> float:
    seconds = {one.id: one.seconds for one in study.clips}
    return sum(seconds[trial.clips[0]] + seconds[trial.clips[1]] + 15 for trial in study.trials) / 60


def _titles(key: Path) -> dict[str, str]:
    """Titles of methods, where the run that the study was made from lies beside the key."""
    content = read_json(key.resolve().parents[1] / "experiment.json")
    methods = content.get("methods", []) if isinstance(content, dict) else []
    return {one["name"]: one["title"] for one in methods}
