"""What the store knows about a definition: values by clip, and why values are missing. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit import measures
from evalkit.capabilities import CLIPS, PROBE
from evalkit.definition import Definition
from evalkit.experiments import OFFLINE
from evalkit.plan import Item, Plan
from evalkit.records import DONE, FAILED, INVALID, SCORE, SET, SPEED, Record
from evalkit.speed import merge
from evalkit.stats import mean_over_seeds
from evalkit.store import Store


@dataclass
class Group:
    """The scores of one method, set and metric: values by (sample, seed), and the reasons for those without."""

    values: dict[tuple[str, int], float] = field(default_factory=dict)
    reasons: dict[tuple[str, int], str] = field(default_factory=dict)
    failed: int = 0

    @property
    def wanted(self) -> int:
        """How many values there should be."""
        return len(self.values) + len(self.reasons)

    def by_sample(self) -> dict[str, float]:
        """One value per sample."""
        return mean_over_seeds(self.values)

    def reason(self) -> str:
        """Why values are missing, each reason once with its count."""
        counts: dict[str, int] = {}
        for text in self.reasons.values():
            counts[text] = counts.get(text, 0) + 1
        return "; ".join(text if count == 1 else f"{text} ({count}x)" for text, count in sorted(counts.items()))


@dataclass
class Results:
    """Everything that tables, statistics and curves are made from."""

    definition: Definition
    groups: Mapping[tuple[str, str, str], Group]
    speeds: Mapping[tuple[str, str], tuple[Item | None, Record | None]]
    scores: list[Record]
    sets: Mapping[tuple[str, str, str], tuple[Item, Record | None]] = field(default_factory=dict)
    store: Store | None = None

    def speed(self, method: str, metric: str) -> tuple[Item | None, Record | None]:
        """The plan's item and the record behind a speed column of a method."""
        return self.speeds.get((method, measures.SPEED_COLUMNS[metric].scenario), (None, None))


def collect(store: Store, definition: Definition, plan: Plan) -> Results:
    """Read the records that a plan says are valid."""
    groups: dict[tuple[str, str, str], Group] = {}
    scores: list[Record] = []
    for item in plan.of(SCORE):
        key = item.key
        group = groups.setdefault((key.method, key.dataset, key.metric), Group())
        record = store.read(key) if item.state == DONE else None
        value = record.outputs.get("value") if record else None
        if record is not None and isinstance(value, int | float):
            group.values[key.sample, key.seed] = float(value)
            scores.append(record)
            continue
        group.reasons[key.sample, key.seed] = _reason(item, record)
        group.failed += item.state == FAILED
    sets = {
        (item.key.method, item.key.dataset, item.key.metric): (item, store.read(item.key) if item.state == DONE else None)
        for item in plan.of(SET)
    }
    return Results(definition, groups, _speeds(store, definition, plan), scores, sets, store)


def _speeds(store: Store, definition: Definition, plan: Plan) -> dict[tuple[str, str], tuple[Item | None, Record | None]]:
    """By method and scenario; repeats that have records of their own are put together once all are there."""
    found: dict[tuple[str, str], list[Item]] = {}
    for item in plan.of(SPEED):
        assert definition.speed is not None
        if item.key.scenario == PROBE:
            continue
        # Clips are made offline: their speed stands in the same columns.
        is_read = item.key.scenario == CLIPS
        scenario = OFFLINE if is_read else definition.speed.scenario_of(item.key.scenario)[0]
        found.setdefault((item.key.method, scenario), []).append(item)
    return {key: _together(store, definition, key[1], items) for key, items in found.items()}


def _together(store: Store, definition: Definition, scenario: str, items: list[Item]) -> tuple[Item | None, Record | None]:
    waiting = next((item for item in items if item.state not in (DONE, INVALID)), None)
    if waiting is not None:
        return waiting, None
    records = [record for item in items if (record := store.read(item.key)) is not None]
    if len(items) == 1 or not records:
        return items[0], records[0] if records else None
    assert definition.speed is not None
    merged = replace(records[0], outputs=merge([one.outputs for one in records], definition.speed, scenario))
    return items[0], merged


def _reason(item: Item, record: Record | None) -> str:
    if record is not None:
        return str(record.outputs.get("reason") or null_reason(record.outputs) or "no value")
    if item.state in (FAILED, INVALID):
        return f"{item.state}: {item.reason}"
    return item.reason or item.state


def null_reason(outputs: Mapping[str, Any]) -> str:
    """Why a stored number became null, if it did."""
    return str((outputs.get("null_reasons") or {}).get("value", ""))
