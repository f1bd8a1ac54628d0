"""`run all` from end to end, with a stub for a generator: every table and figure, nothing made twice, a page over all."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from evalkit.commands import make_plan_nowhere
from evalkit.definition import SampleInfo
from evalkit.jobs import phase_jobs
from evalkit.plan import POSITIONS
from evalkit.progress import Console
from evalkit.records import GENERATE
from evalkit.resolve import Selection, resolve
from tests.evalkit.evalkit_bench import evalkit

STUB = Path(__file__).with_name("stub_generator.py")
METHODS = "live_avatar,live_avatar_clean_kv,truth"


def test_nothing_is_planned_twice(tmp_path: Path) -> None:
    made = resolve("all", Selection(), tmp_path, Console(is_silent=True), build=False)
    samples = tuple(SampleInfo(f"s{number}", f"digest{number}", 5.0) for number in range(2))
    filled = replace(made, datasets=tuple(replace(one, samples=samples, size=2) for one in made.datasets))
    plan = make_plan_nowhere(tmp_path / "none", filled)
    keys = Counter(item.key for item in plan.items)
    assert set(keys.values()) == {1}
    clips = [key for key in keys if key.kind == GENERATE and key.dataset != POSITIONS]
    assert len(clips) == len(filled.clip_makers()) * len(filled.datasets) * len(samples)
    jobs = phase_jobs(plan, filled, GENERATE, retry_failed=False)
    assert len({job.id for job in jobs}) == len(jobs)
    assert sum(len(job.items) for job in jobs) == len(plan.due(GENERATE))


def test_everything_ends_with_its_report_and_a_page_over_all(tmp_path: Path) -> None:
    words = ["run", "all", "--plugin", str(STUB), "--out", str(tmp_path), "--seconds", "20", "--json"]
    words += ["--methods", METHODS, "--metrics", "sync_c,dino_s,fps,fps_predicted"]
    done = evalkit(*words)
    assert done.code == 0, done.out + done.err
    tables = {path.name for path in (tmp_path / "tables/table").glob("*.md")}
    assert {"table2.md", "table3.md", "table4.md", "table6.md", "table8.md"} <= tables
    clips = list((tmp_path / "tables/records/generate").rglob("*.json"))
    assert len(clips) == 3 * 3 * 2 + 2, "three sets of two samples in three methods, and positions of two"
    assert len(json.loads((tmp_path / "tables/stats/positions.json").read_text())) == 2
    cells = json.loads((tmp_path / "tables/table/cells.json").read_text())
    rows = {(cell["table"], cell["method"]) for cell in cells}
    assert ("table3", "truth") not in rows, "a row of one table is no row of another"
    assert ("table2", "live_avatar_clean_kv") not in rows
    page = (tmp_path / "index.html").read_text()
    for run in ("tables", "stream"):
        assert (tmp_path / run / "report/index.html").is_file()
        assert f'href="{run}/report/index.html"' in page
    for number in (2, 3, 4, 6, 7, 8):
        assert f"Table {number}" in page
