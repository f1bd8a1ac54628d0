"""The resolved definition of a run: what `experiment.json` holds, enough to plan, score, draw and explain it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from evalkit.errors import PrerequisiteMissingError
from evalkit.experiments import Column, Row, Segments, SpeedProtocol, Table
from evalkit.generator import GeneratorSetup
from evalkit.metric_setup import MetricSetup
from evalkit.records import SCHEMA_VERSION, dumps
from evalkit.store import read_json, write_text

FILE = "experiment.json"


@dataclass(frozen=True)
class MethodInfo:
    """A method as it was when the run was defined. `identity` is what its fingerprint is made of.

    `is_left_out`: the user's selection, not a problem, keeps it from running. `gpus`: devices that one job of it occupies.
    `only_scenarios`: as `Method` has it.
    """

    name: str
    title: str
    kind: str
    version: str = ""
    identity: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    is_left_out: bool = False
    gpus: int = 0
    only_scenarios: tuple[str, ...] = ()

    @property
    def is_runnable(self) -> bool:
        """False for systems that only appear with the paper's numbers."""
        return self.kind != "rival" and not self.reason


@dataclass(frozen=True)
class SampleInfo:
    """One picture and voice; paths are relative to the run folder.

    `digest` covers all that a method is given; `truth_digest` and `next_digest` (the sample after this one) what
    control rows are given besides. `identity` names the picture: clips that share one are no independent samples.
    """

    id: str
    digest: str
    duration_s: float
    style: str = ""
    composition: str = ""
    image: str = ""
    audio: str = ""
    transcript: str = ""
    truth_digest: str = ""
    next_digest: str = ""
    identity: str = ""


@dataclass(frozen=True)
class DatasetInfo:
    """A test set: the chosen samples and the size of the whole set."""

    name: str
    title: str
    digest: str
    size: int
    samples: tuple[SampleInfo, ...]


@dataclass(frozen=True)
class MetricInfo:
    """A column: `reason` says why it cannot be measured, empty when it can."""

    name: str
    title: str
    unit: str = ""
    direction: str = "up"
    digits: int = 2
    version: str = ""
    extractors: tuple[str, ...] = ()
    backbone: dict[str, Any] = field(default_factory=dict)
    in_paper: bool = True
    reason: str = ""
    is_left_out: bool = False
    is_set: bool = False
    """One number for all videos of a method together, against the set's real videos."""


@dataclass(frozen=True)
class Definition:
    """Everything a run was asked to do, with names resolved and versions fixed."""

    name: str
    title: str
    suite: str
    profile: str
    seeds: tuple[int, ...]
    methods: tuple[MethodInfo, ...]
    datasets: tuple[DatasetInfo, ...]
    metrics: tuple[MetricInfo, ...]
    tables: tuple[Table, ...]
    limit: int | None = None
    partial: bool = False
    reference: str = "live_avatar"
    speed: SpeedProtocol | None = None
    stress: Segments | None = None
    positions: int = 0
    has_clips: bool = True
    packages: dict[str, str] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    generator: GeneratorSetup = field(default_factory=GeneratorSetup)
    metric_setup: MetricSetup = field(default_factory=MetricSetup)
    selection: dict[str, Any] = field(default_factory=dict)

    def runnable(self) -> list[MethodInfo]:
        """The methods that take part in this run."""
        return [method for method in self.methods if method.is_runnable]

    def clip_makers(self) -> list[MethodInfo]:
        """Those of them that make clips to be scored."""
        return [method for method in self.runnable() if not method.only_scenarios]

    def measured(self) -> list[MetricInfo]:
        """The metrics that score clips in this run."""
        return [metric for metric in self.metrics if metric.extractors and not metric.reason and not metric.is_set]

    def measured_sets(self) -> list[MetricInfo]:
        """The metrics that compare a method's videos with the real ones in this run."""
        return [metric for metric in self.metrics if metric.extractors and not metric.reason and metric.is_set]

    def method(self, name: str) -> MethodInfo | None:
        """The method called `name`, if this run knows it."""
        return next((one for one in self.methods if one.name == name), None)

    def metric(self, name: str) -> MetricInfo | None:
        """The metric called `name`, if this run knows it."""
        return next((one for one in self.metrics if one.name == name), None)

    def dataset(self, name: str) -> DatasetInfo | None:
        """The data set called `name`, if this run uses it."""
        return next((one for one in self.datasets if one.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """The content of `experiment.json`; tables name their columns and rows, whose details are listed apart."""
        content = asdict(self)
        content["tables"] = [_table_to_json(table) for table in self.tables]
        return {"schema_version": SCHEMA_VERSION, **content}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Definition:
        """Read what `to_json` wrote."""
        values = {one.name: content[one.name] for one in fields(cls) if one.name in content}
        values["seeds"] = tuple(content["seeds"])
        values["plugins"] = tuple(content.get("plugins", ()))
        values["generator"] = GeneratorSetup(**content.get("generator", {}))
        values["metric_setup"] = MetricSetup(**content.get("metric_setup", {}))
        values["methods"] = tuple(_method_from_json(one) for one in content["methods"])
        values["metrics"] = tuple(_metric_from_json(one) for one in content["metrics"])
        values["datasets"] = tuple(_dataset_from_json(one) for one in content["datasets"])
        values["tables"] = tuple(_table_from_json(one) for one in content["tables"])
        values["speed"] = _speed_from_json(content["speed"]) if content.get("speed") else None
        values["stress"] = _segments_from_json(content["stress"]) if content.get("stress") else None
        return cls(**values)


def save_definition(run: Path, definition: Definition) -> None:
    """Write `experiment.json`, unless it already says the same."""
    text = dumps(definition.to_json())
    path = run / FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def load_definition(run: Path) -> Definition:
    """Read `experiment.json` of a run folder."""
    content = read_json(run / FILE)
    if not isinstance(content, dict):
        raise PrerequisiteMissingError(
            f"{run} is not a run folder: {FILE} is missing or broken there; "
            "make one with: python -m evalkit run table2 --out " + str(run)
        )
    try:
        return Definition.from_json(content)
    except (KeyError, TypeError) as error:
        raise PrerequisiteMissingError(f"{run / FILE} was written by another version ({error}); run it again") from error


def unique_columns(tables: Iterable[Table]) -> list[Column]:
    """All columns of the tables, each metric once."""
    found: dict[str, Column] = {}
    for table in tables:
        for column in table.columns:
            found.setdefault(column.metric, column)
    return list(found.values())


def _table_to_json(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "title": table.title,
        "columns": [column.metric for column in table.columns],
        "rows": [row.method for row in table.rows],
        "datasets": list(table.datasets),
        "paper_table": table.paper_table,
        "by_dataset": table.by_dataset,
        "column_details": [asdict(column) for column in table.columns],
        "row_details": [asdict(row) for row in table.rows],
    }


def _table_from_json(content: Mapping[str, Any]) -> Table:
    return Table(
        name=content["name"],
        title=content["title"],
        columns=tuple(Column(**one) for one in content["column_details"]),
        rows=tuple(Row(**one) for one in content["row_details"]),
        datasets=tuple(content["datasets"]),
        paper_table=content["paper_table"],
        by_dataset=content["by_dataset"],
    )


def _method_from_json(content: Mapping[str, Any]) -> MethodInfo:
    return MethodInfo(**{**content, "only_scenarios": tuple(content.get("only_scenarios", ()))})


def _metric_from_json(content: Mapping[str, Any]) -> MetricInfo:
    return MetricInfo(**{**content, "extractors": tuple(content["extractors"])})


def _dataset_from_json(content: Mapping[str, Any]) -> DatasetInfo:
    return DatasetInfo(**{**content, "samples": tuple(SampleInfo(**one) for one in content["samples"])})


def _speed_from_json(content: Mapping[str, Any]) -> SpeedProtocol:
    lists = {name: tuple(content[name]) for name in ("scenarios", "probes") if name in content}
    return SpeedProtocol(**{**content, **lists})


def _segments_from_json(content: Mapping[str, Any]) -> Segments:
    return Segments(**{**content, "spans_s": tuple((begin, end) for begin, end in content["spans_s"])})
