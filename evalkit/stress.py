"""A stress stream and its segments: the voice repeated to any length, and the spans that are scored as clips."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from evalkit import datasets
from evalkit.catalogue import segment_name
from evalkit.datasets import LoadedSet, Sample, SampleSet, register_dataset
from evalkit.definition import DatasetInfo, SampleInfo
from evalkit.experiments import WINDOW_S, Segments
from evalkit.fingerprint import digest, file_sha256
from evalkit.plan import STRESS_WINDOWS, window_sample
from evalkit.store import write_text

PIECE_S = 30.24
"""63 blocks: the last of a piece is decoded with nothing beside it, so pieces are many blocks; two reach a part's length."""
INT16_SCALE = 32_768.0


def prepare_segments(run: Path, segments: Segments, source: DatasetInfo, build: bool) -> list[DatasetInfo]:
    """One set per segment, with the first chosen sample of the source; empty where the stream does not reach."""
    samples = source.samples[:1]
    infos = []
    for span in segments.spans_s:
        name, title = segment_name(span), f"{span[0]}-{span[1]} s"
        if span not in segments.fitting():
            infos.append(DatasetInfo(name, title, "", 0, ()))
            continue
        _register(name, span, segments.source)
        if build and samples:
            _cut_segment(run, name, span, segments.source, samples[0])
        chosen = tuple(_segment_info(name, span, sample) for sample in samples)
        infos.append(DatasetInfo(name, title, digest([source.digest, span]), 1, chosen))
    return [*infos, *_windows(run, segments, source, build)]


def _windows(run: Path, segments: Segments, source: DatasetInfo, build: bool) -> list[DatasetInfo]:
    """The windows of the drift curve as a set of their own, each a sample; their voices are cut when they are scored."""
    begins = segments.window_begins_s()
    if not begins:
        return []
    _register_windows(segments.source)
    if build and source.samples:
        content = {"schema_version": 1, "name": STRESS_WINDOWS, "source": segments.source}
        content |= {"samples": [source.samples[0].id], "begins_s": list(begins)}
        write_text(datasets.folder_of(run, STRESS_WINDOWS) / "manifest.json", json.dumps(content, indent=1) + "\n")
    chosen = tuple(_window_info(source.samples[0], begin) for begin in begins) if source.samples else ()
    title = f"The whole stream, in {len(begins)} windows"
    return [DatasetInfo(STRESS_WINDOWS, title, digest([source.digest, list(begins)]), len(begins), chosen)]


def _register_windows(source: str) -> None:
    def load(folder: Path) -> LoadedSet:
        content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        whole = datasets.load_set(folder.parents[1], source)
        sample = whole.samples[content["samples"][0]]
        samples = {}
        for begin_s in content["begins_s"]:
            info = _window_info(sample.info, begin_s)
            samples[info.id] = Sample(info, sample.image, folder / f"{info.id}.wav", sample.prompt, sample.entry)
        return LoadedSet(STRESS_WINDOWS, STRESS_WINDOWS, digest([whole.digest, content["begins_s"]]), samples)

    def refuse(folder: Path, suite: str, progress: object) -> None:
        raise NotImplementedError(f"{STRESS_WINDOWS} are cut from {source} by the stress experiment")

    register_dataset(STRESS_WINDOWS, lambda: SampleSet(STRESS_WINDOWS, STRESS_WINDOWS, {}, refuse, load))


def _window_info(sample: SampleInfo, begin_s: int) -> SampleInfo:
    span = (begin_s, begin_s + WINDOW_S)
    info = _segment_info(STRESS_WINDOWS, span, sample)
    name = window_sample(sample.id, begin_s)
    return replace(info, id=name, audio=f"datasets/{STRESS_WINDOWS}/{name}.wav")


def repeated_voice(path: Path, length_s: float, piece_s: float = PIECE_S, first: int = 0) -> Iterator[np.ndarray]:
    """A WAV file's samples, float32, over and over until `length_s`, in pieces; memory does not grow.

    first: the sample to begin with, counted over all repetitions.
    """
    with wave.open(str(path), "rb") as file:
        rate, left = file.getframerate(), round(length_s * file.getframerate()) - first
        file.setpos(first % file.getnframes())
        while left > 0:
            data = file.readframes(min(left, round(piece_s * rate)))
            if not data:
                file.rewind()
                continue
            samples = np.frombuffer(data, "<i2").astype(np.float32) / INT16_SCALE
            left -= len(samples)
            yield samples


def register_segments(run: Path) -> None:
    """Make the segments of a run known in this process (a worker starts without them)."""
    for manifest in sorted((run / "datasets").glob("stress_*/manifest.json")):
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if content["name"] == STRESS_WINDOWS:
            _register_windows(content["source"])
            continue
        _register(content["name"], tuple(content["span_s"]), content["source"])


def _register(name: str, span: tuple[int, int], source: str) -> None:
    def load(folder: Path) -> LoadedSet:
        whole = datasets.load_set(folder.parents[1], source)
        content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        samples = {one: _segment_sample(name, span, folder, whole.samples[one]) for one in content["samples"]}
        return LoadedSet(name, f"{span[0]}-{span[1]} s", digest([whole.digest, span]), samples)

    def refuse(folder: Path, suite: str, progress: object) -> None:
        raise NotImplementedError(f"{name} is cut from {source} by the stress experiment")

    register_dataset(name, lambda: SampleSet(name, name, {}, refuse, load))


def _segment_sample(name: str, span: tuple[int, int], folder: Path, sample: Sample) -> Sample:
    info = _segment_info(name, span, sample.info)
    return Sample(info, sample.image, folder / f"{sample.info.id}.wav", sample.prompt, sample.entry)


def _segment_info(name: str, span: tuple[int, int], sample: SampleInfo) -> SampleInfo:
    return SampleInfo(
        id=sample.id,
        digest=digest([sample.digest, list(span)]),
        duration_s=float(span[1] - span[0]),
        style=sample.style,
        composition=sample.composition,
        image=sample.image,
        audio=f"datasets/{name}/{sample.id}.wav",
        transcript="",
    )


def cut_repeated(voice: Path, span: tuple[int, int], out: Path) -> None:
    """The slice of the repeated voice that belongs to a span of the stream, as a WAV file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(voice), "rb") as reader, wave.open(str(out), "wb") as writer:
        rate, frames = reader.getframerate(), reader.getnframes()
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        at, left = round(span[0] * rate) % frames, round((span[1] - span[0]) * rate)
        while left > 0:
            reader.setpos(at)
            data = reader.readframes(min(left, frames - at))
            writer.writeframes(data)
            left -= len(data) // 2
            at = 0


def _cut_segment(run: Path, name: str, span: tuple[int, int], source: str, sample: SampleInfo) -> None:
    """Write the segment's slice of the repeated voice, for reports and listeners."""
    folder = datasets.folder_of(run, name)
    target, manifest = folder / f"{sample.id}.wav", folder / "manifest.json"
    known = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    if target.is_file() and sample.id in known.get("samples", []):
        return
    cut_repeated(run / sample.audio, span, target)
    content = {
        "schema_version": 1,
        "name": name,
        "source": source,
        "span_s": list(span),
        "samples": [sample.id],
        "audio_sha256": file_sha256(target),
    }
    write_text(manifest, json.dumps(content, indent=1) + "\n")
