"""What all makers share: the run's definition, its sets and the sessions of its methods, each loaded once."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path

from evalkit.datasets import LoadedSet, Sample, load_set
from evalkit.definition import Definition, load_definition
from evalkit.generator import configured_method
from evalkit.jobs import Part, WorkItem
from evalkit.methods import get_method
from evalkit.methods.base import CONTROL, ControlInputs, Inputs, Session
from evalkit.names import slug
from evalkit.records import Record
from evalkit.store import Store
from evalkit.stress import register_segments


class Maker(ABC):
    """Makes the records of one item; errors are for the worker to record."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.definition: Definition = load_definition(store.root)
        if self.definition.stress is not None:
            register_segments(store.root)
        self._sets: dict[str, LoadedSet] = {}
        self._sessions: dict[str, Session] = {}
        self.load_s: dict[str, float] = {}

    @abstractmethod
    def make(self, item: WorkItem) -> list[Record]:
        """The finished records of one item; artefacts are in place when it returns."""

    def loaded_set(self, name: str) -> LoadedSet:
        """A test set, read once."""
        if name not in self._sets:
            self._sets[name] = load_set(self.store.root, name)
        return self._sets[name]

    def session(self, method: str) -> Session:
        """A method's session, loaded once."""
        if method not in self._sessions:
            clock = time.monotonic()
            configured = configured_method(method, self.definition.generator)
            self._sessions[method] = configured.load(self.definition.profile)
            self.load_s[method] = round(time.monotonic() - clock, 3)
        return self._sessions[method]

    def inputs(self, method: str, dataset: str, sample_id: str) -> Inputs:
        """What the method is given: truth only for control rows."""
        whole = self.loaded_set(dataset)
        sample = whole.samples[sample_id]
        if get_method(method).kind != CONTROL:
            return plain_inputs(sample, dataset)
        return ControlInputs(
            id=sample.info.id,
            image=sample.image,
            audio=sample.audio,
            prompt=sample.prompt,
            dataset=dataset,
            entry=sample.entry,
            other_audio=whole.next_of(sample_id).audio,
            pictures=self._pictures(dataset, sample),
        )

    def _pictures(self, dataset: str, sample: Sample) -> Path:
        # The digest in the name keeps pictures of an older build of the set from being shown.
        mark = (sample.info.truth_digest or sample.info.digest)[:16]
        return self.store.path(f"cache/pictures/{slug(dataset)}/{slug(sample.info.id)}-{mark}.mp4")


def plain_inputs(sample: Sample, dataset: str = "") -> Inputs:
    """Picture, voice, prompt and id, and the set's name: nothing else."""
    return Inputs(sample.info.id, sample.image, sample.audio, sample.prompt, dataset)


def new_record(part: Part, status: str) -> Record:
    """A record of a part's key, before its outputs."""
    return Record(part.key, part.fingerprint, status, part.inputs, attempts=part.attempts + 1)
