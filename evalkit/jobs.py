"""Jobs: what one worker process is asked to do, as plain data that travels in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from evalkit.capabilities import CLIPS, PROBE
from evalkit.definition import Definition, MethodInfo
from evalkit.methods.base import CONTROL, RIVAL
from evalkit.names import slug
from evalkit.plan import POSITIONS, Item, Plan
from evalkit.records import FAILED, GENERATE, SCORE, SET, SPEED, Failure, Key, Record

STRESS, READING = "stress", "reading"
BASE_LIMIT_S = 300.0
LIMIT_PER_MEDIA_S = {
    READING: 0.0,
    GENERATE: 30.0,
    STRESS: 30.0,
    POSITIONS: 60.0,
    SCORE: 20.0,
    SPEED: 30.0,
    SET: 20.0,
}
OWN_LIMIT_BASE_S, OWN_LIMIT_MARGIN = 3600.0, 1.1


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
    needs: dict[str, Any] = field(default_factory=dict)

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
        plain = {name: content[name] for name in ("id", "kind", "title", "options", "needs")}
        return cls(items=items, plugins=tuple(content["plugins"]), **plain)


def failed_record(part: Part, failure: Failure) -> Record:
    """The record of an attempt that gave nothing."""
    return Record(part.key, part.fingerprint, FAILED, part.inputs, error=failure, attempts=part.attempts + 1)


def spec_path(run: Path, job_id: str) -> Path:
    """Where a job's description is kept, beside its log."""
    return run / "logs" / f"{job_id}.json"


def log_path(run: Path, job_id: str) -> Path:
    """Where a job's output goes."""
    return run / "logs" / f"{job_id}.log"


def phase_jobs(plan: Plan, definition: Definition, phase: str, retry_failed: bool) -> list[JobSpec]:
    """The jobs of one phase (`generate`, `speed` or `score`) for what is due in the plan."""
    due = plan.due(phase, retry_failed)
    if phase == SPEED and definition.speed is not None and definition.speed.is_fresh:
        # What is read from records need not be timed in a process of its own.
        read = [item for item in due if item.key.scenario in (CLIPS, PROBE)]
        return [*_grouped(definition, read, phase), *(_timing(definition, item) for item in due if item not in read)]
    if phase == SCORE:
        return [_job(definition, phase, "score", _by_clip(due), {})] if due else []
    if phase == SET:
        return [_job(definition, phase, "set", _by_method(due), {})] if due else []
    return _grouped(definition, due, phase)


def _grouped(definition: Definition, due: list[Item], phase: str) -> list[JobSpec]:
    """One job per method and kind of work."""
    kind = STRESS if phase == GENERATE and definition.stress is not None else phase
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in due:
        own = POSITIONS if item.key.dataset == POSITIONS else kind
        own = READING if item.key.kind == SPEED and item.key.scenario in (CLIPS, PROBE) else own
        groups.setdefault((own, _group(definition, item, phase)), []).append(item)
    made = []
    for (own, name), items in groups.items():
        needs = _needs(definition, name, phase)
        made.append(_job(definition, own, f"{phase if own == kind else own}-{name}", _work(definition, items, own), needs))
    return made


def _timing(definition: Definition, item: Item) -> JobSpec:
    """One measurement in a process of its own; the plan's order lets methods take turns."""
    needs = _needs(definition, item.key.method, SPEED)
    name = f"speed-{item.key.method}-{item.key.scenario}"
    return _job(definition, SPEED, name, _work(definition, [item], SPEED), needs)


def split(spec: JobSpec, parts: int) -> list[JobSpec]:
    """The same items as several jobs of about equal length that may run at once; a stream stays with its segments."""
    if parts < 2 or len(spec.items) < 2 or spec.kind == STRESS:
        return [spec]
    shares: list[list[WorkItem]] = [[] for _ in range(min(parts, len(spec.items)))]
    for item in sorted(spec.items, key=lambda one: one.media_s, reverse=True):
        min(shares, key=lambda share: sum(one.media_s for one in share)).append(item)
    return [
        replace(spec, id=f"{spec.id}-{number}of{len(shares)}", items=tuple(sorted(share, key=spec.items.index)))
        for number, share in enumerate(shares, 1)
    ]


def _needs(definition: Definition, method: str, phase: str) -> dict[str, Any]:
    """What a job occupies: the method's devices; a timing runs alone on its machine.

    Of another's program fewer devices do not keep it from starting: it says itself what it lacks, and its row with it.
    """
    info = definition.method(method)
    needs: dict[str, Any] = {"gpus": info.gpus if info else 0, "is_alone": phase == SPEED}
    return needs | ({"or_fewer": True} if info and info.gpus and info.kind == RIVAL else {})


def _group(definition: Definition, item: Item, phase: str) -> str:
    """One process per method; control rows share one, because they share their pictures."""
    method = definition.method(item.key.method)
    return "controls" if phase == GENERATE and method is not None and method.kind == CONTROL else item.key.method


def _job(definition: Definition, kind: str, name: str, items: Iterable[WorkItem], needs: dict[str, Any]) -> JobSpec:
    return JobSpec(slug(name), kind, tuple(items), definition.plugins, title=name.replace("-", " ", 1), needs=needs)


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


def _by_method(items: list[Item]) -> list[WorkItem]:
    """All set metrics of a method's videos together: features are read once."""
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.key.method, item.key.dataset), []).append(item)
    return [
        WorkItem(f"set {method}/{dataset}", tuple(map(_part, group)), group[0].media_s, _limit_s(SET, group[0].media_s))
        for (method, dataset), group in groups.items()
    ]


def _part(item: Item) -> Part:
    # Only repeats of the same inputs count as attempts: a stale record starts afresh.
    return Part(item.key, item.inputs, item.fingerprint, item.attempts)


def _limit_s(kind: str, media_s: float, method: MethodInfo | None = None) -> float:
    if kind != SCORE and method is not None and method.limit_per_s:
        # A method with a limit of its own keeps to it by itself; this one is for when it does not.
        return OWN_LIMIT_BASE_S + OWN_LIMIT_MARGIN * method.limit_per_s * media_s
    return BASE_LIMIT_S + LIMIT_PER_MEDIA_S[kind] * media_s
