"""Other systems through the whole harness: configured by a file, failing as programs fail, while the run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.executors.local import LocalExecutor
from evalkit.jobs import JobSpec
from evalkit.lock import RunLock
from evalkit.progress import Console
from evalkit.runner import Driver, Interrupts
from evalkit.store import Store
from tests.evalkit.evalkit_bench import Result, evalkit
from tests.evalkit.fake_checkouts import Fake, make_fake
from tests.evalkit.fake_system import write_video

PLUGIN = Path(__file__).with_name("rival_run.py")


def run_rivals(tmp_path: Path, methods: str, *words: str, experiment: str = "rivals") -> Result:
    return evalkit(
        "run", experiment, "--plugin", str(PLUGIN), "--out", str(tmp_path / "run"), "--methods", methods,
        "--settings", str(tmp_path / "evalkit.toml"), *words,
    )  # fmt: skip


def settings(tmp_path: Path, *fakes: Fake, more: str = "") -> None:
    """evalkit.toml for some fakes."""
    lines = []
    for fake in fakes:
        lines.append(f"[systems.{fake.system.name}]")
        for one in fake.setup().assigned:
            key, _, value = one.removeprefix(f"systems.{fake.system.name}.").partition("=")
            lines.append(f"{key} = {json.dumps(value)}")
    (tmp_path / "evalkit.toml").write_text("\n".join([*lines, more, ""]))


def record(tmp_path: Path, *parts: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "run/records").joinpath(*parts).read_text())
    return content


def cells(tmp_path: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = json.loads((tmp_path / "run/table/cells.json").read_text())
    return {(one["method"], one["dataset"], one["metric"]): one for one in found}


def test_speed_is_read_from_the_clips_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    settings(tmp_path, make_fake("wan_s2v", tmp_path))
    result = run_rivals(tmp_path, "wan_s2v")
    assert result.code == 0, result.err
    speed = record(tmp_path, "speed", "wan_s2v", "clips.json")
    assert (speed["verdict"], speed["protocol"]["name"], len(speed["repeats"])) == ("VALID", "clips", 2)
    clip = record(tmp_path, "generate", "wan_s2v", "voices_long", "s0.s0.json")
    assert clip["details"]["clocks"]["source"] == "printed lines"
    assert clip["frames"] == 256
    fps = cells(tmp_path)["wan_s2v", "voices_long", "fps"]
    assert fps["value"] == pytest.approx(speed["fps_end_to_end"])
    assert "speed: clips; median and range of 2 clips on voices_long" in fps["reason"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/records").rglob("*.json")}
    assert run_rivals(tmp_path, "wan_s2v").code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_each_failure_is_a_record_with_the_logs_tail_and_the_run_goes_on(tmp_path: Path) -> None:
    """A hang, a half file, a flood of output, a wrong length and a missing GPU, one system each; then one that works."""
    names = ("ditto", "wan_s2v", "infinitetalk", "hallo3", "multitalk", "soulx_liveact")
    behaviours = ("hang", "half", "flood", "wrong_length", "no_gpu", "")
    settings(tmp_path, *(make_fake(name, tmp_path / name) for name in names))
    told = [f"systems.{name}.environment.FAKE_BEHAVIOUR={how}" for name, how in zip(names, behaviours, strict=True)]
    # 1800 s are given for loading; a negative allowance per second of voice leaves 6 s.
    told.append("systems.ditto.limit_per_s=-448.5")
    words = [word for one in told for word in ("--set", one)]
    result = run_rivals(tmp_path, ",".join(names), "--samples", "s0", *words, experiment="short_rivals")
    assert result.code == 1, result.err
    errors = {
        name: record(tmp_path, "generate", name, "voices_short", "s0.s0.json")["error"] for name in names[:5]
    }
    assert "limit of 6 s" in errors["ditto"]["message"]
    assert "exit code 1" in errors["wan_s2v"]["message"]
    assert "frames" in errors["hallo3"]["message"]
    assert "Found no NVIDIA driver" in errors["multitalk"]["tail"]
    assert all(error["log"].startswith("logs/") for error in errors.values() if error)
    # A gigabyte of output is no fault of its own.
    assert errors["infinitetalk"] is None
    assert sum(path.stat().st_size for path in (tmp_path / "run/logs").iterdir()) < 8 << 20
    assert record(tmp_path, "generate", "soulx_liveact", "voices_short", "s0.s0.json")["status"] == "done"
    assert not list((tmp_path / "run/artefacts").rglob("*scratch*"))


def test_a_system_that_was_asked_for_by_name_must_be_ready(tmp_path: Path) -> None:
    settings(tmp_path)
    result = run_rivals(tmp_path, "wan_s2v,ditto")
    assert result.code == 2
    assert "wan_s2v is not set up" in result.err
    fake = make_fake("wan_s2v", tmp_path)
    settings(tmp_path, fake)
    (fake.weights / "Wan2.1_VAE.pth").unlink()
    result = run_rivals(tmp_path, "wan_s2v")
    assert result.code == 2
    assert "hf download Wan-AI/Wan2.2-S2V-14B" in result.err


def test_lists_run_as_one_process_through_the_harness(tmp_path: Path) -> None:
    settings(tmp_path, make_fake("hallo3", tmp_path))
    result = run_rivals(tmp_path, "hallo3")
    assert result.code == 0, result.err
    clips = [record(tmp_path, "generate", "hallo3", name, "s0.s0.json") for name in ("voices_short", "voices_long")]
    assert {one["details"]["clocks"]["shared"] for one in clips} == {4}


def test_a_voice_that_is_too_long_leaves_its_cells_empty_with_the_reason(tmp_path: Path) -> None:
    settings(tmp_path, make_fake("echomimic_v2", tmp_path))
    result = run_rivals(tmp_path, "echomimic_v2")
    assert result.code == 0, result.err
    assert not (tmp_path / "run/records/generate/echomimic_v2/voices_long").exists()
    found = cells(tmp_path)
    assert found["echomimic_v2", "voices_short", "fps"]["value"] > 0
    assert found["echomimic_v2", "voices_long", "fps"]["value"] is None
    assert "336 of them" in found["echomimic_v2", "voices_long", "fps"]["reason"]


def test_any_command_and_any_folder_of_files_are_methods(tmp_path: Path) -> None:
    program = tmp_path / "mine/run.py"
    program.parent.mkdir()
    program.write_text(
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from tests.evalkit.fake_system import write_video\nfrom pathlib import Path\n"
        "print('loading', flush=True); time.sleep(0.2); print('go', flush=True)\n"
        "assert sys.argv[3].startswith('prompt of'), sys.argv\n"
        "write_video(Path(sys.argv[2]), round(25 * float(sys.argv[4])), 25)\nprint('gone', flush=True)\n"
    )
    root = Path(__file__).resolve().parents[2]
    command = f"{__import__('sys').executable} run.py {root} {{out_file}} {{prompt}} {{seconds}}"
    for dataset, seconds in (("voices_short", 4), ("voices_long", 16)):
        for sample in ("s0", "s1"):
            write_video(tmp_path / "theirs" / dataset / f"{sample}.mp4", 25 * seconds, 25)
    (tmp_path / "theirs/voices_long/s1.mp4").unlink()
    settings(tmp_path, more=(
        f'[commands.mine]\ncommand = {json.dumps(command)}\nfolder = "mine"\nstart = "^go"\nend = "^gone"\n'
        '[videos.theirs]\nfolder = "theirs"\n'
    ))  # fmt: skip
    listed = evalkit("list", "methods", "--settings", str(tmp_path / "evalkit.toml"))
    assert "command:mine" in listed.out
    result = run_rivals(tmp_path, "command:mine,videos:theirs")
    assert result.code == 1, "one file is missing"
    found = cells(tmp_path)
    assert found["command:mine", "voices_long", "fps"]["value"] > 0
    clip = record(tmp_path, "generate", "command:mine", "voices_short", "s0.s0.json")
    assert clip["details"]["clocks"]["source"] == "printed lines"
    assert clip["details"]["clocks"]["process_s"] > clip["details"]["clocks"]["pipeline_s"] + 0.2
    assert found["videos:theirs", "voices_short", "fps"]["status"] == "not_applicable"
    lost = record(tmp_path, "generate", "videos:theirs", "voices_long", "s1.s0.json")
    assert "looked for voices_long/s1.mp4 and s1.mp4" in lost["error"]["message"]


def test_doctor_tells_what_is_ready_what_is_missing_and_the_commands(tmp_path: Path) -> None:
    settings(tmp_path, make_fake("wan_s2v", tmp_path))
    words = ("doctor", "table2", "--settings", str(tmp_path / "evalkit.toml"), "--json")
    checks = {one["name"]: one for one in evalkit(*words).json()}
    systems = {name for name in checks if name.startswith("system ")}
    assert len(systems) == 8, "all of the paper's"
    assert checks["system wan_s2v"]["state"] == "ok"
    assert "80 GB (estimate)" in checks["system wan_s2v"]["detail"]
    assert "of 1 GPUs are here" in checks["  devices"]["detail"]
    assert checks["system hallo3"]["state"] == "warn", "nobody asked for it"
    assert "not ready; needs 1 GPU" in checks["system hallo3"]["detail"]
    fixes = [one["fix"] for one in checks.values()]
    assert any("git clone https://github.com/Omni-Avatar/OmniAvatar" in fix for fix in fixes)
    asked = evalkit(*words, "--methods", "hallo3")
    assert asked.code == 2
    assert {one["name"]: one for one in asked.json()}["system hallo3"]["state"] == "fail"


@pytest.mark.parametrize(
    ("method", "text", "message"),
    [
        ("ditto", "[systems.ditto\n", "is no TOML"),
        ("ditto", "[sistems.ditto]\n", "did you mean 'systems'"),
        ("ditto", '[systems.ditto]\nchekout = "x"\n', "did you mean 'checkout'"),
        ("ditto", "[systems.ditto]\ngpus = 1\n", "names no checkout"),
        ("videos:x", "[videos.x]\n", "has no folder"),
    ],
)
def test_a_wrong_settings_file_exits_2_with_the_fix(method: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "evalkit.toml").write_text(text)
    result = run_rivals(tmp_path, method)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_wrong_assignment_exits_2_with_the_fix(tmp_path: Path) -> None:
    result = evalkit("plan", "table2", "--set", "ditto.checkout=x")
    assert result.code == 2
    assert "write SECTION.NAME.KEY=VALUE" in result.err


def test_a_program_is_started_where_there_are_fewer_devices_than_it_asks_for(tmp_path: Path) -> None:
    executor = LocalExecutor(["0", "1"])
    driver = Driver(Store(tmp_path), Console(is_silent=True), RunLock(tmp_path, "run"), Interrupts(), executor)
    theirs = JobSpec("generate-ditto", "generate", (), needs={"gpus": 8, "is_alone": False, "or_fewer": True})
    assert driver._needs(theirs).gpus == 2, "it says itself what it lacks"
    ours = JobSpec("generate-live_avatar", "generate", (), needs={"gpus": 8, "is_alone": False})
    assert driver._needs(ours).gpus == 8, "and is refused before anything has begun"
