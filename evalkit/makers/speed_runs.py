"""Measures speed in a fresh process: clips thrown away first, then repeats whose timelines are kept."""

from __future__ import annotations

import os
import shutil
import wave
from dataclasses import replace
from pathlib import Path

from evalkit import speed
from evalkit.busy import OtherWork
from evalkit.datasets import LoadedSet
from evalkit.experiments import SpeedProtocol
from evalkit.jobs import WorkItem
from evalkit.makers.base import Maker, new_record, plain_inputs
from evalkit.methods.base import TIMELINE, Generation, Inputs
from evalkit.names import slug
from evalkit.records import DONE, INVALID, Record


class SpeedMaker(Maker):
    """One speed record per method."""

    def make(self, item: WorkItem) -> list[Record]:
        """Run the protocol and read the timelines."""
        part, protocol = item.parts[0], self.definition.speed
        if protocol is None:
            raise ValueError("this run's definition has no speed protocol")
        made = self.store.temporary(part.key.artefact_dir)
        load_before = load_average()
        try:
            generations, shares = self._clips(part.key.method, protocol, made)
            repeats = [
                replace(_measure(made / f"repeat{number}" / TIMELINE, one, protocol), others_share=share)
                for number, (one, share) in enumerate(zip(generations, shares, strict=True), 1)
            ]
            artefacts = self.store.publish(made, part.key.artefact_dir)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        playback_fps = generations[0].fps if generations else 0.0
        outputs = speed.summarise(repeats, protocol, playback_fps)
        record = new_record(part, DONE if outputs["verdict"] == speed.VALID else INVALID)
        record.artefacts, record.outputs = artefacts, outputs
        record.outputs["machine"] = {"cpus": os.cpu_count(), "load_average_before": load_before}
        record.cost = {"load_s": self.load_s.get(part.key.method)}
        return [record]

    def _clips(self, method: str, protocol: SpeedProtocol, made: Path) -> tuple[list[Generation], list[float | None]]:
        """The repeats, and what share of the processors others took during each."""
        session = self.session(method)
        whole = self.loaded_set(protocol.dataset)
        for number in range(protocol.discarded_clips):
            folder = made / f"discarded{number + 1}"
            folder.mkdir()
            session.generate(self._cut_inputs(whole, number, protocol.discarded_s), 0, folder)
            shutil.rmtree(folder)
        generations, shares = [], []
        for number in range(protocol.repeats):
            folder = made / f"repeat{number + 1}"
            folder.mkdir()
            inputs = self._cut_inputs(whole, number, protocol.clip_s)
            with OtherWork() as others:
                generations.append(session.generate(inputs, 0, folder))
            shares.append(others.share)
            for path in folder.iterdir():
                if path.name != TIMELINE:
                    path.unlink()
        return generations, shares

    def _cut_inputs(self, whole: LoadedSet, number: int, length_s: float) -> Inputs:
        """The first `length_s` of one of the set's samples, taken in turn."""
        given = plain_inputs(list(whole.samples.values())[number % len(whole.samples)])
        short = self.store.path(f"cache/speed/{slug(whole.name)}/{slug(given.id)}-{length_s:g}s{given.audio.suffix}")
        if not short.is_file():
            cut_voice(given.audio, length_s, short)
        return Inputs(given.id, given.image, short, given.prompt)


def cut_voice(source: Path, length_s: float, out: Path) -> None:
    """The beginning of a WAV file; anything else is used whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    if source.suffix.lower() != ".wav":
        shutil.copyfile(source, partial)
    else:
        with wave.open(str(source), "rb") as reader, wave.open(str(partial), "wb") as writer:
            writer.setparams(reader.getparams())
            writer.writeframes(reader.readframes(round(length_s * reader.getframerate())))
    os.replace(partial, out)


def load_average() -> float | None:
    """How busy the machine was just before, where the system tells: a busy machine makes slow numbers."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _measure(timeline: Path, generation: Generation, protocol: SpeedProtocol) -> speed.Speed:
    if not timeline.is_file():
        raise FileNotFoundError(f"the method wrote no {TIMELINE}, so its speed cannot be measured")
    return speed.measure(speed.read_timeline(timeline), generation.fps, protocol.warmup_blocks)
