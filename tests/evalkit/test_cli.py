"""The command line: quick help with examples, exit codes, suggestions, JSON."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.cli import build_parser
from tests.evalkit.evalkit_bench import PLUGIN, environment, evalkit, run_fakes

VERBS = ("list", "plan", "doctor", "run", "status", "score", "table", "compare", "report", "verify", "study")


def test_help_loads_nothing_that_takes_long() -> None:
    code = "import sys, evalkit.cli as c; c.build_parser(); print([n for n in ('torch', 'numpy', 'av') if n in sys.modules])"
    made = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
    result = evalkit("--help")
    assert result.code == 0
    assert "python -m evalkit run table2" in result.out
    assert "130" in result.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example_that_parses(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([verb, "--help"])
    assert ended.value.code == 0
    examples = re.findall(rf"^  python -m evalkit ({verb}.*)$", capsys.readouterr().out, re.MULTILINE)
    assert examples
    for example in examples:
        build_parser().parse_args(example.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "tabel2"), "unknown experiment 'tabel2': did you mean 'table2'"),
        (("plan", "table2", "--methods", "live_avtar"), "did you mean 'live_avatar'"),
        (("plan", "table2", "--metrics", "sink_c"), "did you mean 'sync_c'"),
        (("plan", "table2", "--suite", "ful"), "did you mean 'full'"),
        (("plan", "table2", "--seeds", "one"), "whole numbers"),
        (("plan", "table2", "--limit", "0"), "1 or more"),
        (("plan", "table2", "--seconds", "60"), "belongs to the stress experiment"),
        (("list", "metric"), "did you mean 'metrics'"),
        (("status", "no/such/run"), "is not a run folder"),
        (("list", "--plugin", "no_such.py"), "does not exist"),
    ],
)
def test_bad_definitions_exit_2_with_the_fix(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = evalkit(*words)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_mistyped_sample_is_suggested(finished: Path, tmp_path: Path) -> None:
    result = run_fakes(tmp_path / "run", "--samples", "s22")
    assert result.code == 2
    assert "did you mean 's2'" in result.err
    assert evalkit("score", str(finished), "--samples", "s99").code == 2


def test_another_experiment_is_not_mixed_into_a_run(copied: Path) -> None:
    result = evalkit("run", "table2", "--out", str(copied))
    assert result.code == 2
    assert "holds experiment fake_table" in result.err


def test_a_wanted_method_that_cannot_run_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run_fakes(out, blocked=["fake"])
    assert result.code == 2
    assert "fake needs weights; train them" in result.err
    assert "--methods fake_other,fake_control" in result.err
    assert not (out / "records").exists()
    planned = evalkit("plan", "fake_table", "--plugin", str(PLUGIN), "--out", str(out), blocked=["fake"])
    assert planned.code == 0
    assert "not fake: fake needs weights" in planned.out


def test_a_metric_without_a_network_is_a_known_gap_unless_asked_for(tmp_path: Path, finished: Path) -> None:
    result = run_fakes(tmp_path / "run", "--metrics", "ase")
    assert result.code == 2
    assert "no ASE backbone in profile nano" in result.err


def test_list_and_plan_cost_nothing_and_write_nothing(tmp_path: Path) -> None:
    listed = evalkit("list", "--plugin", str(PLUGIN), "--json").json()
    assert "fake_table" in {one["name"] for one in listed["experiments"]}
    assert {"live_avatar", "truth", "fake"} <= {one["name"] for one in listed["methods"]}
    out = tmp_path / "run"
    result = evalkit("plan", "fake_table", "--plugin", str(PLUGIN), "--out", str(out))
    assert result.code == 0
    assert "will be built, 6 samples" in result.out
    assert not out.exists()


def test_plan_names_the_field_that_makes_a_record_stale(finished: Path) -> None:
    result = evalkit("plan", "fake_table", "--plugin", str(PLUGIN), "--out", str(finished), version="2")
    assert "stale: records/generate/fake/fake_short/s0.s0.json: differs in version" in result.out


def test_run_prints_the_report_and_the_next_command(tmp_path: Path, copied: Path) -> None:
    result = run_fakes(copied)
    assert "next: python -m evalkit table" in result.out
    assert "tables:" in result.out


def test_score_alone_computes_only_scores(copied: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied / "records/score")
    clips = {path: path.stat().st_mtime_ns for path in (copied / "records/generate").rglob("*.json")}
    log = tmp_path / "extracted"
    result = evalkit("score", str(copied), extract_log=str(log))
    assert result.code == 0
    assert not log.exists(), "features are reused"
    assert len(list((copied / "records/score").rglob("*.json"))) == 24
    assert all(path.stat().st_mtime_ns == before for path, before in clips.items())


def test_score_force_computes_the_selected_scores_again_from_features(copied: Path, tmp_path: Path) -> None:
    before = {path: path.read_text() for path in (copied / "records/score").rglob("*.json")}
    times = {path: path.stat().st_mtime_ns for path in before}
    log = tmp_path / "extracted"
    result = evalkit("score", str(copied), "--force", "--methods", "fake", extract_log=str(log))
    assert result.code == 0
    assert not log.exists()
    again = {path for path in times if path.stat().st_mtime_ns != times[path]}
    assert {path.parts[-3] for path in again} == {"fake"}
    assert len(again) == 8
    assert all(json.loads(path.read_text())["value"] == json.loads(before[path])["value"] for path in again)


def test_verify_finds_every_kind_of_damage(copied: Path) -> None:
    assert evalkit("verify", str(copied)).code == 0
    (copied / "records/generate/fake/fake_short/s0.s0.json").unlink()
    (copied / "records/score/fake_quality/fake/fake_short/s1.s0.json").write_text("{")
    (copied / "artefacts/fake_other/fake_short/s3.s0/video.mp4").write_bytes(b"?")
    result = evalkit("verify", str(copied), "--json")
    problems = "\n".join(result.json()["problems"])
    assert result.code == 1
    assert "missing: generate/fake/fake_short/s0" in problems
    assert "s1.s0.json is not readable JSON" in problems
    assert "artefacts/fake_other/fake_short/s3.s0/video.mp4 has 1 bytes" in problems


def test_compare_finds_what_changed_and_gates_give_exit_code_3(finished: Path, copied: Path, tmp_path: Path) -> None:
    gates = tmp_path / "gates.toml"
    gates.write_text('[[gate]]\nmetric = "fake_quality"\nmethod = "fake"\nat_least = 0.0\n')
    same = evalkit("compare", str(finished), str(copied), "--gate", str(gates), "--json")
    assert same.code == 0
    assert {one["verdict"] for one in same.json()["changes"] if one["metric"] == "fake_quality"} == {"equivalent"}
    gates.write_text('[[gate]]\nmetric = "fake_quality"\nmethod = "fake"\nat_least = 2.0\n')
    broken = evalkit("compare", str(copied), "--gate", str(gates))
    assert broken.code == 3
    assert "gate broken: metric fake_quality, method fake: at_least 2.0" in broken.out
    assert evalkit("compare", str(copied)).code == 2


def test_the_definition_holds_all_that_a_report_needs(finished: Path) -> None:
    content = json.loads((finished / "experiment.json").read_text())
    assert {"name", "title", "suite", "profile", "seeds", "limit", "partial", "packages"} <= set(content)
    assert {"name", "title", "kind", "version"} <= set(content["methods"][0])
    assert {"id", "style", "composition", "duration_s", "image", "audio", "transcript"} <= set(
        content["datasets"][0]["samples"][0]
    )
    metric = next(one for one in content["metrics"] if one["name"] == "fake_quality")
    assert {"name", "title", "unit", "direction", "digits"} <= set(metric)
    assert set(metric["backbone"]) == {"name", "digest", "kind"}
    assert {"name", "title", "columns", "rows"} <= set(content["tables"][0])
    assert content["tables"][0]["columns"] == ["ase", "fake_quality", "fps", "ttff"]


def test_records_point_to_their_environment_which_holds_no_host_or_path(finished: Path) -> None:
    record = json.loads((finished / "records/generate/fake/fake_short/s0.s0.json").read_text())
    block = (finished / f"env/{record['origin']['env_id']}.json").read_text()
    assert {"python", "packages", "git", "cpu", "ram_bytes", "kernel", "torch_threads"} <= set(json.loads(block))
    assert str(Path.home()) not in block


def test_drift_and_paired_statistics_are_written(finished: Path) -> None:
    drift = json.loads((finished / "stats/drift.json").read_text())
    assert {tuple(sorted(one)) for one in drift} == {("dataset", "method", "metric", "sample", "t_s", "value")}
    assert {one["dataset"] for one in drift} == {"fake_long"}
    assert drift[0]["t_s"] == [5.0, 15.0, 25.0]
    paired = json.loads((finished / "stats/paired.json").read_text())
    assert {one["against"] for one in paired} == {"fake_other", "fake_control"}
    assert {"mean", "low", "high", "n", "wins", "ties", "losses"} <= set(paired[0])
