"""Records that are read from what is there: speed from the timelines of a method's own clips, and whether it streams."""

from __future__ import annotations

import os
from dataclasses import replace

from evalkit import speed
from evalkit.capabilities import CLIPS, PROBE
from evalkit.definition import MethodInfo
from evalkit.experiments import from_clips
from evalkit.jobs import Part, WorkItem
from evalkit.makers.base import Maker, new_record, plain_inputs
from evalkit.makers.streaming import probe_streaming
from evalkit.methods.base import RIVAL, TIMELINE
from evalkit.records import DONE, GENERATE, INVALID, Key, Record


class ReadingMaker(Maker):
    """One record per method and reading."""

    def make(self, item: WorkItem) -> list[Record]:
        """The reading that the record's scenario names."""
        part, protocol = item.parts[0], self.definition.speed
        if protocol is None:
            raise ValueError("this run's definition has no speed protocol")
        if part.key.scenario == PROBE:
            given = plain_inputs(next(iter(self.loaded_set(protocol.dataset).samples.values())), protocol.dataset)
            return [probe_streaming(self, part, given)]
        assert part.key.scenario == CLIPS
        info = self.definition.method(part.key.method)
        assert info is not None
        return [self._speed(part, info)]

    def _speed(self, part: Part, info: MethodInfo) -> Record:
        """No clip of its own: what the timelines of the method's finished clips say, the speed protocol's set first."""
        assert self.definition.speed is not None
        first = self.definition.speed.dataset
        for name in sorted((one.name for one in self.definition.datasets), key=lambda name: name != first):
            protocol = from_clips(self.definition.speed, name)
            if info.kind == RIVAL:
                protocol = replace(protocol, others_share=1.0)  # another's system works on devices of its own
            found = self._done_clips(part.key.method, name)
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


def _gpus(records: list[Record]) -> int | None:
    """How many devices a system ran on, where its adapter tells: figures compare per device only."""
    return next((one.outputs["details"].get("gpus") for one in records if one.outputs.get("details")), None)
