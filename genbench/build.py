"""Make a test set from its specs: pictures, voices and prompts for methods, the truth in a folder of its own.

    FOLDER/manifest.json
    FOLDER/samples/<id>/reference.png  speech.wav  prompt.txt  transcript.txt
    FOLDER/truth/<id>.safetensors

A sample counts as finished when its note lies in FOLDER/.unfinished, which is written after its files and goes when the
manifest is written. A build that was killed continues there; the same specs always give the same bytes.
"""

from __future__ import annotations

import io
import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from genbench import __version__
from genbench.atomic import remove_leftovers, write_bytes, write_json
from genbench.errors import DamagedSetError
from genbench.manifest import LICENCES, MANIFEST_NAME, FileEntry, Manifest, Sample, load_manifest
from genbench.sample_truth import SampleTruth, truth_bytes
from genbench.spec import SampleSpec, SetSpec
from genbench.speech import Speech, library_version, synthesise
from genbench.timeline import FPS, SAMPLES_PER_FRAME, frame_energy, run_of_sentences, to_int16

if TYPE_CHECKING:
    from genbench.world import Character, Truth

REFERENCE_HEIGHT, REFERENCE_WIDTH = 512, 384
_NOTES = ".unfinished"
_FACE_BOX_DIGITS = 5


def build_set(specs: SetSpec, folder: Path, on_sample: Callable[[bool], None] = lambda made_now: None) -> Manifest:
    """Build or finish the set in `folder`; `on_sample(made now?)` is called after every sample."""
    folder.mkdir(parents=True, exist_ok=True)
    finished = _finished_set(specs, folder)
    if finished is not None:
        for _ in finished.samples:
            on_sample(False)
        return finished
    samples = []
    for spec in specs.samples:
        sample = _noted_sample(spec, folder)
        samples.append(sample or _make_sample(spec, folder))
        on_sample(sample is None)
    manifest = Manifest(
        folder=folder,
        name=f"genbench_{specs.set_name}",
        suite=specs.suite,
        seed=specs.seed,
        generator={"genbench": __version__, "espeak-ng": library_version()},
        spec_fingerprint=specs.fingerprint(),
        samples=tuple(samples),
    )
    write_json(folder / MANIFEST_NAME, manifest.to_record())
    shutil.rmtree(folder / _NOTES, ignore_errors=True)
    return manifest


def speak(spec: SampleSpec) -> Speech:
    """The sample's speech: whole sentences, near the target duration, padded to whole blocks."""
    return run_of_sentences(synthesise(spec.text, spec.voice), spec.duration_s)


def make_truth(spec: SampleSpec, speech: Speech) -> SampleTruth:
    """The performance that goes with the speech."""
    import torch

    from genbench.world import Truth, face_box, mouth_box, mouth_from_phonemes, sample_motion, with_mouth

    frames = len(speech.samples) // SAMPLES_PER_FRAME
    generator = torch.Generator().manual_seed(spec.seed)
    motion = sample_motion(generator, frames, FPS, frame_energy(speech.samples, frames))
    truth = with_mouth(motion, *mouth_from_phonemes(speech.phonemes, frames, FPS))
    batch = Truth.stack([truth])
    return SampleTruth(
        character=spec.character,
        truth=truth,
        face_box=face_box([spec.character], batch)[0].float(),
        mouth_box=mouth_box([spec.character], batch)[0].float(),
        phonemes=speech.phonemes,
        words=speech.words,
    )


def neutral_frame() -> Truth:
    """One frame [1, 1] that looks ahead with the mouth at rest: the pose of reference pictures."""
    from genbench.world import Truth, mouth_from_phonemes, with_mouth

    return Truth.stack([with_mouth(Truth.still(1), *mouth_from_phonemes([], 1, FPS))])


def _make_sample(spec: SampleSpec, folder: Path) -> Sample:
    from genbench.world import face_box

    speech = speak(spec)
    home = folder / "samples" / spec.id
    transcript = " ".join(sentence for sentence, _, _ in speech.sentences)
    truth_path = folder / "truth" / f"{spec.id}.safetensors"
    for place in (home, truth_path.parent):
        place.mkdir(parents=True, exist_ok=True)
        remove_leftovers(place)
    write_bytes(home / "reference.png", _png_bytes(spec.character))
    write_bytes(home / "speech.wav", _wav_bytes(speech))
    write_bytes(home / "prompt.txt", f"{spec.character.prompt()}\n".encode())
    write_bytes(home / "transcript.txt", f"{transcript}\n".encode())
    content = make_truth(spec, speech)
    write_bytes(truth_path, truth_bytes(content))
    box = face_box([spec.character], neutral_frame())[0, 0].tolist()
    sample = Sample(
        id=spec.id,
        image=FileEntry.of(folder, home / "reference.png"),
        audio=FileEntry.of(folder, home / "speech.wav"),
        prompt=FileEntry.of(folder, home / "prompt.txt"),
        transcript=FileEntry.of(folder, home / "transcript.txt"),
        truth_file=FileEntry.of(folder, truth_path),
        duration_s=speech.duration_s,
        frames=content.frames,
        fps=FPS,
        style=spec.style,
        composition=spec.composition,
        licence=LICENCES,
        face_box=tuple(round(value, _FACE_BOX_DIGITS) for value in box),
        folder=folder,
    )
    write_json(_note_path(spec, folder), {"fingerprint": _made_from(spec), "sample": sample.to_record()})
    return sample


def _noted_sample(spec: SampleSpec, folder: Path) -> Sample | None:
    """The sample if an earlier build finished it from the same spec and its files are intact."""
    try:
        note = json.loads(_note_path(spec, folder).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if note.get("fingerprint") != _made_from(spec):
        return None
    sample = Sample.from_record(note["sample"], folder)
    try:
        for entry in sample.files():
            entry.check_hash(folder)
    except DamagedSetError:
        return None
    return sample


def _finished_set(specs: SetSpec, folder: Path) -> Manifest | None:
    """The set if it is already complete; another set in the same folder is an error."""
    if not (folder / MANIFEST_NAME).exists():
        return None
    try:
        manifest = load_manifest(folder)
    except DamagedSetError:
        _refuse_other_set(specs, folder)
        return None
    if manifest.spec_fingerprint != specs.fingerprint():
        _refuse_other_set(specs, folder)
    return manifest


def _refuse_other_set(specs: SetSpec, folder: Path) -> None:
    try:
        record = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        found, what = record["spec_fingerprint"], f"{record['name']} ({record['suite']}) of seed {record['seed']}"
    except (ValueError, KeyError, TypeError):
        found, what = None, "a manifest.json that cannot be read"
    if found != specs.fingerprint():
        raise ValueError(f"{folder} holds {what}, not the set asked for; choose another folder or delete this one")


def _note_path(spec: SampleSpec, folder: Path) -> Path:
    return folder / _NOTES / f"{spec.id}.json"


def _made_from(spec: SampleSpec) -> str:
    return f"{__version__}/{library_version()}/{spec.fingerprint()}"


def _png_bytes(character: Character) -> bytes:
    from PIL import Image

    from genbench.world import render

    pixels = render([character], neutral_frame(), height=REFERENCE_HEIGHT, width=REFERENCE_WIDTH)[0, 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _wav_bytes(speech: Speech) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speech.sample_rate_hz)
        file.writeframes(to_int16(speech.samples).astype("<i2").tobytes())
    return buffer.getvalue()
