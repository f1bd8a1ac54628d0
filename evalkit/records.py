"""Records: one JSON file per row of truth (a generation, a score or a speed measurement), typed here.

The version comes first in the file, unknown fields survive a rewrite, and NaN is never written: it becomes null with a
reason under `null_reasons`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from evalkit.names import slug

SCHEMA_VERSION = 1

GENERATE, SCORE, SPEED, SET = "generate", "score", "speed", "set"
DONE, FAILED, INVALID = "done", "failed", "invalid"
_HEAD = ("schema_version", "kind")


@dataclass(frozen=True)
class Key:
    """What a record is about; its place in the run folder follows from it."""

    kind: str
    method: str
    dataset: str
    sample: str = ""
    seed: int = 0
    metric: str = ""
    scenario: str = ""

    @property
    def clip(self) -> str:
        """File stem of this sample and seed."""
        return f"{slug(self.sample)}.s{self.seed}"

    @property
    def path(self) -> str:
        """The record's path inside the run folder."""
        if self.kind == GENERATE:
            return f"records/generate/{slug(self.method)}/{slug(self.dataset)}/{self.clip}.json"
        if self.kind == SCORE:
            return f"records/score/{slug(self.metric)}/{slug(self.method)}/{slug(self.dataset)}/{self.clip}.json"
        if self.kind == SET:
            return f"records/set/{slug(self.metric)}/{slug(self.method)}/{slug(self.dataset)}.json"
        return f"records/speed/{slug(self.method)}/{slug(self.scenario)}.json"

    @property
    def artefact_dir(self) -> str:
        """Where the files of a generation or of a speed measurement lie."""
        if self.kind == SPEED:
            return f"artefacts/{slug(self.method)}/speed/{slug(self.scenario)}"
        return f"artefacts/{slug(self.method)}/{slug(self.dataset)}/{self.clip}"

    def label(self) -> str:
        """Short text for progress lines and messages."""
        parts = [self.kind, self.metric, self.method, self.dataset, self.sample, self.scenario]
        return "/".join(part for part in parts if part) + (f" seed {self.seed}" if self.seed else "")


@dataclass(frozen=True)
class Artefact:
    """A file that a record points to, by a path inside the run folder."""

    path: str
    sha256: str
    bytes: int
    media: str = "application/octet-stream"


@dataclass(frozen=True)
class Failure:
    """Why a record failed. `transient` causes (a killed process) are tried again by the next run."""

    kind: str
    message: str
    tail: str = ""
    log: str = ""
    transient: bool = False


@dataclass
class Record:
    """One row of truth. `outputs` lie beside the other fields in the file and keep fields of later versions."""

    key: Key
    fingerprint: str
    status: str
    inputs: dict[str, Any]
    outputs: dict[str, Any] = field(default_factory=dict)
    artefacts: list[Artefact] = field(default_factory=list)
    error: Failure | None = None
    attempts: int = 1
    started: str = ""
    finished: str = ""
    duration_s: float = 0.0
    origin: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The file's content, version first, without NaN."""
        named = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "outputs"}
        named["key"] = asdict(self.key)
        named["error"] = asdict(self.error) if self.error else None
        named["artefacts"] = [asdict(one) for one in self.artefacts]
        held = {name: value for name, value in self.outputs.items() if name not in named and name not in _HEAD}
        content, nulls = without_nan({**named, **held})
        if nulls:
            content["null_reasons"] = {**content.get("null_reasons", {}), **nulls}
        return {"schema_version": SCHEMA_VERSION, "kind": self.key.kind, **content}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Record:
        """Read what `to_json` wrote; unknown fields are kept among the outputs."""
        known = {one.name for one in fields(cls)} - {"outputs"}
        values = {name: content[name] for name in known if name in content}
        values["key"] = Key(**_known_only(Key, content["key"]))
        values["artefacts"] = [Artefact(**_known_only(Artefact, one)) for one in content.get("artefacts", [])]
        error = content.get("error")
        values["error"] = Failure(**_known_only(Failure, error)) if error else None
        outputs = {name: value for name, value in content.items() if name not in known and name not in _HEAD}
        return cls(**values, outputs=outputs)


def dumps(content: Any) -> str:
    """The text of a record or a derived file: readable, field order kept, NaN refused."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def without_nan(value: Any, path: str = "") -> tuple[Any, dict[str, str]]:
    """`value` with every non-finite number replaced by None, and the reason for each by dotted path."""
    if isinstance(value, float) and not math.isfinite(value):
        return None, {path: f"the number was {value}"}
    if isinstance(value, Mapping):
        pairs = {str(name): without_nan(one, f"{path}.{name}" if path else str(name)) for name, one in value.items()}
        return {name: one for name, (one, _) in pairs.items()}, _merged(reasons for _, reasons in pairs.values())
    if isinstance(value, list | tuple):
        items = [without_nan(one, f"{path}[{index}]") for index, one in enumerate(value)]
        return [one for one, _ in items], _merged(reasons for _, reasons in items)
    return value, {}


def _merged(many: Any) -> dict[str, str]:
    return {name: reason for reasons in many for name, reason in reasons.items()}


def _known_only(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in content.items() if name in names}
