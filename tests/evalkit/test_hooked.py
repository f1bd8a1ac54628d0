"""The clocks' own launcher runs a script as its interpreter would and notes the calls that were asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.programs.clocks import Clocks, Event, read_clocks, read_events
from evalkit.programs.running import Ended
from tests.evalkit.evalkit_bench import ROOT

HOOKED = ROOT / "evalkit/programs/hooked.py"

SCRIPT = """
import sys, time
from dataclasses import dataclass
from models.net import Net, spoken

@dataclass
class Pipeline:
    steps: int = 2
    def forward(self, text):
        time.sleep(0.05)
        return Net().run(text) + Net.fixed(1)

def save(text):
    return text

if __name__ == "__main__":
    print(save(Pipeline().forward(" ".join(sys.argv[1:]))), __file__.endswith("main.py"), spoken())
"""
NET = """
class Net:
    def run(self, text):
        return text.upper()
    @staticmethod
    def fixed(n):
        return "!" * n

def spoken():
    return "aloud"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scripts/models").mkdir(parents=True)
    (tmp_path / "scripts/main.py").write_text(SCRIPT)
    (tmp_path / "scripts/models/__init__.py").write_text("")
    (tmp_path / "scripts/models/net.py").write_text(NET)
    return tmp_path


def run(project: Path, *targets: str, words: tuple[str, ...] = ("a", "b")) -> tuple[str, list[dict]]:
    hooks = [{"target": target, "role": "generate"} for target in targets]
    (project / "hooks.json").write_text(json.dumps(hooks))
    files = [str(project / name) for name in ("events.jsonl", "hooks.json", "scripts/main.py")]
    done = subprocess.run(
        [sys.executable, str(HOOKED), *files, *words], capture_output=True, text=True, check=False, cwd=project
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (project / "events.jsonl").read_text().splitlines()]
    return done.stdout.strip(), lines


def test_the_script_runs_as_it_would_alone(project: Path) -> None:
    words = [sys.executable, "scripts/main.py", "a", "b"]
    alone = subprocess.run(words, capture_output=True, text=True, cwd=project, check=True)
    assert run(project, "models.net:Net.run")[0] == alone.stdout.strip() == "A B! True aloud"


def test_calls_in_modules_and_in_the_script_itself_are_noted(project: Path) -> None:
    _, lines = run(project, "models.net:Net.run", "models.net:Net.fixed", "__main__:Pipeline.forward", "__main__:save")
    calls = [line["target"] for line in lines if "begin_s" in line]
    assert calls == ["models.net:Net.run", "models.net:Net.fixed", "__main__:Pipeline.forward", "__main__:save"]
    forward = next(line for line in lines if line.get("target") == "__main__:Pipeline.forward" and "begin_s" in line)
    assert forward["end_s"] - forward["begin_s"] >= 0.05


def test_a_function_that_is_not_there_is_noted_and_the_script_runs(project: Path) -> None:
    out, lines = run(project, "models.net:Net.gone", "models.nowhere:f")
    assert out.startswith("A B!")
    assert [line["target"] for line in lines if line["role"] == "missing"] == ["models.net:Net.gone"]


def test_an_error_of_the_script_is_its_own(project: Path) -> None:
    (project / "scripts/main.py").write_text("raise SystemExit(3)\n")
    (project / "hooks.json").write_text("[]")
    files = [str(project / name) for name in ("events.jsonl", "hooks.json", "scripts/main.py")]
    assert subprocess.run([sys.executable, str(HOOKED), *files], check=False).returncode == 3


# ------------------------------------------------------------------------------------------------------------- clocks


def ended(*marks: tuple[float, str]) -> Ended:
    return Ended(0, "", 100.0, 200.0, 0, 0, tuple(marks), "")


def test_without_anything_else_the_pipeline_clock_is_the_process_clock_and_says_so() -> None:
    assert read_clocks(ended(), [], 1, {}) == [Clocks(100.0, 100.0, 100.0, "process", 1)]
    assert read_clocks(ended(), [], 4, {})[2] == Clocks(100.0, 25.0, 100.0, "process", 4)


def test_hooks_of_one_rank_give_the_pipeline_and_the_earliest_frames_the_stream() -> None:
    events = [
        Event("load", "m:L", 101.0, 120.0),
        Event("generate", "m:G", 120.0, 180.0, rank=0),
        Event("generate", "m:G", 119.0, 181.0, rank=4),
        *(Event("frames", "m:D", moment, moment + 1, rank=4) for moment in (125.0, 130.0, 140.0)),
    ]
    assert read_clocks(ended(), events, 1, {"m:D": 1}) == [Clocks(100.0, 60.0, 11.0, "hooks", 1)]
    assert read_clocks(ended(), events, 1, {})[0].stream_s == 6.0


def test_starts_and_ends_of_several_samples_are_paired() -> None:
    events = [
        Event("start", "a:s", 110.0, 111.0), Event("start", "a:s", 112.0, 113.0), Event("end", "a:e", 120.0, 121.0),
        Event("start", "a:s", 130.0, 131.0), Event("end", "a:e", 149.0, 150.0),
    ]  # fmt: skip
    assert [one.pipeline_s for one in read_clocks(ended(), events, 2, {})] == [11.0, 20.0]


def test_printed_lines_stand_in_for_hooks() -> None:
    first = [(110.0, "[1/2] clip"), (115.0, "[2/2] clip"), (130.0, "saving in: a")]
    marks = [*first, (131.0, "[1/3] clip"), (150.0, "saving in: b")]
    found = read_clocks(ended(*marks), [], 2, {}, r"^\[1/\d+\]", "saving in")
    assert [(one.pipeline_s, one.source) for one in found] == [(20.0, "printed lines"), (19.0, "printed lines")]
    one_start = read_clocks(ended((110.0, "begin"), (130.0, "saved"), (150.0, "saved")), [], 2, {}, "begin", "saved")
    assert [one.pipeline_s for one in one_start] == [20.0, 20.0]


def test_torn_lines_of_an_event_file_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "e").write_text(
        '{"role": "generate", "target": "t", "begin_s": 1.0, "end_s": 2.0, "rank": 0}\n{"role": "hooked"}\n{"role": "gen'
    )
    assert read_events(tmp_path / "e") == [Event("generate", "t", 1.0, 2.0, 0)]
    assert read_events(tmp_path / "none") == []
