"""Work of other processes is seen and our own is not."""

import os
from pathlib import Path

import pytest

from evalkit import busy


def write_stat(path: Path, ticks_each: int) -> None:
    """Every processor was busy for `ticks_each`: half of it user time, half of it stolen; idle time is not counted."""
    half = ticks_each // 2
    lines = [f"cpu{number} {half} 0 0 999999 55 0 0 {half} 777 0" for number in range(os.cpu_count() or 1)]
    path.write_text("cpu  1 2 3 4 5 6 7 8 9 10\n" + "\n".join(lines) + "\nintr 12\n")


def test_busy_seconds_leave_out_idle_time_and_guests(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    write_stat(stat, 200)
    assert busy.busy_seconds(stat) == pytest.approx(len(busy._processors()) * 200 / os.sysconf("SC_CLK_TCK"))


def test_the_share_of_others_is_what_we_did_not_do_ourselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, clock = tmp_path / "stat", iter([100.0, 110.0])
    monkeypatch.setattr(busy.time, "monotonic", lambda: next(clock))
    own = iter([os.times_result((0.0,) * 5), os.times_result((1.0 * len(busy._processors()), 0.0, 0.0, 0.0, 0.0))])
    monkeypatch.setattr(busy.os, "times", lambda: next(own))
    write_stat(stat, 1000)
    with busy.OtherWork(stat) as others:
        write_stat(stat, 1000 + 4 * os.sysconf("SC_CLK_TCK"))  # 4 s of 10 s on every processor, 1 s of it ours
    assert others.share == pytest.approx(0.3)


def test_a_system_that_does_not_tell_gives_no_share(tmp_path: Path) -> None:
    with busy.OtherWork(tmp_path / "missing") as others:
        pass
    assert others.share is None
