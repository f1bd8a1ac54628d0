"""A run folder read into memory: tolerant of what is absent, strict about what is a number.

This file knows the layout of a run folder and nothing about the page.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

Json = dict[str, Any]
SEED_SUFFIX = re.compile(r"^(?P<sample>.*)\.s(?P<seed>\d+)$")


@dataclass(frozen=True)
class Method:
    """One row: the system under test, a control, an ablation, another's scheme re-implemented (paradigm) or a rival."""

    name: str
    title: str
    kind: str = "system"
    version: str = ""


@dataclass(frozen=True)
class Metric:
    """One column, with the network (backbone) that measures it, if any."""

    name: str
    title: str
    unit: str = ""
    direction: str = "none"
    digits: int = 2
    backbone: Json = field(default_factory=dict)

    @property
    def is_nano(self) -> bool:
        """True when a small stand-in network measures this column."""
        return "nano" in f"{self.backbone.get('kind', '')} {self.backbone.get('name', '')}".lower()


@dataclass(frozen=True)
class Sample:
    """One picture and voice; the paths are relative to the run folder."""

    name: str
    style: str = ""
    composition: str = ""
    duration_s: float | None = None
    image: str = ""
    audio: str = ""
    transcript: str = ""


@dataclass(frozen=True)
class Dataset:
    """One test set and its samples, in the definition's order."""

    name: str
    title: str
    digest: str = ""
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Clip:
    """Names one generated video."""

    method: str
    dataset: str
    sample: str
    seed: int = 0


@dataclass
class Run:
    """Everything the page is made from."""

    root: Path
    experiment: Json
    methods: dict[str, Method]
    metrics: dict[str, Metric]
    datasets: dict[str, Dataset]
    cells: list[Json] = field(default_factory=list)
    generate: dict[Clip, Json] = field(default_factory=dict)
    scores: dict[tuple[str, Clip], Json] = field(default_factory=dict)
    speed: list[tuple[str, str, Json]] = field(default_factory=list)
    drift: list[Json] = field(default_factory=list)
    paired: list[Json] = field(default_factory=list)
    best: list[Json] = field(default_factory=list)
    slopes: list[Json] = field(default_factory=list)
    claims: list[Json] = field(default_factory=list)
    positions: list[Json] = field(default_factory=list)
    memory: list[Json] = field(default_factory=list)
    environments: dict[str, Json] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """The seed whose videos are shown."""
        return int((self.experiment.get("seeds") or [0])[0])

    @property
    def system(self) -> Method | None:
        """The method the page is about: the first system, else the first that is not a control."""
        kinds = ("system", "ablation", "paradigm", "rival")
        ranked = sorted((m for m in self.methods.values() if m.kind in kinds), key=lambda m: kinds.index(m.kind))
        return ranked[0] if ranked else None

    def records(self) -> Iterator[tuple[str, Json]]:
        """Every record with a readable label, in a fixed order."""
        for clip, record in self.generate.items():
            yield f"generate {clip.method} / {clip.dataset} / {clip.sample} seed {clip.seed}", record
        for (metric, clip), record in self.scores.items():
            yield f"score {metric} / {clip.method} / {clip.dataset} / {clip.sample} seed {clip.seed}", record
        for method, scenario, record in self.speed:
            yield f"speed {method} / {scenario}", record

    def score(self, metric: str, method: str, dataset: str, sample: str) -> float | None:
        """Mean over seeds of the measured values of one sample; None when nothing was measured."""
        values = [
            number(self.scores[key].get("value"))
            for seed in self.experiment.get("seeds") or [0]
            if (key := (metric, Clip(method, dataset, sample, int(seed)))) in self.scores
            and self.scores[key].get("status") == "done"
        ]
        measured = [value for value in values if value is not None]
        return sum(measured) / len(measured) if measured else None

    def has_scores(self, metric: str, dataset: str | None = None) -> bool:
        """True when at least one sample (of the dataset) has a value of this metric."""
        return any(
            name == metric and dataset in (None, clip.dataset) and number(record.get("value")) is not None
            for (name, clip), record in self.scores.items()
        )

    def folder(self, clip: Clip) -> Path:
        """Where the video and timeline of a clip lie."""
        return self.root / "artefacts" / clip.method / clip.dataset / f"{clip.sample}.s{clip.seed}"

    def inside(self, relative: str) -> Path | None:
        """A file named by the definition, or None when absent or outside the run folder."""
        pure = PurePosixPath(relative or "")
        if not relative or pure.is_absolute() or ".." in pure.parts:
            return None
        path = self.root / pure
        return path if path.is_file() else None


def number(value: Any) -> float | None:
    """A finite float, or None for anything else: booleans, text, NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def error_of(record: Json) -> Json:
    """The error block of a record; empty when it has none."""
    error = record.get("error")
    return error if isinstance(error, dict) else {}


def load(root: Path) -> Run:
    """Read a run folder; only ``experiment.json`` must be there."""
    root = Path(root)
    definition = root / "experiment.json"
    if not definition.is_file():
        raise ValueError(f"{root} holds no experiment.json; give the run folder that `evalkit run` wrote")
    try:
        experiment = json.loads(definition.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{definition} is not readable JSON ({error}); run `evalkit run` again") from error
    if not isinstance(experiment, dict):
        raise ValueError(f"{definition} must hold one JSON object")
    return _Reader(root, experiment).run


class _Reader:
    """Fills a Run file by file and notes what was absent or unreadable."""

    def __init__(self, root: Path, experiment: Json) -> None:
        self.run = Run(root, experiment, _methods(experiment), _metrics(experiment), _datasets(experiment))
        self._tables()
        self._records()
        self._adopt_unlisted()

    def _tables(self) -> None:
        run = self.run
        run.cells = self._list("table/cells.json", "the table cells")
        run.drift = self._list("stats/drift.json", "quality over time")
        run.paired = self._list("stats/paired.json", "paired differences")
        names = ("best", "slopes", "claims", "positions")
        run.best, run.slopes, run.claims, run.positions = (self._optional(f"stats/{name}.json") for name in names)
        memory = self._json("stats/memory.json")
        run.memory = memory if isinstance(memory, list) else [memory] if isinstance(memory, dict) else []
        for path in sorted((run.root / "env").glob("*.json")):
            content = self._json(path.relative_to(run.root).as_posix())
            if isinstance(content, dict):
                run.environments[path.stem] = content
        if not run.environments:
            run.missing.append("env/ holds no environment block")

    def _records(self) -> None:
        run = self.run
        for parts, record in self._walk("generate", 3):
            run.generate[_clip(parts)] = record
        for parts, record in self._walk("score", 4):
            run.scores[(parts[0], _clip(parts[1:]))] = record
        for parts, record in self._walk("speed", 2):
            run.speed.append((parts[0], parts[1], record))
        for kind, found in (("generate", run.generate), ("score", run.scores), ("speed", run.speed)):
            if not found:
                run.missing.append(f"records/{kind}/ holds no record")

    def _walk(self, kind: str, depth: int) -> Iterator[tuple[tuple[str, ...], Json]]:
        base = self.run.root / "records" / kind
        for path in sorted(base.glob("/".join(["*"] * (depth - 1) + ["*.json"]))):
            content = self._json(path.relative_to(self.run.root).as_posix())
            if isinstance(content, dict):
                yield (*path.relative_to(base).parts[:-1], path.name[: -len(".json")]), content

    def _list(self, relative: str, meaning: str) -> list[Json]:
        content = self._json(relative)
        if isinstance(content, dict):
            content = content.get("cells") or content.get("items")
        if isinstance(content, list):
            return [item for item in content if isinstance(item, dict)]
        self.run.missing.append(f"{relative} ({meaning}) is absent or not a list")
        return []

    def _optional(self, relative: str) -> list[Json]:
        """As `_list`, for files that older runs do not have."""
        content = self._json(relative)
        return [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []

    def _json(self, relative: str) -> Any:
        path = self.run.root / relative
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError):
            self.run.missing.append(f"{relative} could not be read as JSON")
            return None

    def _adopt_unlisted(self) -> None:
        """Methods, metrics and datasets that occur in cells or records but not in the definition."""
        run = self.run
        for cell in run.cells:
            self._adopt(cell.get("method"), cell.get("metric"), cell.get("dataset"))
        for clip in run.generate:
            has_video = (run.folder(clip) / "video.mp4").is_file()
            self._adopt(clip.method, None, clip.dataset if has_video else None)
        for name, dataset in run.datasets.items():
            if not dataset.samples:
                seen = dict.fromkeys(clip.sample for clip in run.generate if clip.dataset == name)
                run.datasets[name] = replace(dataset, samples=tuple(Sample(sample) for sample in seen))

    def _adopt(self, method: Any, metric: Any, dataset: Any) -> None:
        if method and str(method) not in self.run.methods:
            self.run.methods[str(method)] = Method(str(method), str(method), "rival")
        if metric and str(metric) not in self.run.metrics:
            self.run.metrics[str(metric)] = Metric(str(metric), str(metric))
        if dataset and str(dataset) not in self.run.datasets:
            self.run.datasets[str(dataset)] = Dataset(str(dataset), str(dataset))


def read_timeline(path: Path) -> list[Json]:
    """The ``span`` lines of a timeline with usable times; unreadable lines are left out."""
    if not path.is_file():
        return []
    spans = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if not isinstance(event, dict) or event.get("event") != "span":
            continue
        if number(event.get("begin_s")) is not None and number(event.get("end_s")) is not None:
            spans.append(event)
    return spans


def _clip(parts: tuple[str, ...]) -> Clip:
    match = SEED_SUFFIX.match(parts[2])
    if match:
        return Clip(parts[0], parts[1], match["sample"], int(match["seed"]))
    return Clip(parts[0], parts[1], parts[2])


def _items(experiment: Json, name: str) -> list[Json]:
    return [item for item in experiment.get(name) or [] if isinstance(item, dict) and item.get("name")]


def _text(item: Json, name: str, default: str = "") -> str:
    value = item.get(name)
    return default if value is None else str(value)


def _methods(experiment: Json) -> dict[str, Method]:
    return {
        str(m["name"]): Method(
            str(m["name"]), _text(m, "title", str(m["name"])), _text(m, "kind", "system"), _text(m, "version")
        )
        for m in _items(experiment, "methods")
    }


def _metrics(experiment: Json) -> dict[str, Metric]:
    made = {}
    for m in _items(experiment, "metrics"):
        name, digits, backbone = str(m["name"]), number(m.get("digits")), m.get("backbone")
        made[name] = Metric(
            name,
            _text(m, "title", name),
            _text(m, "unit"),
            _text(m, "direction", "none"),
            2 if digits is None else int(digits),
            backbone if isinstance(backbone, dict) else {"name": str(backbone)} if backbone else {},
        )
    return made


def _datasets(experiment: Json) -> dict[str, Dataset]:
    return {
        str(d["name"]): Dataset(
            str(d["name"]),
            _text(d, "title", str(d["name"])),
            _text(d, "digest"),
            tuple(_sample(s) for s in d.get("samples") or [] if isinstance(s, dict) and s.get("id")),
        )
        for d in _items(experiment, "datasets")
    }


def _sample(s: Json) -> Sample:
    return Sample(
        str(s["id"]),
        _text(s, "style"),
        _text(s, "composition"),
        number(s.get("duration_s")),
        _text(s, "image"),
        _text(s, "audio"),
        _text(s, "transcript"),
    )
