"""One sample of a set: picture, voice, words and truth into files, then the gate's verdict over those files.

FOLDER/samples/<id>/reference.png  speech.wav  prompt.txt  transcript.txt  raw/...
FOLDER/truth/<id>.safetensors
FOLDER/.unfinished/<id>.json       the note that the sample is finished; written last
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genbench import __version__
from genbench.atomic import canonical_json, remove_leftovers, write_bytes, write_json
from genbench.errors import DamagedSetError, SampleRefusedError
from genbench.manifest import FileEntry, Sample
from genbench.picture import read_pixels
from genbench.production import Makers, Production
from genbench.providers.base import Box, Picture, Utterance
from genbench.quality import (
    Check,
    Examiners,
    Gate,
    check_agreement,
    check_face,
    check_picture,
    check_script,
    check_speech,
    check_transcript,
    failures,
)
from genbench.sound import read_set_wav, wav_bytes
from genbench.spec import FILES, NANO, SampleSpec
from genbench.timeline import FPS, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from genbench.sample_truth import SampleTruth

NOTES = ".unfinished"


@dataclass(frozen=True)
class Job:
    """One attempt at a sample. answers: a language model's, of all attempts so far, by file name; failures: of earlier
    attempts; refused: why this attempt's words cannot be used, empty if they can.
    """

    spec: SampleSpec
    answers: dict[str, bytes] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True)
class Note:
    """What became of an attempt: a sample (with its checks), or none and only reasons."""

    made_from: str
    gate: str
    attempt: int
    sample: Sample | None
    reasons: tuple[str, ...]
    failures: tuple[str, ...]


def make_sample(job: Job, folder: Path, production: Production, makers: Makers, examiners: Examiners) -> Note:
    """Make one attempt at a sample and write its note; a generator that refuses makes a note without a sample."""
    spec = job.spec
    try:
        if job.refused:
            raise SampleRefusedError(job.refused)
        picture, spoken, truth = _media(spec, makers)
    except SampleRefusedError as error:
        _write_raw(job.answers, folder / "samples" / spec.id)
        return _write_note(_refused(job, production, str(error)), spec.id, folder)
    hand = production.boxes.get(spec.id)
    files = _write_files(job, folder, picture, spoken, truth)
    sample = Sample(
        id=spec.id,
        **files,
        duration_s=spoken.speech.duration_s,
        frames=len(spoken.speech.samples) // SAMPLES_PER_FRAME,
        fps=FPS,
        style=spec.style,
        composition=spec.composition,
        licence=makers.licences(),
        face_box=hand or picture.face_box,
        folder=folder,
        spec=_public_spec(spec),
        failures=job.failures,
        attempt=spec.attempt,
        face_box_source=_box_source(production, hand, picture.face_box),
    )
    sample = examined(sample, production.gate, examiners)
    reasons = tuple(failures([Check(**check) for check in sample.checks]))
    note = Note(made_from(spec, production), gate_digest(production.gate), spec.attempt, sample, reasons, job.failures)
    return _write_note(note, spec.id, folder)


def examined(sample: Sample, gate: Gate, examiners: Examiners) -> Sample:
    """The sample with the gate's findings over its files as they lie on disk, and with the face that a detector found."""
    pixels = read_pixels(sample.inputs().image)
    samples, script = read_set_wav(sample.inputs().audio), sample.transcript_text()
    prompt = sample.spec.get("picture_prompt") or sample.inputs().prompt
    found = examiners.faces(pixels, sample.style) if sample.face_box is None else None
    language = str(sample.spec.get("language", "en"))
    checks = [
        *check_picture(pixels, gate),
        check_face(sample.face_box, sample.face_box_source, found),
        check_agreement(examiners.agreement(pixels, prompt), gate),
        _script_check(sample, script),
        *check_speech(samples, float(sample.spec.get("duration_s", sample.duration_s)), gate),
        check_transcript(examiners.transcript(samples, language), script, language, gate),
    ]
    records = tuple(check.to_record() for check in checks)
    if found is not None and len(found) == 1:
        return replace(sample, checks=records, face_box=found[0], face_box_source=gate.detector)
    return replace(sample, checks=records)


def read_note(spec: SampleSpec, folder: Path, production: Production) -> Note | None:
    """The note of this attempt, if an earlier build finished it from the same spec and its files are intact."""
    try:
        record = json.loads(_note_path(spec.id, folder).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if record.get("made_from") != made_from(spec, production):
        return None
    sample = Sample.from_record(record["sample"], folder) if record["sample"] else None
    try:
        for entry in sample.files() if sample else ():
            entry.check_hash(folder)
    except DamagedSetError:
        return None
    tuples = {name: tuple(record[name]) for name in ("reasons", "failures")}
    return Note(record["made_from"], record["gate"], record["attempt"], sample, **tuples)


def restore_note(sample: Sample, folder: Path, production: Production) -> None:
    """The note of a sample of a finished set, so that only its damaged files are made again."""
    decided = _made_from(sample.spec["fingerprint"], sample.id, production)
    _write_note(Note(decided, gate_digest(production.gate), sample.attempt, sample, (), sample.failures), sample.id, folder)


def noted_attempt(sample_id: str, folder: Path) -> tuple[int, tuple[str, ...]]:
    """(attempt, failures before it) of whatever note there is; (0, ()) without one."""
    try:
        record = json.loads(_note_path(sample_id, folder).read_text(encoding="utf-8"))
        return int(record["attempt"]), tuple(record["failures"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, ()


def regated(note: Note, spec: SampleSpec, production: Production, examiners: Examiners, folder: Path) -> Note:
    """The same note under today's gate; nothing is made again."""
    if note.sample is None or note.gate == gate_digest(production.gate):
        return note
    sample = examined(note.sample, production.gate, examiners)
    reasons = tuple(failures([Check(**check) for check in sample.checks]))
    return _write_note(replace(note, gate=gate_digest(production.gate), sample=sample, reasons=reasons), spec.id, folder)


def made_from(spec: SampleSpec, production: Production) -> str:
    """Hex digest of all that decides a sample's files."""
    return _made_from(spec.fingerprint(), spec.id, production)


def gate_digest(gate: Gate) -> str:
    """Hex digest of the gate's limits."""
    return hashlib.sha256(canonical_json(asdict(gate))).hexdigest()


def _made_from(spec_fingerprint: str, sample_id: str, production: Production) -> str:
    from genbench.speech import library_version

    record = {
        "genbench": __version__,
        "espeak-ng": library_version() if production.speech == "espeak" else None,
        "spec": spec_fingerprint,
        "makers": [production.image, production.speech],
        "options": {role: dict(options) for role, options in production.options.items() if role != "text"},
        "box": production.boxes.get(sample_id),
        "licence": production.licence,
    }
    return hashlib.sha256(canonical_json(record)).hexdigest()


def _public_spec(spec: SampleSpec) -> dict[str, Any]:
    """The spec for the manifest: who the character is stands with the truth, and here only its part in the fingerprint."""
    record = {name: value for name, value in spec.to_record().items() if name != "character"}
    return record | {"fingerprint": spec.fingerprint()}


def _media(spec: SampleSpec, makers: Makers) -> tuple[Picture, Utterance, SampleTruth | None]:
    if spec.clip is not None:
        from genbench.clip_sample import make_clip_sample

        return make_clip_sample(spec)
    picture = makers.image.draw(spec)
    spoken = makers.speech.speak(spec)
    truth = None
    if makers.image.kind == NANO and spec.character is not None and spoken.speech.phonemes:
        from genbench.performance import make_truth

        truth = make_truth(spec.character, spec.seed, spoken.speech)
    return picture, spoken, truth


def _write_files(job: Job, folder: Path, picture: Picture, spoken: Utterance, truth: SampleTruth | None) -> dict[str, Any]:
    """All files of a sample, and their entries by field name."""
    spec = job.spec
    home, truth_path = folder / "samples" / spec.id, folder / "truth" / f"{spec.id}.safetensors"
    truth_path.unlink(missing_ok=True)
    for place in (home, truth_path.parent if truth else home):
        place.mkdir(parents=True, exist_ok=True)
    remove_leftovers(home)
    # The truth folder is shared: what else lies there may be another process's file in the making.
    remove_leftovers(truth_path.parent, of=truth_path.name)
    contents = {
        "image": (home / "reference.png", picture.png),
        "audio": (home / "speech.wav", wav_bytes(spoken.speech)),
        "prompt": (home / "prompt.txt", f"{spec.prompt}\n".encode()),
        "transcript": (home / "transcript.txt", f"{spoken.transcript}\n".encode()),
    }
    raw = _write_raw(job.answers | picture.raw | spoken.raw, home)
    for path, data in contents.values():
        write_bytes(path, data)
    entries: dict[str, Any] = {name: FileEntry.of(folder, path) for name, (path, _) in contents.items()}
    entries["raw"] = tuple(FileEntry.of(folder, path) for path in raw)
    entries["truth_file"] = None
    if truth is not None:
        from genbench.sample_truth import truth_bytes

        write_bytes(truth_path, truth_bytes(truth))
        entries["truth_file"] = FileEntry.of(folder, truth_path)
    return entries


def _write_raw(answers: dict[str, bytes], home: Path) -> list[Path]:
    """Keep answers as they came, below the sample's folder; what other attempts left there goes only after that."""
    paths = [home / "raw" / name for name in sorted(answers)]
    for path in paths:
        write_bytes(path, answers[path.name])
    for path in (home / "raw").glob("*"):
        if path not in paths:
            path.unlink()
    return paths


def _script_check(sample: Sample, script: str) -> Check:
    if sample.spec.get("clip") is not None and not script:
        return Check("script", None, None, "not empty", "a clip cut from speech may hold no whole word")
    return check_script(script, is_recording=bool(sample.spec.get("source") or sample.source))


def _box_source(production: Production, hand: Box | None, known: Box | None) -> str:
    if hand is not None:
        return "hand"
    if known is None:
        return "none"
    return "files" if production.kind == FILES else "rendered"


def _refused(job: Job, production: Production, reason: str) -> Note:
    spec = job.spec
    return Note(
        made_from(spec, production), gate_digest(production.gate), spec.attempt, None, (f"refused: {reason}",), job.failures
    )


def _write_note(note: Note, sample_id: str, folder: Path) -> Note:
    record = dict(vars(note)) | {"sample": note.sample.to_record() if note.sample else None}
    write_json(_note_path(sample_id, folder), record)
    return note


def _note_path(sample_id: str, folder: Path) -> Path:
    return folder / NOTES / f"{sample_id}.json"
