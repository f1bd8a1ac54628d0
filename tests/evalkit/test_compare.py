"""Two runs against each other, and gates: only what means the same is compared, only what is promised can break."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit import compare, gates
from evalkit.comparisons import best_rows, paired_differences
from evalkit.definition import DatasetInfo, Definition, MethodInfo, MetricInfo, SampleInfo
from evalkit.errors import EvalkitError
from evalkit.experiments import Column, Row, Table
from evalkit.gates import Gate, check_cells, read_gates
from evalkit.power import open_questions, plan_lines
from evalkit.records import SPEED, Key, Record
from evalkit.results import Group, Results
from evalkit.store import Store, write_text

BACKBONE = {"name": "net", "digest": "a" * 64, "kind": "nano"}


def definition(count: int = 10, **changes: Any) -> Definition:
    """Two systems and a control on one set, with one metric and speed."""
    names = (("ours", "system"), ("other", "ablation"), ("truth", "control"))
    columns = (Column("q", "Q", "up"), Column("fps", "FPS", "up"))
    table = Table("t", "T", columns, tuple(Row(name, name, kind) for name, kind in names), ("set",))
    return Definition(
        name="x",
        title="X",
        suite="quick",
        profile="nano",
        seeds=(0,),
        methods=tuple(MethodInfo(name, name.title(), kind, "1") for name, kind in names),
        datasets=(DatasetInfo("set", "Set", "d", count, tuple(SampleInfo(f"s{i}", f"in{i}", 5.0) for i in range(count))),),
        metrics=(
            MetricInfo("q", "Q", extractors=("e",), version="1", backbone=BACKBONE),
            MetricInfo("fps", "FPS", direction="up"),
        ),
        tables=(table,),
        reference="ours",
        **changes,
    )


def results(made: Definition, speeds: dict[str, list[float]] | None = None, **values: list[float]) -> Results:
    """Values of `q` by method, in the samples' order; None is missing."""
    groups = {
        (method, "set", "q"): Group({(f"s{i}", 0): v for i, v in enumerate(found) if v is not None})
        for method, found in values.items()
    }
    return Results(
        made, groups, {(name, "offline"): (None, speed_record(name, found)) for name, found in (speeds or {}).items()}, []
    )


def speed_record(method: str, rates: list[float], verdict: str = "VALID") -> Record:
    record = Record(Key(SPEED, method, "set", scenario="quick"), "f", "done", {}, origin={"env_id": "e"})
    record.outputs = {
        "verdict": verdict,
        "reason": "too short",
        "protocol": {"name": "quick", "dataset": "set"},
        "repeats": [{"fps_end_to_end": rate} for rate in rates],
    }
    return record


@pytest.fixture
def side(tmp_path: Path) -> Callable[..., compare.Side]:
    def make(name: str, made: Definition | None = None, cpu: str = "same", **values: Any) -> compare.Side:
        made = made or definition()
        write_text(tmp_path / name / "env/e.json", json.dumps({"cpu": cpu}))
        return compare.Side(Store(tmp_path / name), made, results(made, **values))

    return make


BASE = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
WOBBLE = [0.01, -0.02, 0.03, 0.01, -0.03, 0.02, 0.0, 0.01, -0.01, 0.02]


def moved(by: float, wobble: float = 1.0) -> list[float]:
    return [one + by + wobble * w for one, w in zip(BASE, WOBBLE, strict=True)]


@pytest.mark.parametrize(
    ("after", "gate", "verdict"),
    [
        (moved(0.5), None, "better"),
        (moved(-0.5), None, "worse"),
        (moved(-0.5), Gate(tolerance=1.0), "equivalent"),
        (moved(-0.5), Gate(relative=0.01), "worse"),
        (moved(0.0), None, "inconclusive"),
        (moved(0.0), Gate(tolerance=0.1), "equivalent"),
        (moved(-0.5, wobble=10.0), Gate(tolerance=0.5), "inconclusive"),
        (BASE, None, "equivalent"),
    ],
)
def test_verdicts_of_two_runs(
    side: Callable[..., compare.Side], after: list[float], gate: Gate | None, verdict: str
) -> None:
    given = (gate,) if gate else ()
    (change,) = compare.compare_runs(side("a", ours=BASE), side("b", ours=after), given)
    assert change.verdict == verdict, change
    assert change.n == 10
    if verdict == "inconclusive" and gate is None:
        assert change.more_samples > 0


def test_only_samples_with_equal_inputs_are_paired(side: Callable[..., compare.Side]) -> None:
    made = definition()
    (one,) = made.datasets
    other = replace(one, samples=tuple(replace(s, digest="new") if s.id == "s3" else s for s in one.samples))
    (change,) = compare.compare_runs(side("a", ours=BASE), side("b", replace(made, datasets=(other,)), ours=moved(1.0)))
    assert change.n == 9


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("backbone", {**BACKBONE, "digest": "b" * 64}, "net@aaaaaaaaaaaa in the first run, by net@bbbbbbbbbbbb"),
        ("version", "2", "metric version 1 against 2"),
    ],
)
def test_other_quantities_are_not_compared(side: Callable[..., compare.Side], field: str, value: Any, reason: str) -> None:
    made = definition()
    metrics = (replace(made.metrics[0], **{field: value}), made.metrics[1])
    (change,) = compare.compare_runs(side("a", ours=BASE), side("b", replace(made, metrics=metrics), ours=BASE))
    assert change.verdict == compare.NOT_COMPARABLE
    assert reason in change.reason


def test_speeds_are_compared_by_ranges_on_equal_machines_only(side: Callable[..., compare.Side]) -> None:
    def speed(after: list[float], gate: Gate | None = None, cpu: str = "same") -> compare.Change:
        first, second = side("a", speeds={"ours": [50.0, 52.0, 51.0]}), side("b", cpu=cpu, speeds={"ours": after})
        (change,) = [one for one in compare.compare_runs(first, second, (gate,) if gate else ()) if one.metric == "fps"]
        return change

    assert speed([40.0, 42.0, 41.0]).verdict == "worse"
    assert speed([60.0, 62.0, 61.0]).verdict == "better"
    assert speed([49.0, 51.5, 50.0]).verdict == "inconclusive"
    assert speed([49.0, 48.0, 48.5], Gate(relative=0.1)).verdict == "equivalent"
    assert speed([40.0, 42.0, 41.0], cpu="another").reason == "measured on different machines"


def test_a_gate_breaks_on_worse_by_default_and_on_more_if_told(side: Callable[..., compare.Side]) -> None:
    changes = compare.compare_runs(side("a", ours=BASE), side("b", ours=moved(0.0)))
    assert [one.state for one in compare.check_changes(changes, (Gate(),))] == ["open"]
    assert [one.state for one in compare.check_changes(changes, (Gate(fail_on=("worse", "inconclusive")),))] == ["broken"]
    worse = compare.compare_runs(side("a", ours=BASE), side("c", ours=moved(-0.5)))
    assert gates.is_broken(compare.check_changes(worse, (Gate(metric="q"),)))
    (lost,) = compare.check_changes(worse, (Gate(metric="sync"),))
    assert (lost.state, lost.text) == ("open", "speaks of nothing in what both runs have")
    (mistyped,) = compare.check_changes(worse, (Gate(metric="sink_c"),), ("sync_c", "q"))
    assert mistyped.state == "broken"
    assert "did you mean 'sync_c'" in mistyped.text


def test_the_last_matching_gate_decides(side: Callable[..., compare.Side]) -> None:
    given = (Gate(), Gate(method="ours", tolerance=1.0))
    changes = compare.compare_runs(side("a", ours=BASE, other=BASE), side("b", ours=moved(-0.5), other=moved(-0.5)), given)
    assert {one.method: one.verdict for one in changes} == {"ours": "equivalent", "other": "worse"}
    states = [one.state for one in compare.check_changes(changes, given)]
    assert sorted(states) == ["broken", "kept"]


def cell(value: float | None, half: float = 0.1, **fields: Any) -> dict[str, Any]:
    bounds = {"low": None, "high": None} if value is None else {"low": value - half, "high": value + half}
    plain = {"metric": "q", "method": "ours", "dataset": "set", "status": "measured", "reason": None, "value": value}
    return {**plain, **bounds, **fields}


def test_bounds_speak_of_the_interval_not_of_the_mean() -> None:
    def state(gate: Gate, *cells: dict[str, Any]) -> list[str]:
        return [one.state for one in check_cells((gate,), cells, ())]

    assert state(Gate(at_least=4.0), cell(5.0)) == ["kept"]
    assert state(Gate(at_least=5.0), cell(5.0)) == ["open"]
    assert state(Gate(at_least=6.0), cell(5.0)) == ["broken"]
    assert state(Gate(at_most=4.0), cell(5.0)) == ["broken"]
    assert state(Gate(at_least=1.0), cell(None, reason="failed")) == ["open"]
    assert state(Gate(at_least=1.0, fail_on=("missing",)), cell(None, reason="failed")) == ["broken"]
    assert state(Gate(at_least=1.0, metric="sync"), cell(5.0)) == ["open"]
    assert state(Gate(at_least=1.0, metric="sync", fail_on=("missing",)), cell(5.0)) == ["broken"]
    assert state(Gate(at_least=1.0), cell(5.0), cell(5.0, table="again")) == ["kept"]


def test_rows_of_one_run_are_gated_from_either_side() -> None:
    made = definition()
    paired = paired_differences(results(made, ours=moved(-0.5), other=BASE))
    for gate in (Gate(metric="q", method="ours", against="other"), Gate(metric="q", method="o*", against="other")):
        assert [one.state for one in check_cells((gate,), (), paired)] == ["broken"]
    assert [one.state for one in check_cells((Gate(method="other", against="ours"),), (), paired)] == ["kept"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[gates]]", "did you mean 'gate'"),
        ('[[gate]]\nmetrik = "q"', "did you mean 'metric'"),
        ('[[gate]]\nfail_on = ["wrose"]', "did you mean 'worse'"),
        ('[[gate]]\ntolerance = "much"', "give a number"),
        ("[[gate]]\ntolerance = -1", "0 or more"),
        ("", "holds no [[gate]]"),
        ("[[gate", "is not TOML"),
    ],
)
def test_a_gates_file_is_read_strictly(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "gates.toml").write_text(text)
    with pytest.raises(EvalkitError) as caught:
        read_gates(tmp_path / "gates.toml")
    assert message in str(caught.value)


def test_defaults_of_a_gates_file_hold_for_every_gate(tmp_path: Path) -> None:
    (tmp_path / "gates.toml").write_text(
        '[defaults]\nfail_on = ["worse", "missing"]\n[[gate]]\nmetric = "q"\n[[gate]]\nat_least = 1\nfail_on = ["worse"]\n'
    )
    first, second = read_gates(tmp_path / "gates.toml")
    assert (first.metric, first.fail_on) == ("q", ("worse", "missing"))
    assert second.fail_on == ("worse",)


def test_bold_is_the_best_and_what_is_not_told_apart_from_it() -> None:
    made = definition()

    def bold(**values: Any) -> list[str]:
        return next(one["bold"] for one in best_rows(results(made, **values)) if one["metric"] == "q")

    assert bold(ours=moved(0.5), other=BASE) == ["ours"]
    assert bold(ours=moved(0.0), other=BASE) == [], "bold everywhere would say nothing"
    assert bold(ours=moved(0.5), other=BASE, truth=moved(9.0)) == ["ours"], "controls do not compete"
    speeds = best_rows(results(made, speeds={"ours": [50.0, 52.0], "other": [30.0, 40.0]}))
    assert [one["bold"] for one in speeds if one["metric"] == "fps"] == [["ours"]]
    touching = best_rows(results(made, speeds={"ours": [50.0, 52.0], "other": [30.0, 50.0]}))
    assert [one["bold"] for one in touching if one["metric"] == "fps"] == [[]]


def test_rows_of_other_tables_do_not_compete() -> None:
    made = definition()
    table = made.tables[0]
    made = replace(made, tables=(replace(table, rows=tuple(row for row in table.rows if row.method != "other")),))
    speeds = {"ours": [50.0, 52.0], "other": [60.0, 70.0]}
    assert best_rows(results(made, speeds, ours=moved(0.5), other=moved(9.0))) == []


def test_controls_are_a_family_of_their_own() -> None:
    found = {
        one["against"]: one for one in paired_differences(results(definition(), ours=moved(0.5), other=BASE, truth=BASE))
    }
    # Alone in its family each keeps its p: 2 / 2^10.
    assert found["other"]["p_holm"] == found["truth"]["p_holm"] == pytest.approx(2 / 1024)
    assert found["other"]["verdict"] == "better"
    assert found["other"]["wins"] == 10


def test_power_is_said_before_and_after() -> None:
    made = definition()
    assert plan_lines(made, ()) == ["set: 10 samples show a gap of 0.89 times the spread of paired differences"]
    paired = paired_differences(results(made, ours=moved(0.004), other=BASE))
    assert "from the spread measured so far: q 0." in plan_lines(made, paired)[0]
    (note,) = open_questions(made, made.tables[0], paired)
    assert note.startswith("Not told apart from Ours, and what would decide: Q of other on Set (about ")
    assert plan_lines(definition(count=3), ()) == ["set: 3 samples tell no two methods apart at 5 %, however large the gap"]
