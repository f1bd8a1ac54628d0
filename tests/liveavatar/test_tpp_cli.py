"""The verb `tpp run` as users call it: alone, started by itself, started by torchrun; and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from liveavatar import cli
from liveavatar.tpp.membership import Rendezvous
from tests.liveavatar import tpp_processes as processes

ROOT = Path(__file__).parents[2]
SECONDS = 1.0


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    pixels = np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "face.png")
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((processes.sound(SECONDS) * 32767).astype("<i2").tobytes())
    return folder


def command(inputs: Path, out: Path, *more: str) -> list[str]:
    files = ["--reference", str(inputs / "face.png"), "--audio", str(inputs / "voice.wav"), "--out", str(out)]
    return ["tpp", "run", "--weights", "random", "--threads", "1", "--no-warm-up", *files, *more]


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def alone(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video that one process makes, and its timeline beside it."""
    out = tmp_path_factory.mktemp("alone") / "talk.mp4"
    assert cli.main(command(inputs, out, "--layout", "1", "--timeline", str(out.with_suffix(".jsonl")))) == 0
    return out


def test_one_device_makes_a_video_with_sound_and_a_timeline(alone: Path) -> None:
    assert frames(alone).shape == (25, 128, 96, 3)
    with av.open(str(alone)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    stages = {json.loads(line).get("stage") for line in alone.with_suffix(".jsonl").read_text().splitlines()}
    assert {"voice", "prefill", "denoise", "decode", "output"} <= stages


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_torchrun_starts_the_same_pipeline(inputs: Path, alone: Path, tmp_path: Path) -> None:
    """Two processes; the same frames as one makes."""
    out = tmp_path / "talk.mp4"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "liveavatar"]
    done = subprocess.run(
        [*torchrun, *command(inputs, out, "--json")], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (told["frames"], told["blocks"], told["gone"]) == (25, 3, "")
    assert np.array_equal(frames(out), frames(alone))


def test_started_by_itself_it_says_in_one_line_which_stage_failed(inputs: Path, tmp_path: Path) -> None:
    """The weights folder is empty: each process finds out for itself, one message comes of it."""
    (tmp_path / "empty").mkdir()
    asked = command(inputs, tmp_path / "talk.mp4", "--layout", "0-3|vae")
    asked[asked.index("random")] = str(tmp_path / "empty")
    done = subprocess.run(
        [sys.executable, "-m", "liveavatar", *asked], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("liveavatar")]
    assert len(lines) == 1, done.stderr
    assert "tpp: stage '" in lines[0]
    assert "raised WeightsError" in lines[0]


def test_several_streams_in_one_engine(inputs: Path, alone: Path, tmp_path: Path) -> None:
    given = {"reference": str(inputs / "face.png"), "audio": str(inputs / "voice.wav")}
    jobs = [given | {"out": str(tmp_path / name), "seed": seed} for name, seed in (("a.mp4", 0), ("b.mp4", 1))]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    asked = ["tpp", "run", "--weights", "random", "--threads", "1", "--layout", "single", "--no-warm-up"]
    assert cli.main([*asked, "--jobs", str(tmp_path / "jobs.jsonl")]) == 0
    assert np.array_equal(frames(tmp_path / "a.mp4"), frames(alone))
    assert not np.array_equal(frames(tmp_path / "b.mp4"), frames(alone))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--layout", "9"], "9 devices for 4 steps and decoding: give 1 to 5"),
        (["--layout", "0-1|2-3|vae", "--cache", "clean"], "finishes each block before the next begins"),
        (["--set", "first_block=tiny"], "first_block='tiny': allowed are"),
        (["--set", "fist_block=short"], "give NAME=VALUE with one of"),
        (["--set", "aas=maybe"], "'maybe' is no true or false"),
        (["--depth", "0"], "--depth 0: give 1 or more"),
        (["--in-flight", "0"], "--in-flight 0: give 1 or more"),
        (["--stall-limit", "0"], "--stall-limit 0: give seconds, above 0"),
        (["--layout", "1", "--graphs"], "cannot record graphs of its work"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    more: list[str], said: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(inputs, tmp_path / "talk.mp4", *more)) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_missing_and_contradicting_inputs_are_named(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tpp", "run"]) == 2
    assert "--reference, --audio, --out missing" in capsys.readouterr().err
    assert cli.main(["tpp", "run", "--layout", "1", "--jobs", "j", "--out", "x.mp4"]) == 2
    assert "--jobs names references" in capsys.readouterr().err
    (tmp_path / "jobs").write_text('{"reference": "a.png", "sound": "b"}')
    assert cli.main(["tpp", "run", "--layout", "1", "--jobs", str(tmp_path / "jobs")]) == 2
    assert "unknown sound" in capsys.readouterr().err
    assert cli.main(command(inputs, tmp_path / "talk.avi", "--layout", "2")) == 2
    assert "does not end in .mp4" in capsys.readouterr().err


def test_a_rendezvous_is_what_torchrun_has_set() -> None:
    given = {"RANK": "3", "WORLD_SIZE": "5", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}
    assert Rendezvous.of(given) == Rendezvous(3, 5, 1, "host", 29500)
    hosted = given | {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert Rendezvous.of(hosted) == Rendezvous(3, 5, 1, "host", 29500, has_host=True)
    assert Rendezvous.of(given | {"LIVEAVATAR_TPP_STARTER": "7"}) == Rendezvous(3, 5, 1, "host", 29500, starter=7)
    assert Rendezvous.of({}) is None
    with pytest.raises(ValueError, match="start the processes with torchrun"):
        Rendezvous.of({"RANK": "0", "WORLD_SIZE": "2"})
