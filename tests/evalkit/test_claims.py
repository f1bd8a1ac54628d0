"""Claims are confirmed or contradicted only by what was told apart; the rest is undecided, with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.claims import CONFIRMED, CONTRADICTED, UNDECIDED, check_claims
from evalkit.experiments import Column, Row, Table
from evalkit.results import Results
from tests.evalkit.test_compare import definition

AGAINST = "live_avatar_no_rolling_rope"


def table(**fields: Any) -> Table:
    columns = (Column("dino_s", "Dino-S", "up"), Column("sync_c", "Sync-C", "up"), Column("fps", "FPS", "up"))
    rows = (
        Row("live_avatar", "Ours"),
        Row(AGAINST, "Without"),
        Row("live_avatar_no_history_corrupt", "Other", reason="none"),
    )
    return Table("t4", "T", columns, rows, ("genbench_long",), "Table 4", **fields)


def check(paired: list[dict[str, Any]], made: Table | None = None, cells: Any = (), slopes: Any = ()) -> dict[Any, Any]:
    given = definition()
    object.__setattr__(given, "tables", (made or table(),))
    object.__setattr__(given, "reference", "live_avatar")
    found = check_claims(Results(given, {}, {}, []), paired, cells, slopes)
    return {(one["metric"], one["against"]): one for one in found}


def row(metric: str, verdict: str, more: int | None = None) -> dict[str, Any]:
    who = {"dataset": "genbench_long", "metric": metric, "method": "live_avatar", "against": AGAINST}
    return {**who, "mean": 0.1, "low": 0.0, "high": 0.2, "n": 15, "verdict": verdict, "p_holm": 0.01, "more_samples": more}


def test_the_direction_of_a_told_difference_decides() -> None:
    # The paper: Dino-S 0.93 of ours, 0.86 without Rolling RoPE; Sync-C 6.28 and 6.29.
    found = check([row("dino_s", "better"), row("sync_c", "better")])
    assert found["dino_s", AGAINST]["outcome"] == CONFIRMED
    assert found["sync_c", AGAINST]["outcome"] == CONTRADICTED
    assert (found["dino_s", AGAINST]["paper"], found["dino_s", AGAINST]["paper_against"]) == (0.93, 0.86)
    assert check([row("dino_s", "worse")])["dino_s", AGAINST]["outcome"] == CONTRADICTED


def test_what_is_not_told_apart_or_not_measured_is_undecided() -> None:
    found = check([row("dino_s", "inconclusive", more=40)])
    assert found["dino_s", AGAINST]["outcome"] == UNDECIDED
    assert "about 40 more" in found["dino_s", AGAINST]["why"]
    assert found["sync_c", AGAINST]["why"] == "not measured for both rows"
    assert found["dino_s", "live_avatar_no_history_corrupt"]["why"] == "none"


@pytest.mark.parametrize(
    ("rates", "outcome"),
    [((50.0, 20.0), CONFIRMED), ((20.0, 50.0), CONTRADICTED), ((50.0, 49.5), UNDECIDED), ((50.0, None), UNDECIDED)],
)
def test_speed_is_decided_by_ranges(rates: tuple[float, float | None], outcome: str) -> None:
    columns = (Column("fps", "FPS", "up"),)
    rows = (Row("live_avatar", "Ours"), Row("live_avatar_clean_kv", "Clean"))
    made = Table("t6", "T", columns, rows, ("genbench_short",), "Table 6")
    cells = [
        {"table": "t6", "metric": "fps", "method": one.method, "dataset": "genbench_short", "n": 3, "value": rate}
        | ({"low": rate - 1, "high": rate + 1} if rate else {"low": None, "high": None})
        for one, rate in zip(rows, rates, strict=True)
    ]
    assert check([], made, cells)["fps", "live_avatar_clean_kv"]["outcome"] == outcome


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(-0.0002, 0.0002, CONFIRMED), (-0.002, 0.0002, UNDECIDED), (-0.004, -0.003, CONTRADICTED), (None, None, UNDECIDED)],
)
def test_a_long_stream_must_stay_as_close_as_the_papers_segments(low: Any, high: Any, outcome: str) -> None:
    # Dino-S of the paper's segments lies within 0.01; over 600 s the interval of the drift must fit into that.
    names = ("stress_0_10", "stress_100_110", "stress_1000_1010", "stress_10000_10010")
    made = Table("t7", "T", (Column("dino_s", "D", "up"),), (Row("live_avatar", "O"),), names, "Table 7", by_dataset=True)
    slope = {
        "method": "live_avatar",
        "metric": "dino_s",
        "per_minute": 0.0,
        "low": low,
        "high": high,
        "n": 60,
        "span_s": 600.0,
    }
    (found,) = check([], made, (), [slope]).values()
    assert found["outcome"] == outcome
