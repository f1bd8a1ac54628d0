"""Sets out and in: the same bytes as folder or tar, damage and strangers refused, cards and checks that say what is there.
"""

from __future__ import annotations

import io
import json
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genbench.build import build_set
from genbench.checking import check_set
from genbench.cli import EXIT_BAD_INPUT, EXIT_INCOMPLETE, EXIT_OK, main
from genbench.contact_sheet import LEAST_WIDTH
from genbench.errors import DamagedSetError
from genbench.exchange import export_long_audio, export_set, import_exported
from genbench.manifest import digest_of, load_manifest
from genbench.production import Production
from genbench.quality import Gate
from genbench.spec import SetSize, draw_set

pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    build_set(draw_set("long", "full", 3, SetSize(3, (2.0, 3.0))), folder)
    return folder


def contents(folder: Path, without: str = "card") -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(without)}


@pytest.mark.parametrize("form", ["folder", "webdataset"])
def test_a_set_goes_out_and_comes_in_unchanged(built, tmp_path, form):
    export_set(built, tmp_path / "out", form, shard_samples=2)
    manifest = import_exported(tmp_path / "out", tmp_path / "in")
    assert manifest.digest == load_manifest(built).digest
    assert contents(tmp_path / "in") == contents(built)
    # Once more into the same folder: nothing to do, and nothing harmed.
    import_exported(tmp_path / "out", tmp_path / "in")
    assert contents(tmp_path / "in") == contents(built)


def test_tars_hold_a_sample_together_and_are_the_same_bytes_again(built, tmp_path):
    first = export_set(built, tmp_path / "a", "webdataset", shard_samples=2)
    again = export_set(built, tmp_path / "b", "webdataset", shard_samples=2)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    with tarfile.open(first[0]) as tar:
        names = tar.getnames()
        assert json.load(tar.extractfile("long-000.json"))["id"] == "long-000"
    wanted = ["json", "png", "wav", "prompt.txt", "transcript.txt", "truth.safetensors"]
    assert names == [f"long-00{index}.{ending}" for index in (0, 1) for ending in wanted]


def test_an_export_without_truth_loads_without_it(built, tmp_path):
    export_set(built, tmp_path / "out", with_truth=False)
    assert not (tmp_path / "out" / "truth").exists()
    manifest = import_exported(tmp_path / "out", tmp_path / "in")
    assert manifest.samples[0].inputs().image.is_file()
    with pytest.raises(DamagedSetError, match="truth"):
        load_manifest(tmp_path / "in")


def repacked(source: Path, target: Path, change) -> None:
    """The first tar of an export with its members changed."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            change(new, member, old.extractfile(member).read())


def add(tar: tarfile.TarFile, member: tarfile.TarInfo, data: bytes) -> None:
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def with_climbing_member(tar, member, data):
    add(tar, member, data)
    add(tar, tarfile.TarInfo("../../evil.txt"), b"evil")


def with_link(tar, member, data):
    if not member.name.endswith("000.png"):
        add(tar, member, data)
        return
    link = tarfile.TarInfo(member.name)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar.addfile(link)


def with_other_bytes(tar, member, data):
    add(tar, member, data[:-1] + b"!" if member.name.endswith("000.wav") else data)


def without_a_file(tar, member, data):
    if not member.name.endswith("000.wav"):
        add(tar, member, data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_climbing_member, r"'\.\./\.\./evil\.txt', which is no plain file of this set"),
        (with_link, r"long-000\.png.*no plain file"),
        (with_other_bytes, r"samples/long-000/speech\.wav is not the file"),
        (without_a_file, r"lacks samples/long-000/speech\.wav"),
    ],
)
def test_a_tar_that_is_not_the_set_is_refused(built, tmp_path, change, words):
    (path, _) = export_set(built, tmp_path / "out", "webdataset")
    repacked(path, tmp_path / "changed.tar", change)
    (tmp_path / "changed.tar").replace(path)
    with pytest.raises(DamagedSetError, match=words):
        import_exported(tmp_path / "out", tmp_path / "in")
    assert not (tmp_path / "in" / "manifest.json").exists()
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_manifest_whose_paths_climb_is_refused(built, tmp_path):
    export_set(built, tmp_path / "out")
    file = tmp_path / "out" / "manifest.json"
    record = json.loads(file.read_text())
    record["samples"][0]["image"]["path"] = "../../outside.png"
    record["digest"] = digest_of(record)
    file.write_text(json.dumps(record))
    for load in (load_manifest, lambda folder: import_exported(folder, tmp_path / "in")):
        with pytest.raises(DamagedSetError, match="leaves its folder"):
            load(tmp_path / "out")


def test_a_manifest_with_an_id_twice_is_refused(built, tmp_path):
    export_set(built, tmp_path / "out")
    file = tmp_path / "out" / "manifest.json"
    record = json.loads(file.read_text())
    record["samples"].append(record["samples"][0])
    record["digest"] = digest_of(record)
    file.write_text(json.dumps(record))
    with pytest.raises(DamagedSetError, match="'long-000' more than once"):
        load_manifest(tmp_path / "out")


def test_media_that_may_not_be_passed_on_stay(tmp_path):
    specs = draw_set("short", "quick", size=SetSize(1, (2.0, 3.0)))
    build_set(specs, tmp_path / "set", production=Production(redistributable=False, licence="research only"))
    with pytest.raises(ValueError, match=r"may not be passed on \(research only\)"):
        export_set(tmp_path / "set", tmp_path / "out")
    assert export_set(tmp_path / "set", tmp_path / "out", own_use=True)


def test_endless_voices_and_their_segments(built, tmp_path):
    export_long_audio(built, tmp_path, 120.0)
    record = json.loads((tmp_path / "segments.json").read_text())
    assert record["segments_s"] == [[0, 10], [100, 110]]
    assert record["digest"] == load_manifest(built).digest
    with wave.open(str(tmp_path / "long-001.wav")) as file:
        whole = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(whole) == 120 * 16_000
    with wave.open(str(tmp_path / "long-001.100-110.wav")) as file:
        part = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert np.array_equal(part, whole[100 * 16_000 : 110 * 16_000])


def test_the_manifest_of_a_long_set_knows_table_7(built):
    manifest = load_manifest(built)
    assert manifest.segments_s == ((0, 10), (100, 110), (1000, 1010), (10_000, 10_010))
    assert manifest.long_audio["frames_per_block"] == 12


def test_check_runs_the_gate_again_and_finds_strays(built, tmp_path, capsys):
    assert main(["check", str(built)]) == EXIT_OK
    out = capsys.readouterr().out
    assert "none failed" in out
    assert "not done: transcript on 3 samples" in out
    findings = check_set(built, Gate(min_side=500))
    assert len(findings.failures) == 3
    assert "the picture is 384x512" in findings.failures[0]
    config = tmp_path / "strict.toml"
    config.write_text("[quality]\nlevel_db = [-3.0, 0.0]\n")
    assert main(["check", str(built), "--config", str(config)]) == EXIT_INCOMPLETE
    assert "speech_level" in capsys.readouterr().out
    stray = built / "samples" / "long-000" / "notes.txt"
    stray.write_text("mine")
    try:
        assert main(["check", str(built), "--hashes-only"]) == EXIT_INCOMPLETE
        assert "samples/long-000/notes.txt is in no sample" in capsys.readouterr().out
    finally:
        stray.unlink()


def test_the_card_shows_and_counts_every_sample(built, tmp_path, capsys):
    assert main(["card", str(built), "--out", str(tmp_path)]) == EXIT_OK
    text = (tmp_path / "README.md").read_text()
    manifest = load_manifest(built)
    assert manifest.digest in text
    assert "| all | " in text
    sums = next(line for line in text.splitlines() if line.startswith("| all")).split("|")[2:8]
    assert sum(int(cell) for cell in sums) == 3
    sheet = np.asarray(Image.open(tmp_path / "contact_sheet.png"))
    assert sheet.shape[1] == LEAST_WIDTH
    # Every reference picture stands in the sheet: its mean colour is met somewhere in its tile.
    whole = {tuple(pixel) for pixel in sheet[::7, ::7].reshape(-1, 3)}
    assert len(whole) > 300
    main(["card", str(built), "--out", str(tmp_path / "again")])
    assert (tmp_path / "again" / "contact_sheet.png").read_bytes() == (tmp_path / "contact_sheet.png").read_bytes()


def test_bad_exports_name_the_fix(built, tmp_path, capsys):
    assert main(["export", str(built), "--out", str(built)]) == EXIT_BAD_INPUT
    assert "choose another folder" in capsys.readouterr().err
    with pytest.raises(ValueError, match="folder, webdataset"):
        export_set(built, tmp_path, "zip")
    assert main(["import", "--out", str(tmp_path)]) == EXIT_BAD_INPUT
    assert "--videos" in capsys.readouterr().err
