"""Jobs: what one worker process is asked to do, as plain data that travels in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evalkit.capabilities import CLIPS, PROBE
from evalkit.definition import Definition, MethodInfo
from evalkit.methods.base import CONTROL
from evalkit.plan import Item, Plan
from evalkit.records import GENERATE, SCORE, SPEED, Key

STRESS, READING = "stress", "reading"
BASE_LIMIT_S = 300.0
OWN_LIMIT_BASE_S, OWN_LIMIT_MARGIN = 3600.0, 1.1
LIMIT_PER_MEDIA_S = {READING: 0.0, GENERATE: 30.0, STRESS: 30.0, SCORE: 20.0, SPEED: 30.0}


@dataclass(frozen=True)
class Part:
    """One record to make."""

    key: Key
    inputs: dict[str, Any]
    fingerprint: str
    attempts: int = 0


@dataclass(frozen=True)
class WorkItem:
    """Records that are made together: one clip, one measurement, or all scores of one video."""

    label: str
    parts: tuple[Part, ...]
    media_s: float
    limit_s: float

    @property
    def method(self) -> str:
        """The method whose clip this is about."""
        return self.parts[0].key.method


@dataclass(frozen=True)
class JobSpec:
    """One worker: it loads once and makes the items it is told to, one by one."""

    id: str
    kind: str
    items: tuple[WorkItem, ...]
    plugins: tuple[str, ...] = ()
    title: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> JobSpec:
        """Read what `to_json` gave."""
        items = tuple(
            WorkItem(
                one["label"],
                tuple(
                    Part(Key(**part["key"]), part["inputs"], part["fingerprint"], part["attempts"]) for part in one["parts"]
                ),
                one["media_s"],
                one["limit_s"],
            )
            for one in content["items"]
        )
        return cls(content["id"], content["kind"], items, tuple(content["plugins"]), content["title"], content["options"])


def spec_path(run: Path, job_id: str) -> Path:
    """Where a job's description is kept, beside its log."""
    return run / "logs" / f"{job_id}.json"


def log_path(run: Path, job_id: str) -> Path:
    """Where a job's output goes."""
    return run / "logs" / f"{job_id}.log"


def phase_jobs(plan: Plan, definition: Definition, phase: str, retry_failed: bool) -> list[JobSpec]:
    """The jobs of one phase (`generate`, `speed` or `score`) for what is due in the plan."""
    due = plan.due(phase, retry_failed)
    if phase == SCORE:
        return [_job(definition, phase, "score", _by_clip(due))] if due else []
    kind = STRESS if phase == GENERATE and definition.stress is not None else phase
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in due:
        own = READING if item.key.kind == SPEED and item.key.scenario in (CLIPS, PROBE) else kind
        groups.setdefault((own, _group(definition, item, phase)), []).append(item)
    return [
        _job(definition, own, f"{phase if own == kind else own}-{name}", _work(definition, items, own))
        for (own, name), items in groups.items()
    ]


def _group(definition: Definition, item: Item, phase: str) -> str:
    """One process per method; control rows share one, because they share their pictures."""
    method = definition.method(item.key.method)
    return "controls" if phase == GENERATE and method is not None and method.kind == CONTROL else item.key.method


def _job(definition: Definition, kind: str, name: str, items: Iterable[WorkItem]) -> JobSpec:
    return JobSpec(name, kind, tuple(items), definition.plugins, title=name.replace("-", " ", 1))


def _work(definition: Definition, items: list[Item], kind: str) -> list[WorkItem]:
    """One record each, or clips of one seed together where the method is best run so."""
    method = definition.method(items[0].key.method)
    size = method.batch if method is not None and kind == GENERATE else 1
    made = []
    for seed in dict.fromkeys(item.key.seed for item in items):
        same = [item for item in items if item.key.seed == seed]
        for first in range(0, len(same), size):
            group = same[first : first + size]
            media_s = sum(item.media_s for item in group)
            label = group[0].key.label() + (f" and {len(group) - 1} more" if len(group) > 1 else "")
            made.append(WorkItem(label, tuple(map(_part, group)), media_s, _limit_s(kind, media_s, method)))
    return made


def _by_clip(items: list[Item]) -> list[WorkItem]:
    groups: dict[tuple[str, str, str, int], list[Item]] = {}
    for item in items:
        groups.setdefault((item.key.method, item.key.dataset, item.key.sample, item.key.seed), []).append(item)
    return [
        WorkItem(
            f"score {method}/{dataset}/{sample}",
            tuple(map(_part, group)),
            group[0].media_s,
            _limit_s(SCORE, group[0].media_s),
        )
        for (method, dataset, sample, _), group in groups.items()
    ]


def _part(item: Item) -> Part:
    # Only repeats of the same inputs count as attempts: a stale record starts afresh.
    return Part(item.key, item.inputs, item.fingerprint, item.attempts)


def _limit_s(kind: str, media_s: float, method: MethodInfo | None = None) -> float:
    if kind != SCORE and method is not None and method.limit_per_s:
        # A method with a limit of its own keeps to it by itself; this one is for when it does not.
        return OWN_LIMIT_BASE_S + OWN_LIMIT_MARGIN * method.limit_per_s * media_s
    return BASE_LIMIT_S + LIMIT_PER_MEDIA_S[kind] * media_s
