"""Sets from a user's own pictures and recordings: taken in whole, or refused by name with nothing made."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from genbench.build import build_set
from genbench.cli import EXIT_BAD_INPUT, EXIT_INCOMPLETE, EXIT_OK, main
from genbench.errors import DiskFullError
from genbench.manifest import load_manifest
from genbench.own_specs import own_set
from genbench.production import Production, read_production
from genbench.spec import NANO, SetSize
from tests.genbench.material import draw_picture, own_folder, record_voice, write_table

RIGHTS = {"licence": "CC0-1.0", "consent": "drawn for a test"}
SIZE = SetSize(3, (2.0, 2.0))


@pytest.fixture
def own(tmp_path) -> Path:
    return own_folder(tmp_path / "own", 3)


def production(folder: Path, **given) -> Production:
    options = {"image": {"folder": str(folder)}, "speech": {"folder": str(folder)}}
    return Production(image="files", speech="files", options=options, **RIGHTS, **given)


def build(folder: Path, out: Path, **given):
    return build_set(own_set("short", "quick", 0, folder, folder, NANO, SIZE), out, production=production(folder, **given))


def test_pictures_and_recordings_become_samples(own, tmp_path):
    box = "0.2 0.1 0.7 0.6"
    record_voice(own / "person1.wav", 2.0, rate_hz=48_000)
    write_table(own, [
        {"picture": "person0.png", "recording": "person0.wav", "style": "photo", "composition": "profile", "face_box": box,
         "transcript": "Hello there."},
        {"picture": "person1.png", "recording": "person1.wav", "style": "cartoon", "composition": "half_body_profile",
         "face_box": "", "transcript": "Good day."},
    ])  # fmt: skip
    manifest = build(own, tmp_path / "set")
    first, second = manifest.samples
    assert (first.style, first.framing, first.view) == ("photo", "head", "profile")
    assert (second.framing, second.view) == ("half_body", "profile")
    assert first.face_box == (0.2, 0.1, 0.7, 0.6)
    assert first.face_box_source == "files"
    assert second.face_box is None
    assert first.transcript_text() == "Hello there."
    assert second.frames == 60  # 2 s are four blocks and a bit, so five
    assert first.truth() is None
    assert manifest.licence == "CC0-1.0"
    assert set(first.licence.values()) == {"CC0-1.0"}


def test_a_box_set_by_hand_wins_and_makes_nothing_else_again(own, tmp_path):
    before = build(own, tmp_path / "set")
    after = build(own, tmp_path / "set", boxes={"person1": (0.1, 0.2, 0.3, 0.4)})
    assert after.sample("person1").face_box == (0.1, 0.2, 0.3, 0.4)
    assert after.sample("person1").face_box_source == "hand"
    assert [s.image for s in after.samples] == [s.image for s in before.samples]
    assert before.digest != after.digest


def test_personal_material_needs_a_licence_and_a_consent_note(own):
    with pytest.raises(ValueError, match="--consent"):
        Production(image="files", options={"image": {"folder": str(own)}})


def test_near_duplicates_are_left_out_and_listed(own, tmp_path):
    draw_picture(own / "person2.png", 0)
    manifest = build(own, tmp_path / "set")
    (left,) = manifest.left_out
    assert left["id"] == "person2"
    assert "nearly the picture of person0" in left["reasons"][0]
    assert (tmp_path / "set" / "left_out" / "person2" / "reference.png").is_file()
    assert load_manifest(tmp_path / "set").left_out == manifest.left_out


def broken_picture(own: Path) -> None:
    data = (own / "person1.png").read_bytes()
    (own / "person1.png").write_bytes(data[: len(data) // 2])


def low_rate(own: Path) -> None:
    record_voice(own / "person1.wav", 2.0, rate_hz=8000)


def empty_script(own: Path) -> None:
    (own / "person1.txt").write_text(" \n")


def no_sound(own: Path) -> None:
    (own / "person1.wav").write_bytes(b"RIFF")


def same_id(own: Path) -> None:
    write_table(own, [{"picture": f"person{i}.png", "recording": f"person{i}.wav", "id": "same"} for i in range(2)])


def climbing_path(own: Path) -> None:
    draw_picture(own.parent / "outside.png", 9)
    write_table(own, [{"picture": "../outside.png", "recording": "person0.wav"}])


def leading_link(own: Path) -> None:
    draw_picture(own.parent / "outside.png", 9)
    (own / "person1.png").unlink()
    (own / "person1.png").symlink_to(own.parent / "outside.png")


def unknown_style(own: Path) -> None:
    write_table(own, [{"picture": "person0.png", "recording": "person0.wav", "style": "oil"}])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (broken_picture, r"person1\.png is no readable picture"),
        (low_rate, r"person1\.wav has 8000 Hz; give 16000 Hz"),
        (empty_script, r"person1\.txt is empty"),
        (no_sound, r"person1\.wav is no readable sound file"),
        (same_id, "the id 'same' is used 2 times"),
        (climbing_path, r"'\.\./outside\.png' leaves its folder"),
        (leading_link, "leads out of .* through a link"),
        (unknown_style, "style 'oil' is unknown"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_made(own, tmp_path, capsys, harm, words):
    harm(own)
    out = tmp_path / "sets"
    command = ["build", "--set", "short", "--out", str(out), "--pictures", str(own), "--recordings", str(own)]
    assert main([*command, "--licence", "CC0-1.0", "--consent", "drawn"]) == EXIT_BAD_INPUT
    import re

    assert re.search(words, capsys.readouterr().err)
    assert not out.exists()


def test_a_recording_that_is_too_quiet_is_left_out(own, tmp_path, capsys):
    record_voice(own / "person1.wav", 2.0, level=0.005)
    command = ["build", "--set", "short", "--out", str(tmp_path), "--pictures", str(own), "--recordings", str(own)]
    assert main([*command, "--licence", "CC0-1.0", "--consent", "drawn"]) == EXIT_INCOMPLETE
    assert "left out: person1: speech_level" in capsys.readouterr().out


def test_a_disk_that_fills_is_named_and_what_was_made_stays(own, tmp_path, monkeypatch):
    expected = build(own, tmp_path / "expected")
    flushed, real = [], os.fsync

    def full(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"no room on the disk for .*; free some and repeat"):
        build(own, tmp_path / "set")
    monkeypatch.setattr(os, "fsync", real)
    assert not (tmp_path / "set" / "manifest.json").exists()
    assert not list((tmp_path / "set").rglob("*.part"))
    made_now: list[bool] = []
    specs = own_set("short", "quick", 0, own, own, NANO, SIZE)
    again = build_set(specs, tmp_path / "set", made_now.append, production(own))
    assert False in made_now
    assert again.digest == expected.digest


def test_a_disk_without_room_is_refused_before_anything_is_made(own, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DiskFullError, match="MB free"):
        build(own, tmp_path / "set")
    assert not list((tmp_path / "set").rglob("*.png"))


def test_two_builds_of_one_folder_do_not_run_at_once(own, tmp_path):
    from genbench.locks import exclusive

    (tmp_path / "set" / ".unfinished").mkdir(parents=True)
    with exclusive(tmp_path / "set" / ".unfinished" / "lock"), pytest.raises(OSError, match="another build is at work"):
        build(own, tmp_path / "set")


def test_a_config_file_is_read_and_its_faults_are_named(tmp_path):
    file = tmp_path / "real.toml"
    file.write_text('remakes = 1\n[text]\nprovider = "gemini"\nmodel = "gemini-x"\n[quality]\nlevel_db = [-30, -10]\n')
    made = read_production(file, text=None, licence="mine")
    assert (made.text, made.options["text"]["model"], made.remakes, made.licence) == ("gemini", "gemini-x", 1, "mine")
    assert made.gate.level_db == (-30, -10)
    for text, words in [
        ('[text]\nprovider = "gemnii"', "did you mean 'gemini'"),
        ("[quality]\nsharpnes = 3", "'sharpnes'"),
        ("speed = 1", "'speed'"),
        ('[text]\nprovider = "gemini"\napi_key = "x"', "environment only"),
        ("[text", "no TOML file"),
        ('languages = ["en", "zh"]', "English"),
    ]:
        file.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_production(file)


def test_an_own_picture_may_speak_with_a_synthetic_voice(own, tmp_path, capsys):
    pytest.importorskip("espeakng_loader")
    for sound in own.glob("*.wav"):
        sound.unlink()
    command = ["build", "--set", "short", "--out", str(tmp_path), "--pictures", str(own), "--limit", "2"]
    assert main([*command, "--licence", "CC0-1.0", "--consent", "drawn"]) == EXIT_OK
    manifest = load_manifest(tmp_path / "short_quick_first2")
    assert manifest.providers["speech"]["name"] == "espeak"
    assert all(sample.transcript_text() for sample in manifest.samples)
    assert "no face box" in capsys.readouterr().out
