"""Table 2 with the official profile on a tiny folder in the official layout: the road that the real weights will take."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from evalkit.errors import PrerequisiteMissingError
from evalkit.experiments import experiment_names, get_experiment
from evalkit.generator import GeneratorSetup, configured_method
from evalkit.metrics.base import Clip
from evalkit.metrics.face_crop import box_in_video
from evalkit.metrics.image_features import crop_to_aspect
from evalkit.progress import Console
from evalkit.resolve import Selection, resolve
from liveavatar.checkpoints.sample import write_sample
from liveavatar.inputs import read_picture
from tests.evalkit.evalkit_bench import command, environment

SETS = Path(__file__).with_name("tiny_sets.py")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("official") / "ckpt"
    write_sample(root)
    return root


def run(verb: str, out: Path, weights: Path, *words: str) -> subprocess.CompletedProcess[str]:
    given = ["--profile", "s2v-14b", "--weights", str(weights), "--size", "48x64", "--out", str(out), "--plugin", str(SETS)]
    given += ["--methods", "live_avatar", "--limit", "1", "--json", *words]
    return subprocess.run(
        command(verb, "table2", *given), env=environment(), capture_output=True, text=True, timeout=550, check=False
    )


def test_table2_from_a_checkpoint_folder(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("run", out, weights, "--threads", "1")
    assert done.returncode == 0, done.stderr + done.stdout

    videos = sorted(out.glob("artefacts/live_avatar/*/*.s0/video.mp4"))
    assert len(videos) == 2
    with av.open(str(videos[0])) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (48, 64, 25)

    cells = json.loads((out / "table" / "cells.json").read_text())
    ours = {
        cell["metric"]: cell for cell in cells if cell["method"] == "live_avatar" and cell["dataset"] == "genbench_short"
    }
    for metric in ("sync_c", "sync_d", "dino_s", "mouth_correlation", "iqa", "ase"):
        assert isinstance(ours[metric]["value"], float), ours[metric]
    assert ours["ase"]["backbone"].startswith("nano-quality@")
    definition = json.loads((out / "experiment.json").read_text())
    assert {one["backbone"]["kind"] for one in definition["metrics"] if one["backbone"]} == {"nano", "none"}
    assert definition["generator"]["size"] == "48x64"

    planned = json.loads(run("plan", out, weights).stdout)
    assert planned["due"] == []
    other = tmp_path / "other"
    write_sample(other, seed=1)
    planned = json.loads(run("plan", out, other).stdout)
    assert {one["reason"] for one in planned["due"] if one["record"].startswith("records/generate")} == {
        "differs in identity.weights"
    }


def test_everything_from_a_checkpoint_folder(weights: Path, tmp_path: Path) -> None:
    """Every table, figure and stream in one command, and a page over them: the paths that Table 2 alone does not take."""
    out = tmp_path / "runs"
    words = ["run", "all", "--profile", "s2v-14b", "--weights", weights, "--size", "48x64", "--out", out, "--plugin", SETS]
    words += ["--methods", "live_avatar,live_avatar_no_aas", "--metrics", "sync_c", "--limit", "1", "--seconds", "10"]
    done = subprocess.run(
        command(*map(str, words), "--threads", "1", "--json"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    clips = sorted(path.parent.name for path in (out / "tables/records/generate").glob("*/*/*.json"))
    sets = ("genbench_in_domain", "genbench_long", "genbench_short", "positions")
    assert clips == sorted([*sets, *sets])
    seen = json.loads((out / "tables/stats/positions.json").read_text())
    assert {one["method"] for one in seen} == {"live_avatar", "live_avatar_no_aas"}
    tables = {path.name for path in (out / "tables/table").glob("*.md")}
    assert {"table2.md", "table3.md", "table4.md", "table6.md", "table8.md"} <= tables
    stream = json.loads(next((out / "stream/records/generate/live_avatar/stress_stream").glob("*.json")).read_text())
    assert stream["frames"] == 250
    assert stream["details"]["highest_position"] > 0
    page = (out / "index.html").read_text()
    assert (out / "tables/report/index.html").is_file()
    assert (out / "stream/report/index.html").is_file()
    assert "tables/report/index.html" in page
    assert "stream/report/index.html" in page


@pytest.mark.parametrize("name", [name for name in experiment_names() if not name.startswith("fake")])
def test_every_experiment_is_ready_for_a_checkpoint_folder(weights: Path, tmp_path: Path, name: str) -> None:
    generator = GeneratorSetup(str(weights), size="48x64")
    selection = Selection(profile="s2v-14b", generator=generator)
    made = resolve(name, selection, tmp_path, Console(is_silent=True), build=False)
    wanted = [one for one in get_experiment(name).methods if one.startswith(("live_avatar", "truth"))]
    ready = {one.name: one.reason for one in made.methods if one.name in wanted}
    assert ready == dict.fromkeys(wanted, "")
    digests = {one.identity["weights"] for one in made.methods if one.name in wanted and one.kind != "control"}
    assert len(digests) <= 1, "all rows run the same weights"


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (GeneratorSetup(), "needs --weights FOLDER; what must be in it: python -m liveavatar weights list"),
        (GeneratorSetup("random-tiny", size="48x60"), "height=60: give a multiple of 16"),
        (GeneratorSetup("random-tiny", size="wide"), "give width x height in pixels"),
        (GeneratorSetup("no/such/folder"), "no/such/folder is no folder"),
    ],
)
def test_what_the_profile_lacks_is_said_before_the_run(setup: GeneratorSetup, message: str) -> None:
    method = configured_method("live_avatar", setup)
    assert message in method.problem("s2v-14b")
    with pytest.raises(PrerequisiteMissingError, match="live_avatar"):
        method.load("s2v-14b")


def test_what_decides_the_clip_is_in_its_identity(weights: Path, tmp_path: Path) -> None:
    plain = configured_method("live_avatar", GeneratorSetup(str(weights))).identity("s2v-14b")
    moved = Path(shutil.copytree(weights, tmp_path / "elsewhere"))
    assert configured_method("live_avatar", GeneratorSetup(str(moved))).identity("s2v-14b") == plain
    assert str(tmp_path) not in json.dumps(plain)
    for setup in (
        GeneratorSetup(str(weights), size="48x64"),
        GeneratorSetup(str(weights), dtype="bfloat16"),
        GeneratorSetup(str(weights), fp8=True),
        GeneratorSetup("random"),
    ):
        assert configured_method("live_avatar", setup).identity("s2v-14b") != plain
    (moved / "Wan2.2-S2V-14B" / "config.json").write_text("{}")
    assert "config.json" in configured_method("live_avatar", GeneratorSetup(str(moved))).problem("s2v-14b")


def test_a_setup_gives_its_own_words() -> None:
    assert GeneratorSetup().words() == []
    assert GeneratorSetup("ckpt", size="48x64", fp8=True).words() == ["--weights", "ckpt", "--size", "48x64", "--fp8"]


@pytest.mark.parametrize("size", [(48, 64), (96, 128), (176, 96), (64, 64), (32, 128)])
def test_the_face_box_follows_the_generators_crop(tmp_path: Path, size: tuple[int, int]) -> None:
    """A white face on black must fill the box again in what the generator is given, whatever its aspect."""
    picture = np.zeros((256, 192, 3), np.uint8)
    picture[80:144, 80:112] = 255
    Image.fromarray(picture).save(tmp_path / "face.png")
    inputs = SimpleNamespace(image=tmp_path / "face.png")
    sample = SimpleNamespace(face_box=(80 / 192, 80 / 256, 112 / 192, 144 / 256), inputs=lambda: inputs)
    width, height = size
    x0, y0, x1, y1 = box_in_video(Clip(width, height, 25.0, True, sample))
    seen = read_picture(tmp_path / "face.png", height * 4, width * 4)[..., 0] > 127
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert abs(columns[0] - 4 * width * x0) < 2
    assert abs(columns[-1] + 1 - 4 * width * x1) < 2
    assert abs(rows[0] - 4 * height * y0) < 2
    assert abs(rows[-1] + 1 - 4 * height * y1) < 2
    portrait = crop_to_aspect(picture, width / height)
    assert portrait.shape[1] / portrait.shape[0] == pytest.approx(width / height, rel=0.02)
    assert (portrait > 0).any()
