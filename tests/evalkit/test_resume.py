"""Whatever stops a run, the same command finishes it, and the tables are the same to the byte."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from tests.evalkit.evalkit_bench import PLUGIN, command, derived_bytes, environment, evalkit, run_fakes

# 50 in the full check (EVALKIT_KILLS=50); each costs the start of a run.
KILLS = int(os.environ.get("EVALKIT_KILLS", "10"))
WORDS = ("--methods", "fake,fake_control")


def start(out: Path, **fake: object) -> subprocess.Popen[str]:
    """A run in the background, in a process group of its own as in a terminal."""
    words = command("run", "fake_table", "--plugin", str(PLUGIN), "--out", str(out), "--retry-failed", *WORDS)
    return subprocess.Popen(
        words,
        env=environment(**fake),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def descendants(pid: int) -> list[int]:
    """Jobs of a driver and the workers under them."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(one) for one in task.read_text().split()]
        except OSError:
            continue
    return found + [one for child in found for one in descendants(child)]


def wait_for(path: Path, pattern: str, count: int = 1) -> None:
    deadline = time.monotonic() + 20
    while len(list(path.rglob(pattern))) < count:
        assert time.monotonic() < deadline, f"{pattern} did not appear"
        time.sleep(0.01)


def read_until(process: subprocess.Popen[str], words: str) -> None:
    """Read the run's output up to a line with these words; a run that never prints them is killed and fails the test."""
    guard = threading.Timer(30, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        assert any(words in line for line in process.stdout), f"the run ended without {words!r}"
    finally:
        guard.cancel()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def test_kill_9_at_random_moments_changes_no_byte_of_the_tables(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert run_fakes(whole, *WORDS).code == 0
    chance, killed = random.Random(20251204), tmp_path / "killed"
    hits = {"driver": 0, "job or worker": 0}
    for number in range(KILLS):
        # Short lives at first, so that every part of a run is hit; each gets a little further.
        process = start(killed, sleep_s=0.02)
        try:
            process.wait(timeout=chance.uniform(0.15, 1.0 + number % 5 * 0.6))
            shutil.rmtree(killed)  # it came to its end: begin anew, so that all kills hit something
            continue
        except subprocess.TimeoutExpired:
            below = descendants(process.pid)
            if below and chance.random() < 0.5:
                hits["job or worker"] += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(below), signal.SIGKILL)
                time.sleep(chance.uniform(0.0, 0.3))
            hits["driver"] += 1
            below += descendants(process.pid)
            process.kill()
            process.communicate()
            end = time.monotonic() + 20
            while any(map(is_alive, below)) and time.monotonic() < end:
                time.sleep(0.01)
            assert not any(map(is_alive, below)), "a job or a worker outlived its driver"
    assert hits["driver"] >= KILLS // 2
    last = evalkit("run", "fake_table", "--plugin", str(PLUGIN), "--out", str(killed), "--retry-failed", *WORDS)
    assert last.code == 0, last.out + last.err
    assert derived_bytes(killed) == derived_bytes(whole)
    assert not list(killed.rglob(".*.tmp-*"))
    assert evalkit("verify", str(killed)).code == 0


def test_ctrl_c_finishes_the_record_in_hand_and_the_same_command_continues(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out, sleep_s=0.4)
    wait_for(out, "records/generate/fake/*/*.json")
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=20)
    assert process.returncode == 130, text
    assert "next: python -m evalkit run fake_table" in text
    made = {path: path.stat().st_mtime_ns for path in (out / "records").rglob("*.json")}
    assert 1 <= len(made) < 16
    assert evalkit("status", str(out)).out.count("missing") >= 1
    assert run_fakes(out, *WORDS).code == 0
    assert all(path.stat().st_mtime_ns == before for path, before in made.items()), "nothing was made twice"


def test_a_second_ctrl_c_stops_at_once_and_leaves_a_valid_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out, hang=["fake/s0"])
    wait_for(out / "artefacts", ".*.tmp-*")
    process.send_signal(signal.SIGINT)
    read_until(process, "finishing the record in hand")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - begun < 10
    assert not (out / "records/generate").exists()
    assert run_fakes(out, *WORDS).code == 0


def test_a_second_identical_run_computes_nothing(copied: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    result = run_fakes(copied)
    assert result.code == 0
    after = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    changed = {path.name for path in after if before.get(path) != after[path]}
    assert changed <= {"driver.lock", "digests.json", "index.html", "made_from.json"}, changed


def test_a_spoilt_video_is_made_again_and_its_scores_stay_the_same(copied: Path) -> None:
    tables = derived_bytes(copied)
    video = copied / "artefacts/fake/fake_short/s1.s0/video.mp4"
    good = video.read_bytes()
    video.write_bytes(good[:5])
    assert evalkit("verify", str(copied)).code == 1
    assert run_fakes(copied).code == 0
    assert video.read_bytes() == good
    assert derived_bytes(copied) == tables


def test_spoilt_features_are_extracted_again(copied: Path, tmp_path: Path) -> None:
    features = copied / "features/fake/fake/fake_short/s1.s0.npz"
    good, log = features.read_bytes(), tmp_path / "extracted"
    features.write_bytes(good[: len(good) // 2])
    assert evalkit("score", str(copied), extract_log=str(log)).code == 0
    assert features.read_bytes() == good
    assert log.read_text() == "fake/s1\n"
