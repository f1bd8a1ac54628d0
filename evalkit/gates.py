"""Gates: the promises that a file `gates.toml` makes about a run, or about two runs, and whether they are kept.

A gate of two runs allows a loss up to `tolerance` (in the metric's unit) or `relative` (a share of the first run's value).
A gate of one run bounds a value (`at_least`, `at_most`) or forbids a row to be worse than another (`against`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.names import unknown

GATE_FAILED = 3
KEPT, BROKEN, OPEN = "kept", "broken", "open"
WORSE, INCONCLUSIVE, MISSING = "worse", "inconclusive", "missing"
CAUSES = (WORSE, INCONCLUSIVE, MISSING)


@dataclass(frozen=True)
class Gate:
    """One promise. Names may hold `*`; `fail_on` says which outcomes break it."""

    metric: str = "*"
    method: str = "*"
    dataset: str = "*"
    tolerance: float | None = None
    relative: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    against: str = ""
    fail_on: tuple[str, ...] = (WORSE,)

    @property
    def is_of_two_runs(self) -> bool:
        """Whether it speaks of a change from one run to another."""
        return self.at_least is None and self.at_most is None and not self.against

    def matches(self, metric: str, method: str, dataset: str) -> bool:
        """Whether it speaks of this cell."""
        pairs = ((metric, self.metric), (method, self.method), (dataset, self.dataset))
        return all(fnmatchcase(name, pattern) for name, pattern in pairs)

    def margin(self, value: float) -> float:
        """The loss allowed from `value`, in the metric's unit."""
        return max(self.tolerance or 0.0, (self.relative or 0.0) * abs(value))

    def text(self) -> str:
        """The gate in one line."""
        where = ", ".join(f"{name} {value}" for name, value in self._where() if value != "*") or "everything"
        parts = [f"{one.name} {value}" for one in fields(self) if one.name in _BOUNDS and (value := getattr(self, one.name))]
        return f"{where}: {', '.join(parts) or 'not worse'}"

    def _where(self) -> list[tuple[str, str]]:
        return [("metric", self.metric), ("method", self.method), ("set", self.dataset)]


@dataclass(frozen=True)
class Result:
    """What became of one gate in one place."""

    gate: str
    where: str
    state: str
    text: str


_BOUNDS = ("tolerance", "relative", "at_least", "at_most", "against")


def read_gates(path: Path) -> tuple[Gate, ...]:
    """The gates of a file; raises EvalkitError for what it does not understand, with the nearest name that it does."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvalkitError(
            f"gates {path} cannot be read ({error.strerror}); give a TOML file with [[gate]] tables"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise EvalkitError(f"gates {path} is not TOML: {error}") from error
    for name in content:
        if name not in ("defaults", "gate"):
            raise unknown("table in the gates file", name, ("defaults", "gate"))
    defaults = content.get("defaults", {})
    gates = tuple(_gate({**defaults, **one}) for one in content.get("gate", []))
    if not gates:
        raise EvalkitError(f"gates {path} holds no [[gate]]; one with metric and tolerance is enough")
    return gates


def check_cells(
    gates: Iterable[Gate],
    cells: Sequence[Mapping[str, Any]],
    paired: Sequence[Mapping[str, Any]],
    known_metrics: Collection[str] = (),
) -> list[Result]:
    """Gates of one run against its cells and paired differences.

    known_metrics: all that can be named; a gate on another is a mistake, not a gap of this run, and broken.
    """
    found: list[Result] = []
    for gate in gates:
        if gate.is_of_two_runs:
            continue
        own = [_against(gate, one) for one in paired] if gate.against else [_bounds(gate, one) for one in _distinct(cells)]
        kept = [one for one in own if one is not None]
        found += kept or [unmatched(gate, "this run", known_metrics)]
    return found


def unmatched(gate: Gate, where: str, known_metrics: Collection[str]) -> Result:
    """What becomes of a gate that speaks of nothing there."""
    is_name = not set("*?[") & set(gate.metric)
    if known_metrics and is_name and gate.metric not in known_metrics:
        return Result(gate.text(), "", BROKEN, str(unknown("metric", gate.metric, known_metrics)))
    return Result(gate.text(), "", state_of(gate, MISSING), f"speaks of nothing in {where}")


def gate_of(gates: Sequence[Gate], metric: str, method: str, dataset: str) -> Gate | None:
    """The last gate of two runs that speaks of this cell: later ones in the file are the more special."""
    matching = [one for one in gates if one.is_of_two_runs and one.matches(metric, method, dataset)]
    return matching[-1] if matching else None


def state_of(gate: Gate, outcome: str) -> str:
    """What an outcome does to a gate: only those in its `fail_on` break it."""
    if outcome in gate.fail_on:
        return BROKEN
    return OPEN if outcome in (INCONCLUSIVE, MISSING) else KEPT


def is_broken(results: Iterable[Result]) -> bool:
    """Whether any gate is."""
    return any(one.state == BROKEN for one in results)


def result_lines(results: Sequence[Result]) -> list[str]:
    """A line per result that is not kept, then the count."""
    lines = [f"gate {one.state}: {one.gate}: {one.where} {one.text}".rstrip() for one in results if one.state != KEPT]
    kept = sum(one.state == KEPT for one in results)
    return [*lines, f"gates: {kept} kept, {sum(one.state == BROKEN for one in results)} broken, {len(results)} checked"]


def _gate(content: Mapping[str, Any]) -> Gate:
    known = [one.name for one in fields(Gate)]
    for name in content:
        if name not in known:
            raise unknown("gate setting", name, known)
    causes = content.get("fail_on", [WORSE])
    for cause in causes:
        if cause not in CAUSES:
            raise unknown("outcome in fail_on", str(cause), CAUSES)
    for name in ("tolerance", "relative", "at_least", "at_most"):
        value = content.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise EvalkitError(f"gate setting {name} = {value!r}: give a number")
        if value is not None and name in ("tolerance", "relative") and value < 0:
            raise EvalkitError(f"gate setting {name} = {value}: give 0 or more")
    return Gate(**{**content, "fail_on": tuple(causes)})


def _distinct(cells: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A cell that stands in several tables is checked once."""
    return list({(one["metric"], one["method"], one["dataset"]): one for one in cells}.values())


def _bounds(gate: Gate, cell: Mapping[str, Any]) -> Result | None:
    if not gate.matches(cell["metric"], cell["method"], cell["dataset"]) or cell["status"] == "not_applicable":
        return None
    where, value = f"{cell['metric']} of {cell['method']} on {cell['dataset']}", cell["value"]
    if value is None:
        return Result(gate.text(), where, state_of(gate, MISSING), f"has no value: {cell['reason']}")
    low = value if cell["low"] is None else cell["low"]
    high = value if cell["high"] is None else cell["high"]
    outcome = ""
    if (gate.at_least is not None and high < gate.at_least) or (gate.at_most is not None and low > gate.at_most):
        outcome = WORSE
    elif (gate.at_least is not None and low < gate.at_least) or (gate.at_most is not None and high > gate.at_most):
        outcome = INCONCLUSIVE
    return Result(gate.text(), where, state_of(gate, outcome), f"is {value:.4g} ({low:.4g} to {high:.4g})")


def _against(gate: Gate, one: Mapping[str, Any]) -> Result | None:
    """A paired difference is stored from the reference's side; the gate may name either side."""
    verdict = one["verdict"]
    if gate.matches(one["metric"], one["method"], one["dataset"]) and fnmatchcase(one["against"], gate.against):
        outcome = WORSE if verdict == WORSE else INCONCLUSIVE if verdict == INCONCLUSIVE else ""
    elif gate.matches(one["metric"], one["against"], one["dataset"]) and fnmatchcase(one["method"], gate.against):
        outcome = WORSE if verdict == "better" else INCONCLUSIVE if verdict == INCONCLUSIVE else ""
    else:
        return None
    where = f"{one['metric']} of {one['method']} minus {one['against']} on {one['dataset']}"
    return Result(gate.text(), where, state_of(gate, outcome), f"is {one['mean']:+.4g} (p {one['p_holm']:.3g})")
