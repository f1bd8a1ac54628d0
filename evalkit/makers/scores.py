"""Scores one video per item: features once for all metrics, kept in files, then the arithmetic of each metric."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evalkit import measures
from evalkit.definition import MetricInfo
from evalkit.errors import brief, is_disk_full
from evalkit.jobs import Part, WorkItem
from evalkit.makers.base import Maker, new_record
from evalkit.methods.base import VIDEO
from evalkit.metric_setup import MetricSetup
from evalkit.names import slug
from evalkit.records import DONE, FAILED, Failure, Key, Record, dumps
from evalkit.store import write_stream, write_text

SOURCE = "_source"
CANARIES = "canaries.json"
Arrays = dict[str, np.ndarray]


class ScoreMaker(Maker):
    """All scores that are due for a video."""

    _canaries: list[dict[str, Any]] | None = None

    def make(self, item: WorkItem) -> list[Record]:
        """Extract what is not on disk yet, then score."""
        infos = {part.key.metric: self._info(part.key.metric) for part in item.parts}
        self.check_canaries()
        features = self._features(item.parts[0], list(infos.values()))
        return [self._score(part, infos[part.key.metric], features) for part in item.parts]

    def check_canaries(self) -> None:
        """Once per process: every metric of the run on a clip whose scores are known; kept in the run folder.

        Raises ArithmeticError naming the metrics that fail: a number that cannot be trusted is not made.
        """
        if self._canaries is None:
            from evalkit.metrics.canaries import FAIL, check_canaries

            measured = [*self.definition.measured(), *self.definition.measured_sets()]
            self._canaries = check_canaries([info.name for info in measured], self.definition.metric_setup)
            write_text(self.store.path(CANARIES), dumps(self._canaries))
            failed = [one["message"] for one in self._canaries if one["state"] == FAIL]
            if failed:
                self._canaries = None
                raise ArithmeticError("canary: " + "; ".join(failed))

    def _info(self, name: str) -> MetricInfo:
        info = self.definition.metric(name)
        if info is None:
            raise KeyError(f"metric {name} is not part of this run's definition")
        return info

    def _features(self, part: Part, infos: list[MetricInfo]) -> dict[str, Arrays]:
        """Arrays by extractor: from files whose source is this very video, else extracted now."""
        return self.features_of(part.key, part.inputs["video"], part.inputs["sample"], infos)

    def features_of(self, key: Key, video_sha256: str, sample: Any, infos: list[MetricInfo]) -> dict[str, Arrays]:
        """Arrays by extractor of a clip's video; what is not on disk yet is extracted in one pass and kept."""
        setup = self.definition.metric_setup
        sources = {
            name: _source(info, name, video_sha256, sample, setup) for info in infos for name in info.extractors
        }
        found: dict[str, Arrays] = {}
        for name, source in sources.items():
            arrays = read_features(self.store.path(features_path(name, key, source)), source)
            if arrays is not None:
                found[name] = arrays
        left = [name for name in sources if name not in found]
        if left:
            video = self.store.path(f"{key.artefact_dir}/{VIDEO}")
            made = measures.extract(video, self._entry(key), [info.name for info in infos], left, setup)
            for name in left:
                write_features(self.store.path(features_path(name, key, sources[name])), made[name], sources[name])
            found.update(made)
        return found

    def place_of(self, info: MetricInfo, extractor: str, key: Key) -> str:
        """Where the features that `features_of` found or made lie in the run folder."""
        return features_path(extractor, key, {"backbone_kind": info.backbone.get("kind")})

    def _score(self, part: Part, info: MetricInfo, features: Mapping[str, Arrays]) -> Record:
        given = {name: features[name] for name in info.extractors}
        record, score = self.judged(part, info, given, self._entry(part.key))
        if score is not None:
            record.outputs["series"] = {
                name: {"t_s": _floats(times), "value": _floats(values)} for name, (times, values) in score.series.items()
            }
            record.artefacts = [self.store.artefact(self.place_of(info, name, part.key)) for name in info.extractors]
        return record

    def judged(self, part: Part, info: MetricInfo, *given: Any) -> tuple[Record, Any]:
        """The record of what a metric makes of its inputs, and the score itself; None where the metric raised."""
        metric: Any = measures.get_metric(info.name, self.definition.metric_setup)
        try:
            score = metric.score(*given)
        except Exception as error:
            if is_disk_full(error):
                raise
            record = new_record(part, FAILED)
            record.error = Failure(type(error).__name__, brief(error))
            return record, None
        record = new_record(part, DONE)
        record.outputs = {
            "value": score.value,
            "reason": score.reason,
            "unit": info.unit,
            "direction": info.direction,
            "backbone": info.backbone,
            "details": score.details,
        }
        return record, score

    def _entry(self, key: Key) -> Any:
        sample = self.loaded_set(key.dataset).samples[key.sample]
        return sample.entry if sample.entry is not None else sample


def features_path(extractor: str, key: Key, source: Mapping[str, Any]) -> str:
    """Where the features of a clip lie in the run folder; those of official networks lie beside the nano ones."""
    kind = "-official" if source.get("backbone_kind") == "official" else ""
    return f"features/{slug(extractor)}{kind}/{slug(key.method)}/{slug(key.dataset)}/{key.clip}.npz"


def write_features(path: Path, arrays: Mapping[str, np.ndarray], source: Mapping[str, Any]) -> None:
    """Keep arrays with a note of what they were made from; the same arrays give the same bytes."""
    note = np.frombuffer(json.dumps(source, sort_keys=True).encode(), np.uint8)
    content: dict[str, Any] = {SOURCE: note, **dict(sorted(arrays.items()))}
    write_stream(path, lambda file: np.savez_compressed(file, **content))  # not in memory: streams are long


def read_features(path: Path, source: Mapping[str, Any]) -> Arrays | None:
    """Arrays from a file, or None when it is missing, damaged or made from something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    note = arrays.pop(SOURCE, None)
    if note is None or note.tobytes() != json.dumps(source, sort_keys=True).encode():
        return None
    return arrays


def _source(info: MetricInfo, extractor: str, video_sha256: str, sample: Any, setup: MetricSetup) -> dict[str, Any]:
    return {
        "extractor": extractor,
        "version": measures.extractor_version(info.name, extractor, setup),
        "backbone": info.backbone.get("digest"),
        "backbone_kind": info.backbone.get("kind"),
        "video": video_sha256,
        "sample": sample,
    }


def _floats(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]
