"""Quality against cost: which methods form a line, in which order, and what the table under the figure says."""

from __future__ import annotations

from pathlib import Path

from reports.cost import cost_pictures, families
from reports.data import Method, Metric, Run

RATES = {"undistilled_1_steps": 200.0, "undistilled_40_steps": 5.0, "ours_2_steps": 100.0, "ours": 50.0}


def run(rates: dict[str, float] = RATES) -> Run:
    names = [*rates, "truth", "lonely"]
    cells = [
        {"table": "t", "dataset": "short", "method": name, "metric": metric, "value": value}
        for name in names
        for metric, value in (("fps", rates.get(name)), ("sharpness", 10.0 if name == "truth" else 8.0))
        if value is not None
    ]
    methods = {name: Method(name, f"Title of {name}") for name in names}
    metrics = {name: Metric(name, name.title()) for name in ("fps", "sharpness")}
    return Run(Path("."), {"playback_fps": 25}, methods, metrics, {}, cells)


def test_a_family_is_what_shares_a_name_but_for_its_steps() -> None:
    assert families(run()) == {
        "undistilled": ["undistilled_1_steps", "undistilled_40_steps"],
        "ours": ["ours_2_steps", "ours"],
    }


def test_the_table_gives_computing_time_per_second_of_video_cheapest_first() -> None:
    (picture,) = cost_pictures(run())
    assert [row[:2] for row in picture.rows] == [
        ["Title of undistilled_1_steps", "0.125"],
        ["Title of undistilled_40_steps", "5.000"],
        ["Title of ours_2_steps", "0.250"],
        ["Title of ours", "0.500"],
    ]
    assert picture.header[2:] == ["Sharpness"]
    assert "40" in picture.svg
    assert cost_pictures(run())[0].svg == picture.svg


def test_without_measured_speed_there_is_no_figure() -> None:
    assert cost_pictures(run({})) == []
    assert cost_pictures(run({"ours": 50.0})) == []
