"""Programs of others: limits hold for whole process trees, output stays short, and nothing outlives the one who asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from evalkit.programs import Program, ProgramError, run_program
from evalkit.programs.bounded_log import BoundedLog, Marks
from tests.evalkit.evalkit_bench import ROOT

# Starts a child in a session of its own, as torchrun does with its workers, and tells its number.
WITH_CHILD = """
import subprocess, sys, time, pathlib
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(float(sys.argv[2]))
"""


def python(code: str, *words: str, **limits: float) -> Program:
    return Program([sys.executable, "-c", code, *words], Path.cwd(), **limits)  # type: ignore[arg-type]


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_good_end_gives_code_clock_and_output(tmp_path: Path) -> None:
    ended = run_program(python("print('hello'); import sys; print('trouble', file=sys.stderr)"), tmp_path)
    assert (ended.code, ended.reason, ended.problem) == (0, "", "")
    assert ended.tail.splitlines() == ["hello", "trouble"]
    assert ended.wall_s > 0
    ended.check("it")


def test_a_bad_end_is_an_error_with_the_end_of_the_output(tmp_path: Path) -> None:
    ended = run_program(python("print('RuntimeError: no NVIDIA driver'); raise SystemExit(1)"), tmp_path)
    with pytest.raises(ProgramError, match="fake: it ended with exit code 1") as raised:
        ended.check("fake")
    assert "no NVIDIA driver" in raised.value.log_tail


def test_a_program_that_cannot_start_says_why(tmp_path: Path) -> None:
    ended = run_program(Program([str(tmp_path / "no-such-python")], tmp_path), tmp_path / "scratch")
    assert "could not be started" in ended.problem
    assert "No such file" in ended.problem


def test_a_hang_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    ended = run_program(python(WITH_CHILD, str(tmp_path / "pid"), "600", limit_s=1.5), tmp_path)
    assert ended.problem == "stopped after its limit of 2 s"
    assert ended.wall_s < 30
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_program_deaf_to_requests_is_ended_all_the_same(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    assert "limit" in run_program(python(code, limit_s=0.8), tmp_path).problem


def test_what_a_finished_program_left_running_is_ended(tmp_path: Path) -> None:
    ended = run_program(python(WITH_CHILD, str(tmp_path / "pid"), "0"), tmp_path)
    assert ended.problem == ""
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_memory_beyond_the_limit_ends_the_program(tmp_path: Path) -> None:
    code = "import time; held = bytearray(400 << 20); time.sleep(600)"
    ended = run_program(python(code, memory_bytes=200 << 20), tmp_path)
    assert "GiB of memory, its limit is 0.20" in ended.problem
    assert ended.peak_bytes > 200 << 20


def test_a_flood_of_output_costs_neither_disk_nor_memory(tmp_path: Path) -> None:
    code = "import os\nfor _ in range(300): os.write(1, b'x' * (1 << 20))\nos.write(1, b'\\nthe end\\n')"
    ended = run_program(python(code), tmp_path)
    assert ended.output_bytes == (300 << 20) + 9
    assert (tmp_path / "program.log").stat().st_size < 2 << 20
    assert "bytes of output left out" in ended.log
    assert ended.tail.endswith("the end")


def test_the_program_ends_when_the_one_who_asked_is_killed(tmp_path: Path) -> None:
    asker = (
        "import sys; from pathlib import Path; from evalkit.programs import Program, run_program;"
        f"run_program(Program([sys.executable, '-c', {WITH_CHILD!r}, {str(tmp_path / 'pid')!r}, '600'], Path('.')),"
        f" Path({str(tmp_path / 'scratch')!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", asker], env=environment, start_new_session=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text() or 0)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert is_gone(child)


def test_marked_lines_keep_their_moments(tmp_path: Path) -> None:
    code = "import time; print('[1/2] clip', flush=True); time.sleep(0.4); print('noise'); print('saving in: x', flush=True)"
    ended = run_program(Program([sys.executable, "-c", code], tmp_path, marks=[r"^\[\d+/\d+\]", "saving in:"]), tmp_path)
    (first_s, first), (last_s, last) = ended.marks
    assert (first, last) == ("[1/2] clip", "saving in: x")
    assert ended.begun_s < first_s < first_s + 0.3 < last_s < ended.ended_s


def test_marks_find_lines_of_progress_bars_and_across_pieces() -> None:
    marks = Marks(["done"])
    for piece in (b"10%\r50% do", b"ne\r100%", b" done\nrest done"):
        marks.write(piece, 1.0)
    assert [line for _, line in marks.found] == ["50% done", "100% done"]


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_bounded_log_keeps_beginning_and_end(tmp_path: Path, piece: int) -> None:
    whole = bytes(range(256)) * 4
    with (tmp_path / "log").open("wb") as file:
        log = BoundedLog(file, head_bytes=100, tail_bytes=50)
        for first in range(0, len(whole), piece):
            log.write(whole[first : first + piece])
        log.close()
    found = (tmp_path / "log").read_bytes()
    assert found.startswith(whole[:100])
    assert found.endswith(whole[-50:])
    assert b"[... 874 bytes of output left out ...]" in found
