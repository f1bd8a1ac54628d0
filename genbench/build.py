"""Make a test set from its specs: pictures, voices and prompts for methods, the truth in a folder of its own.

A build that was killed continues where it stopped, whatever killed it; the same specs and generators give the same bytes,
in any folder and with any number of workers. What the quality gate refuses is made again with another seed, then listed.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genbench import __version__
from genbench.atomic import require_room, write_json
from genbench.errors import DamagedSetError
from genbench.examiners import make_examiners
from genbench.locks import exclusive
from genbench.long_audio import LongVoice
from genbench.making import NOTES, Job, Note, make_sample, noted_attempt, read_note, regated, restore_note
from genbench.manifest import MANIFEST_NAME, TABLE7_SEGMENTS_S, Manifest, load_manifest, read_manifest
from genbench.picture import read_pixels
from genbench.production import Makers, Production
from genbench.quality import Gate, likeness_print, near_duplicates
from genbench.script_writing import ScriptWriting
from genbench.spec import SetSpec

# Rough sizes, to refuse a build that a disk cannot hold: WAV and truth per second, a drawn and a generated picture.
_BYTES_PER_SECOND, _PICTURE_BYTES = 36_000, {"nano": 200_000, "generated": 4_000_000, "files": 4_000_000}
_WORKER: dict[str, Any] = {}
OnSample = Callable[[bool], None]


def build_set(
    specs: SetSpec,
    folder: Path,
    on_sample: OnSample = lambda made_now: None,
    production: Production | None = None,
    workers: int = 1,
) -> Manifest:
    """Build or finish the set in `folder`; `on_sample(made now?)` is called once for every sample.

    Raises ValueError for another set in the folder, DiskFullError, ProviderError; whatever it raises, finished samples are
    kept and the same call goes on from them.
    """
    production = production or Production()
    if production.kind != specs.kind and specs.kind != "files":
        raise ValueError(f"the specs are for {specs.kind!r} pictures, {production.image!r} makes {production.kind!r} ones")
    folder.mkdir(parents=True, exist_ok=True)
    is_new = not (folder / NOTES).exists()
    with exclusive(folder / NOTES / "lock", f"another build is at work in {folder}; wait for it or choose another folder"):
        try:
            finished = _finished_set(specs, folder, production)
        except ValueError:
            if is_new:
                shutil.rmtree(folder / NOTES, ignore_errors=True)
            raise
        if finished is not None:
            shutil.rmtree(folder / NOTES, ignore_errors=True)
            for _ in finished.samples:
                on_sample(False)
            return finished
        _require_room(specs, folder, production)
        _begin_notes(specs, folder, production)
        manifest = _build(specs, folder, on_sample, production, workers)
        write_json(folder / MANIFEST_NAME, manifest.to_record())
        shutil.rmtree(folder / NOTES, ignore_errors=True)
    return manifest


def _build(specs: SetSpec, folder: Path, on_sample: OnSample, production: Production, workers: int) -> Manifest:
    makers, examiners = Makers(production), make_examiners(production.gate)
    writing = ScriptWriting(folder, production)
    notes: dict[str, Note] = {}
    try:
        places: list[tuple[int, int, tuple[str, ...]]] = []
        for index, sample in enumerate(specs.samples):
            attempt, failed = noted_attempt(sample.id, folder)
            places.append((index, attempt, failed) if specs.redrawn(index, attempt) else (index, 0, ()))
        first = True
        while places:
            jobs = writing.jobs([(specs.redrawn(index, attempt), failed) for index, attempt, failed in places])
            for note_id, note, made_now in _settle(jobs, folder, production, workers, makers, examiners):
                notes[note_id] = note
                if first:
                    on_sample(made_now)
            first = False
            places = _to_repeat(specs, notes, production)
        return _manifest(specs, folder, notes, production, makers, writing)
    finally:
        makers.close()


def _settle(
    jobs: Sequence[Job], folder: Path, production: Production, workers: int, makers: Makers, examiners: Any
) -> Iterator[tuple[str, Note, bool]]:
    """(id, note, made now?) of every job, found on disk or made; in whatever order they end."""
    missing = []
    for job in jobs:
        note = read_note(job.spec, folder, production)
        if note is None:
            missing.append(job)
        else:
            yield job.spec.id, regated(note, job.spec, production, examiners, folder), False
    if workers <= 1 or len(missing) <= 1 or not production.runs_in_processes:
        for job in missing:
            yield job.spec.id, make_sample(job, folder, production, makers, examiners), True
        return
    with _pool(min(workers, len(missing)), folder, production) as pool:
        futures = {pool.submit(_make_in_worker, job): job for job in missing}
        for future in as_completed(futures):
            yield futures[future].spec.id, future.result(), True


def _to_repeat(specs: SetSpec, notes: dict[str, Note], production: Production) -> list[tuple[int, int, tuple[str, ...]]]:
    """(index, next attempt, failures so far) of samples that fail and may be made again; all in the order of the set."""
    failing = {name: note.reasons for name, note in notes.items() if note.reasons}
    again = []
    if not any(
        _may_repeat(specs, index, notes[spec.id], production)
        for index, spec in enumerate(specs.samples)
        if spec.id in failing
    ):
        # Likeness is judged over pictures that passed everything else, so that it depends on no order of making.
        failing |= duplicate_reasons([note for name, note in notes.items() if name not in failing], specs, production.gate)
    for index, spec in enumerate(specs.samples):
        note = notes[spec.id]
        if spec.id in failing and _may_repeat(specs, index, note, production):
            reasons = "; ".join(failing[spec.id])
            again.append((index, note.attempt + 1, (*note.failures, f"attempt {note.attempt}: {reasons}")))
    return again


def duplicate_reasons(notes: Sequence[Note], specs: SetSpec, gate: Gate) -> dict[str, tuple[str, ...]]:
    """Reasons of samples whose picture nearly equals an earlier one's, in the order of the set."""
    by_id = {note.sample.id: note.sample for note in notes if note.sample}
    prints = {
        spec.id: likeness_print(read_pixels(by_id[spec.id].inputs().image)) for spec in specs.samples if spec.id in by_id
    }
    return {name: (f"duplicate: nearly the picture of {other}",) for name, other in near_duplicates(prints, gate).items()}


def _may_repeat(specs: SetSpec, index: int, note: Note, production: Production) -> bool:
    return note.attempt < production.remakes and specs.redrawn(index, note.attempt + 1) is not None


def _begin_notes(specs: SetSpec, folder: Path, production: Production) -> None:
    """Notes of another set do not count; those of this set, finished once and damaged since, do."""
    notes, wanted = folder / NOTES, {"set": _set_fingerprint(specs, production).partition(".")[0]}
    mark = notes / "set"
    try:
        is_same = json.loads(mark.read_text(encoding="utf-8")) == wanted
    except (FileNotFoundError, ValueError):
        is_same = False
    if is_same:
        return
    for path in notes.glob("*.json"):
        path.unlink()
    if (folder / MANIFEST_NAME).exists():
        with contextlib.suppress(DamagedSetError):
            manifest = read_manifest(folder)
            for sample in manifest.samples if manifest.spec_fingerprint == _set_fingerprint(specs, production) else ():
                restore_note(sample, folder, production)
    write_json(mark, wanted)


def _manifest(
    specs: SetSpec, folder: Path, notes: dict[str, Note], production: Production, makers: Makers, writing: ScriptWriting
) -> Manifest:
    passed = [note for note in notes.values() if not note.reasons]
    likenesses = duplicate_reasons(passed, specs, production.gate)
    samples, left_out = [], []
    for spec in specs.samples:
        note = notes[spec.id]
        reasons = note.reasons or likenesses.get(spec.id, ())
        if note.sample is not None and not reasons:
            samples.append(note.sample)
            continue
        left_out.append({"id": spec.id, "reasons": list(reasons), "failures": list(note.failures)})
        _set_aside(folder, spec.id)
    if not samples:
        raise ValueError(f"no sample of {specs.set_name} got past the quality gate; the first: {left_out[0]['reasons']}")
    is_endless = specs.set_name == "long"
    return Manifest(
        folder=folder,
        name=f"genbench_{specs.set_name}",
        suite=specs.suite,
        seed=specs.seed,
        generator=_generator(production),
        spec_fingerprint=_set_fingerprint(specs, production),
        samples=tuple(samples),
        kind=production.kind,
        providers=makers.describe(),
        licence=production.licence,
        consent=production.consent_note(),
        redistributable=production.redistributable,
        left_out=tuple(left_out),
        gate=_public_gate(production.gate),
        segments_s=TABLE7_SEGMENTS_S if is_endless else (),
        long_audio=LongVoice.rule() if is_endless else {},
        usage=writing.usage(),
    )


def _generator(production: Production) -> dict[str, str]:
    """Versions of the programs that made a set; not part of its digest."""
    from importlib.metadata import PackageNotFoundError, version

    from genbench.speech import library_version

    versions = {"genbench": __version__, "machine": platform.machine()}
    for name in ("torch", "numpy", "scipy", "pillow"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    if production.speech == "espeak":
        versions["espeak-ng"] = library_version()
    return versions


def _public_gate(gate: Gate) -> dict[str, Any]:
    """The gate's limits, models by their last name only."""
    record = asdict(gate) | {"level_db": list(gate.level_db)}
    return record | {name: Path(record[name]).name for name in ("detector_model", "recogniser") if record[name]}


def _set_aside(folder: Path, sample_id: str) -> None:
    """Keep what was made of a sample that the set does not have, out of its way."""
    home, truth = folder / "samples" / sample_id, folder / "truth" / f"{sample_id}.safetensors"
    target = folder / "left_out" / sample_id
    if home.exists():
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(home, target)
    if truth.exists():
        os.replace(truth, target / truth.name)


def _finished_set(specs: SetSpec, folder: Path, production: Production) -> Manifest | None:
    """The set if it is already complete; another set in the same folder is an error."""
    if not (folder / MANIFEST_NAME).exists():
        return None
    wanted = _set_fingerprint(specs, production)
    try:
        manifest = load_manifest(folder)
    except DamagedSetError:
        _refuse_other_set(wanted, specs, folder)
        return None
    if manifest.spec_fingerprint != wanted and not _is_first_form(manifest, specs, production):
        if manifest.kind == specs.kind and manifest.spec_fingerprint.partition(".")[0] == wanted.partition(".")[0]:
            return None  # the same samples under another box, gate or number of remakes: made anew where that changes them
        _refuse_other_set(wanted, specs, folder)
    return manifest


def _is_first_form(manifest: Manifest, specs: SetSpec, production: Production) -> bool:
    """Whether a set of schema 1 is the very set asked for."""
    is_default = (production.text, production.image, production.speech) == ("template", "nano_world", "espeak")
    return manifest.schema_version == 1 and is_default and manifest.spec_fingerprint == specs.first_fingerprint()


def _set_fingerprint(specs: SetSpec, production: Production) -> str:
    """Digest of what is in the set, a full stop, digest of how it is made."""
    import hashlib

    from genbench.atomic import canonical_json

    names = [production.text, production.image, production.speech]
    content = hashlib.sha256(canonical_json([specs.fingerprint(), names])).hexdigest()
    boxes = {name: list(box) for name, box in production.boxes.items()}
    making = [asdict(production.gate), production.remakes, boxes, production.licence, production.consent]
    return f"{content}.{hashlib.sha256(canonical_json(making)).hexdigest()[:16]}"


def _refuse_other_set(wanted: str, specs: SetSpec, folder: Path) -> None:
    try:
        record = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        found, what = record["spec_fingerprint"], f"{record['name']} ({record['suite']}) of seed {record['seed']}"
    except (ValueError, KeyError, TypeError):
        found, what = "", "a manifest.json that cannot be read"
    if found.partition(".")[0] not in (wanted.partition(".")[0], specs.first_fingerprint()):
        raise ValueError(f"{folder} holds {what}, not the set asked for; choose another folder or delete this one")


def _require_room(specs: SetSpec, folder: Path, production: Production) -> None:
    seconds = sum(sample.duration_s for sample in specs.samples)
    pictures = len(specs.samples) * _PICTURE_BYTES[production.kind]
    require_room(folder, round(seconds * _BYTES_PER_SECOND) + pictures, f"the set {specs.set_name} ({specs.suite})")


@contextlib.contextmanager
def _pool(workers: int, folder: Path, production: Production) -> Iterator[ProcessPoolExecutor]:
    # Spawned, not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(folder, production))
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _start_worker(folder: Path, production: Production) -> None:
    """One thread per process; Ctrl-C is the parent's business, and a worker ends with its parent however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _WORKER.update(
        folder=folder, production=production, makers=Makers(production), examiners=make_examiners(production.gate)
    )


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _make_in_worker(job: Job) -> Note:
    return make_sample(job, _WORKER["folder"], _WORKER["production"], _WORKER["makers"], _WORKER["examiners"])
