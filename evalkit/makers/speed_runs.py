"""Measures speed in a fresh process: clips thrown away first, then repeats whose timelines are kept."""

from __future__ import annotations

import os
import shutil
import wave
from dataclasses import replace
from pathlib import Path

from evalkit import experiments, speed
from evalkit.busy import OtherWork
from evalkit.capabilities import PROBE
from evalkit.datasets import LoadedSet
from evalkit.definition import MethodInfo
from evalkit.experiments import SpeedProtocol
from evalkit.jobs import Part, WorkItem
from evalkit.makers.base import Maker, new_record, plain_inputs
from evalkit.makers.streaming import probe_streaming
from evalkit.methods.base import FROM_CLIPS, RIVAL, TIMELINE, Generation, Inputs
from evalkit.names import slug
from evalkit.records import DONE, GENERATE, INVALID, Key, Record


class SpeedMaker(Maker):
    """One speed record per method."""

    def make(self, item: WorkItem) -> list[Record]:
        """Run the protocol and read the timelines."""
        part, protocol = item.parts[0], self.definition.speed
        if protocol is None:
            raise ValueError("this run's definition has no speed protocol")
        if part.key.scenario == PROBE:
            given = plain_inputs(next(iter(self.loaded_set(protocol.dataset).samples.values())), protocol.dataset)
            return [probe_streaming(self, part, given)]
        info = self.definition.method(part.key.method)
        if info is not None and info.speed == FROM_CLIPS:
            return [self._from_clips(part, info)]
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

    def _from_clips(self, part: Part, info: MethodInfo) -> Record:
        """No clip of its own: what the timelines of the method's finished clips say, long clips before short ones."""
        assert self.definition.speed is not None
        first = self.definition.speed.dataset
        names = sorted((one.name for one in self.definition.datasets), key=lambda name: name != first)
        for name in names:
            protocol = replace(experiments.FROM_CLIPS, dataset=name)
            if info.kind == RIVAL:
                protocol = replace(protocol, others_share=1.0)  # another's system works on devices of its own
            found = [one for one in self._done_clips(part.key.method, name) if one.artefacts]
            repeats, fps = self._timed(found)
            if repeats:
                outputs = speed.summarise(repeats, replace(protocol, repeats=len(repeats)), fps)
                record = new_record(part, DONE if outputs["verdict"] == speed.VALID else INVALID)
                record.outputs = {**outputs, "clips": [one.key.label() for one in found]}
                record.outputs["machine"] = {"cpus": os.cpu_count(), "gpus": _gpus(found)}
                record.cost = {"load_s": found[0].cost.get("load_s")}
                return record
        raise FileNotFoundError("no finished clip of this method has a timeline, so its speed is not known")

    def _done_clips(self, method: str, dataset: str) -> list[Record]:
        info = self.definition.dataset(dataset)
        samples = [sample.id for sample in info.samples] if info else []
        keys = [Key(GENERATE, method, dataset, sample, seed) for sample in samples for seed in self.definition.seeds]
        found = [self.store.read(key) for key in keys]
        return [one for one in found if one is not None and one.status in (DONE, INVALID)]

    def _timed(self, records: list[Record]) -> tuple[list[speed.Speed], float]:
        """The speed of each clip that has a timeline, and the rate at which they play."""
        repeats, fps = [], 0.0
        for record in records:
            timeline = self.store.path(f"{record.key.artefact_dir}/{TIMELINE}")
            if timeline.is_file():
                fps = float(record.outputs["fps"])
                made = speed.measure(speed.read_timeline(timeline), fps, warmup_blocks=0)
                repeats.append(replace(made, others_share=record.cost.get("others_share")))
        return repeats, fps

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
        given = plain_inputs(list(whole.samples.values())[number % len(whole.samples)], whole.name)
        short = self.store.path(f"cache/speed/{slug(whole.name)}/{slug(given.id)}-{length_s:g}s{given.audio.suffix}")
        if not short.is_file():
            cut_voice(given.audio, length_s, short)
        return replace(given, audio=short)


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


def _gpus(records: list[Record]) -> int | None:
    """How many devices a system ran on, where its adapter tells: figures compare per device only."""
    return next((one.outputs["details"].get("gpus") for one in records if one.outputs.get("details")), None)


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
