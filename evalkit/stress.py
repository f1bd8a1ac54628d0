"""A stress stream and its segments: the voice repeated to any length, and the spans that are scored as clips."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evalkit import datasets
from evalkit.catalogue import segment_name
from evalkit.datasets import LoadedSet, Sample, SampleSet, register_dataset
from evalkit.definition import DatasetInfo, SampleInfo
from evalkit.experiments import Segments
from evalkit.fingerprint import digest, file_sha256
from evalkit.store import write_text

PIECE_S = 0.48
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
    return infos


def repeated_voice(path: Path, length_s: float, piece_s: float = PIECE_S) -> Iterator[np.ndarray]:
    """A WAV file's samples, float32, over and over until `length_s`, in pieces; memory does not grow."""
    with wave.open(str(path), "rb") as file:
        rate, left = file.getframerate(), round(length_s * file.getframerate())
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


def _cut_segment(run: Path, name: str, span: tuple[int, int], source: str, sample: SampleInfo) -> None:
    """Write the segment's slice of the repeated voice, for reports and listeners."""
    folder = datasets.folder_of(run, name)
    target, manifest = folder / f"{sample.id}.wav", folder / "manifest.json"
    known = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    if target.is_file() and sample.id in known.get("samples", []):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with wave.open(str(run / sample.audio), "rb") as reader, wave.open(str(target), "wb") as writer:
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
    content = {
        "schema_version": 1,
        "name": name,
        "source": source,
        "span_s": list(span),
        "samples": [sample.id],
        "audio_sha256": file_sha256(target),
    }
    write_text(manifest, json.dumps(content, indent=1) + "\n")
