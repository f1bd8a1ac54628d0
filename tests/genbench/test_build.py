"""A built set: the same bytes always, truth apart from inputs, damage noticed, crashes survived."""

import json
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genbench.build import build_set
from genbench.errors import DamagedSetError
from genbench.manifest import digest_of, load_manifest
from genbench.production import Production
from genbench.quality import Gate
from genbench.spec import SETS, SetSize, draw_set
from genbench.truth_video import render_truth

pytest.importorskip("espeakng_loader")

TINY = SetSize(3, (2.0, 3.0))


def tiny_set(seed: int = 0):
    return draw_set("short", "quick", seed, TINY)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    build_set(tiny_set(), folder)
    return folder


@pytest.fixture
def built(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "copy"))


def test_same_seed_same_bytes(original, tmp_path):
    build_set(tiny_set(), tmp_path)
    assert contents(tmp_path) == contents(original)
    assert draw_set("short", "quick", 1, TINY).fingerprint() != tiny_set().fingerprint()


def test_inputs_are_what_the_manifest_says(original):
    for sample in load_manifest(original).samples:
        given = sample.inputs()
        assert Image.open(given.image).size == (384, 512)
        with wave.open(str(given.audio)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
            assert file.getnframes() == sample.frames * 640 == round(sample.duration_s * 16000)
        assert sample.frames % 12 == 0
        assert given.prompt.endswith("talking to the camera .")
        assert sample.transcript_text()
        assert 0 <= sample.face_box[0] < sample.face_box[2] <= 1


def test_truth_lies_apart_and_is_not_needed(built):
    sample = load_manifest(built).samples[0]
    assert set(vars(sample.inputs())) == {"image", "audio", "prompt"}
    assert sample.truth_file.path.startswith("truth/")
    shutil.rmtree(built / "truth")
    without = load_manifest(built, with_truth=False)
    assert without.samples[0].inputs().image.is_file()
    with pytest.raises(DamagedSetError, match="truth"):
        without.samples[0].truth()
    for name, data in contents(built / "samples").items():
        assert b"identity" not in data, name
        assert b"mouth_open" not in data, name


def test_truth_matches_the_speech(original):
    sample = load_manifest(original).samples[0]
    known = sample.truth()
    assert known.frames == sample.frames
    assert known.face_box.shape == known.mouth_box.shape == (sample.frames, 4)
    assert known.phonemes[-1][2] == pytest.approx(sample.duration_s)
    assert (known.character.style, known.character.composition) == (sample.style, sample.composition)
    with wave.open(str(sample.inputs().audio)) as file:
        audio = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(float)
    loudness = np.sqrt((audio.reshape(-1, 640) ** 2).mean(axis=1))
    assert np.corrcoef(loudness, known.truth.mouth_open.numpy())[0, 1] > 0.3


def test_truth_video_has_every_frame_in_bounded_pieces(original):
    sample = load_manifest(original).samples[0]
    pieces = list(render_truth(sample, chunk_frames=25))
    assert sum(len(piece) for piece in pieces) == sample.frames
    assert max(len(piece) for piece in pieces) == 25
    assert pieces[0].shape[1:] == (128, 96, 3)
    whole = next(render_truth(sample, chunk_frames=sample.frames))
    assert whole[25:50].equal(pieces[1])


def test_damage_is_named(built):
    audio = load_manifest(built).samples[1].inputs().audio
    data = audio.read_bytes()
    audio.write_bytes(data[:-100])
    with pytest.raises(DamagedSetError, match=r"short-001/speech\.wav has .* bytes"):
        load_manifest(built)
    audio.write_bytes(data[:-2] + b"\x01\x01")
    with pytest.raises(DamagedSetError, match=r"short-001/speech\.wav was altered"):
        load_manifest(built).verify()
    audio.unlink()
    with pytest.raises(DamagedSetError, match=r"short-001/speech\.wav is missing"):
        load_manifest(built)


def test_edited_manifest_is_noticed(built):
    path = built / "manifest.json"
    path.write_text(path.read_text().replace('"frames": ', '"frames": 1', 1))
    with pytest.raises(DamagedSetError, match="does not give its digest"):
        load_manifest(built)
    path.write_text("{")
    with pytest.raises(DamagedSetError, match="no readable manifest"):
        load_manifest(built)


def test_build_repairs_a_damaged_set(built, original):
    (built / "truth" / "short-002.safetensors").unlink()
    build_set(tiny_set(), built)
    assert contents(built) == contents(original)


def test_another_set_in_the_folder_is_refused(built, original):
    with pytest.raises(ValueError, match="choose another folder"):
        build_set(tiny_set(seed=5), built)
    assert contents(built) == contents(original)


def test_interrupted_build_goes_on_where_it_stopped(original, tmp_path):
    seen = []

    def stop_after_two(made_now: bool) -> None:
        seen.append(made_now)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_set(tiny_set(), tmp_path, stop_after_two)
    assert not (tmp_path / "manifest.json").exists()
    again: list[bool] = []
    build_set(tiny_set(), tmp_path, again.append)
    assert again == [False, False, True]
    assert contents(tmp_path) == contents(original)


def test_killed_build_ends_with_the_same_bytes(original, tmp_path):
    program = (
        "import sys, torch; torch.set_num_threads(1)\nfrom pathlib import Path\n"
        "from genbench.build import build_set\nfrom genbench.spec import SetSize, draw_set\n"
        "build_set(draw_set('short', 'quick', 0, SetSize(3, (2.0, 3.0))), Path(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    limit_s = time.monotonic() + 30
    while not list(tmp_path.rglob("*.wav")) and time.monotonic() < limit_s:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    build_set(tiny_set(), tmp_path)
    assert contents(tmp_path) == contents(original)


def test_a_file_that_another_process_is_writing_is_left_alone(tmp_path):
    (tmp_path / "truth").mkdir()
    others = tmp_path / "truth" / ".short-001.safetensors.99.part"
    leftover = tmp_path / "truth" / ".short-000.safetensors.98.part"
    for path in (others, leftover):
        path.write_bytes(b"half")
    build_set(draw_set("short", "quick", 0, SetSize(1, (2.0, 3.0))), tmp_path)
    assert others.exists()
    assert not leftover.exists()


def test_any_number_of_workers_makes_the_same_bytes(original, tmp_path):
    seen: list[bool] = []
    build_set(tiny_set(), tmp_path, seen.append, workers=2)
    assert seen == [True, True, True]
    assert contents(tmp_path) == contents(original)


def test_what_the_gate_refuses_is_made_again_then_left_out(original, tmp_path):
    # A level that the sets' voices have only by chance: some pass at once, some later, some never.
    checks = [check for sample in load_manifest(original).samples for check in sample.checks]
    levels = [check["value"] for check in checks if check["name"] == "speech_level"]
    limit = (sorted(levels)[1], 0.0)
    gate = Gate(level_db=limit)
    manifest = build_set(tiny_set(), tmp_path / "a", production=Production(gate=gate, remakes=2))
    repeated = [s for s in manifest.samples if s.attempt] + list(manifest.left_out)
    assert repeated
    for sample in manifest.samples:
        assert next(check["value"] for check in sample.checks if check["name"] == "speech_level") >= limit[0]
        assert len(sample.failures) == sample.attempt
        assert all("speech_level" in reason for reason in sample.failures)
    assert all(len(one["failures"]) == 2 for one in manifest.left_out)
    again = build_set(tiny_set(), tmp_path / "b", production=Production(gate=gate, remakes=2))
    assert again.digest == manifest.digest
    with pytest.raises(ValueError, match="no sample"):
        build_set(tiny_set(), tmp_path / "c", production=Production(gate=Gate(level_db=(-1.0, 0.0)), remakes=0))


def test_a_set_of_schema_1_is_read_and_finished_as_it_is(built):
    file = built / "manifest.json"
    record = json.loads(file.read_text())
    old = {name: record[name] for name in ("name", "suite", "seed", "generator")}
    fields = ("id", "image", "audio", "prompt", "transcript", "truth_file", "duration_s", "frames", "fps", "style",
              "composition", "licence", "face_box")  # fmt: skip
    old["samples"] = [{name: sample[name] for name in fields} for sample in record["samples"]]
    old |= {"schema_version": 1, "spec_fingerprint": tiny_set().first_fingerprint()}
    old["digest"] = digest_of(old)
    file.write_text(json.dumps(old))
    manifest = load_manifest(built)
    manifest.verify()
    assert manifest.digest == old["digest"]
    assert manifest.samples[0].truth().frames == manifest.samples[0].frames
    before = file.read_bytes()
    made: list[bool] = []
    assert build_set(tiny_set(), built, made.append).digest == old["digest"]
    assert made == [False, False, False]
    assert file.read_bytes() == before


def test_the_manifest_says_how_and_from_what_a_set_was_made(original):
    manifest = load_manifest(original)
    assert {role: made["name"] for role, made in manifest.providers.items()} == {
        "text": "template", "image": "nano_world", "speech": "espeak",
    }  # fmt: skip
    assert "No person is shown" in manifest.consent
    assert manifest.generator["espeak-ng"]
    for sample in manifest.samples:
        assert sample.spec["text"]
        assert "character" not in sample.spec  # who it is belongs to the truth
        assert sample.face_box_source == "rendered"
        assert not [check for check in sample.checks if check["passed"] is False]


def test_named_sets_have_their_sizes_and_balance():
    specs = draw_set("short", "full")
    assert len(specs.samples) == 100
    assert set(Counter((s.style, s.composition) for s in specs.samples).values()) == {8, 9}
    assert max(Counter(s.voice for s in specs.samples).values()) <= 8  # voices fit the genders, so they are not all alike
    assert len({s.character.identity for s in specs.samples}) == 100
    long = draw_set("long", "full")
    assert len(long.samples) == 15
    assert all(300 < s.duration_s <= 420 for s in long.samples)
    assert (SETS["short", "quick"].samples, SETS["long", "quick"].samples) == (8, 2)
    with pytest.raises(ValueError, match="choose one of"):
        draw_set("short", "huge")


def test_digest_ignores_program_versions_only(built):
    manifest = load_manifest(built)
    record = json.loads((built / "manifest.json").read_text())
    record["generator"]["genbench"] = "9.9"
    (built / "manifest.json").write_text(json.dumps(record))
    assert load_manifest(built).digest == manifest.digest
