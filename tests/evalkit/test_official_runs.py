"""Adapters at work on fake checkouts that leave what the real ones leave: every documented quirk of their output."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit import speed
from evalkit.generator import configured_method
from evalkit.methods.base import Generation, Order
from evalkit.methods.official import NAMES, get_system
from evalkit.methods.official.adapter import OfficialSession
from evalkit.programs import ProgramError
from evalkit.video import open_video, read_frames
from tests.evalkit.fake_checkouts import Fake, make_fake, make_inputs


def session_of(fake: Fake, *more: str) -> OfficialSession:
    session = configured_method(fake.system.name, fake.setup(*more)).load("nano")
    assert isinstance(session, OfficialSession)
    return session


def out_dir(tmp_path: Path, name: str = "clip") -> Path:
    folder = tmp_path / "run" / f".{name}.tmp-1"
    folder.mkdir(parents=True)
    return folder


def generate(name: str, tmp_path: Path, *more: str, **inputs: Any) -> Generation:
    fake = make_fake(name, tmp_path / "home")
    made = session_of(fake, *more).generate(make_inputs(tmp_path / "in", **inputs), 7, out_dir(tmp_path))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".clip.tmp-1"], "nothing is left beside the clip"
    return made


def changes(made: Generation) -> dict[str, dict[str, Any]]:
    return {one["what"]: one for one in made.details["changes"]}


# name, settings, rate and frames of the raw file of a voice of 4 s, frames that remain
RUNS = [
    ("ditto", (), 25, 100, 100),
    ("echomimic_v2", (), 24, 96, 96),
    ("hallo3", (), 25, 100, 100),
    ("stableavatar", (), 25, 97, 97),
    ("wan_s2v", (), 16, 64, 64),
    ("omniavatar", (), 25, 101, 100),
    ("infinitetalk", (), 25, 100, 100),
    ("live_avatar_official", ("gpus=5",), 25, 100, 100),
    ("soulx_flashtalk", (), 25, 112, 100),
    ("soulx_liveact", (), 20, 80, 80),
    ("longcat_avatar", (), 25, 173, 100),
    ("livetalk", (), 16, 64, 64),
    ("avatarforcing", (), 25, 113, 100),
    ("multitalk", (), 25, 100, 100),
]


@pytest.mark.parametrize(("name", "more", "fps", "raw", "kept"), RUNS)
def test_each_system_gives_a_clip_with_its_raw_file_and_every_change(
    name: str, more: tuple[str, ...], fps: int, raw: int, kept: int, tmp_path: Path
) -> None:
    made = generate(name, tmp_path, *more)
    assert made.details["raw"]["frames"] == raw
    assert made.details["raw"]["fps"] == pytest.approx(fps)
    assert (made.frames, made.fps) == (kept, pytest.approx(fps))
    assert sorted(path.name for path in made.video.parent.iterdir()) == ["raw.mp4", "timeline.jsonl", "video.mp4"]
    with open_video(made.video) as video:
        assert video.info.has_audio
    named = changes(made)
    assert named["voice"]["to"] == "the sample's own, lossless"
    assert ("frame rate" in named) == (fps != 25)
    assert ("trailing frames dropped" in named) == (kept < raw - get_system(name).output.leading_frames)
    assert made.details["clocks"]["process_s"] >= made.details["clocks"]["pipeline_s"] > 0
    assert made.details["prompt_changed"]


def test_every_system_is_run_by_a_test() -> None:
    assert {run[0] for run in RUNS} == set(NAMES) - {"soulx_flashhead"}, "whose script is FlashTalk's"


# ------------------------------------------------------------------------------------------------- quirks, one by one


def test_ditto_is_timed_by_its_class_without_loading(tmp_path: Path) -> None:
    made = generate("ditto", tmp_path)
    clocks = made.details["clocks"]
    assert clocks["source"] == "hooks"
    # setup ... close; loading takes 0.3 s in the fake, a written frame 0.05 s.
    assert clocks["process_s"] > clocks["pipeline_s"] + 0.3
    assert 0.05 <= clocks["stream_s"] < clocks["pipeline_s"]
    measured = speed.measure(speed.read_timeline(made.timeline), made.fps, warmup_blocks=0)
    assert measured.fps_end_to_end == pytest.approx(made.frames / clocks["pipeline_s"])
    assert measured.ttff == pytest.approx(clocks["stream_s"] + measured.wait)


def test_echomimic_is_laid_on_a_square_and_cut_back(tmp_path: Path) -> None:
    made = generate("echomimic_v2", tmp_path, size=(96, 64))
    assert (made.details["raw"]["width"], made.details["raw"]["height"]) == (64, 64)
    assert (made.details["width"], made.details["height"]) == (64, 42)
    assert changes(made)["cut to a part"]["box"] == [0, 11, 64, 53]
    assert "pictures coded again" in changes(made)


def test_echomimic_follows_no_voice_longer_than_its_template(tmp_path: Path) -> None:
    method = configured_method("echomimic_v2", make_fake("echomimic_v2", tmp_path).setup())
    assert method.longest_s == 14.0
    assert "336" in method.longest_reason


def test_omniavatars_leading_frame_is_dropped(tmp_path: Path) -> None:
    made = generate("omniavatar", tmp_path)
    assert changes(made)["leading frames dropped"]["frames"] == 1
    raw, _ = read_frames(made.video.parent / "raw.mp4")
    kept, _ = read_frames(made.video)
    difference = np.abs(kept[:50].astype(int).mean((1, 2, 3)) - raw[1:51].astype(int).mean((1, 2, 3)))
    assert difference.max() <= 1, "frame k of the clip is frame k + 1 of the file"


def test_untouched_pictures_are_copied_not_coded_again(tmp_path: Path) -> None:
    made = generate("wan_s2v", tmp_path)
    assert set(changes(made)) == {"voice", "frame rate"}
    raw, _ = read_frames(made.video.parent / "raw.mp4")
    kept, _ = read_frames(made.video)
    assert np.array_equal(raw, kept)


def test_a_size_that_was_asked_for_is_made_and_said(tmp_path: Path) -> None:
    from dataclasses import replace

    fake = make_fake("hallo3", tmp_path / "home")
    session = configured_method("hallo3", replace(fake.setup(), size="96x64")).load("nano")
    made = session.generate(make_inputs(tmp_path / "in"), 0, out_dir(tmp_path))
    assert (made.details["width"], made.details["height"]) == (96, 64)
    assert made.details["exact_size"] is False
    assert changes(made)["size"]["from"] == [32, 32]


@pytest.mark.parametrize("name", ["hallo3", "omniavatar"])
def test_lists_are_one_process_and_every_sample_has_its_own_clock(name: str, tmp_path: Path) -> None:
    fake = make_fake(name, tmp_path / "home")
    orders = [
        Order(make_inputs(tmp_path / "in", f"s{i}", seconds=4.0 + i), 3, out_dir(tmp_path, f"s{i}")) for i in range(3)
    ]
    made = session_of(fake).generate_many(orders)
    assert [one.frames for one in made if isinstance(one, Generation)] == [100, 125, 150]
    clocks = [one.details["clocks"] for one in made if isinstance(one, Generation)]
    assert {one["source"] for one in clocks} == {"printed lines"}
    assert {one["shared"] for one in clocks} == {3}
    assert sum(one["pipeline_s"] for one in clocks) < clocks[0]["process_s"]


def test_live_avatars_batch_script_finds_its_numbered_files(tmp_path: Path) -> None:
    fake = make_fake("live_avatar_official", tmp_path / "home")
    orders = [Order(make_inputs(tmp_path / "in", f"s{i}"), 3, out_dir(tmp_path, f"s{i}")) for i in range(2)]
    made = session_of(fake, "entry=batch", "gpus=5").generate_many(orders)
    assert [one.frames for one in made if isinstance(one, Generation)] == [100, 100]


def test_an_older_file_of_the_same_name_is_never_taken_for_the_new_one(tmp_path: Path) -> None:
    import os

    fake = make_fake("soulx_liveact", tmp_path / "home")
    old = fake.checkout / "s0000_s0000.mp4"
    old.write_bytes(b"of another run")
    os.utime(old, (1e9, 1e9))
    with pytest.raises(ProgramError, match=r"without writing .*one of an older run was there"):
        session_of(fake, "environment.FAKE_BEHAVIOUR=silent_loss").generate(
            make_inputs(tmp_path / "in"), 0, out_dir(tmp_path)
        )


# ------------------------------------------------------------------------------------------------------------ failures


def fails(name: str, behaviour: str, tmp_path: Path, *more: str) -> ProgramError:
    fake = make_fake(name, tmp_path / "home")
    session = session_of(fake, f"environment.FAKE_BEHAVIOUR={behaviour}", *more)
    with pytest.raises(ProgramError) as raised:
        session.generate(make_inputs(tmp_path / "in"), 0, out_dir(tmp_path))
    assert not list((tmp_path / "run").glob("*scratch*"))
    return raised.value


@pytest.mark.parametrize("name", ["ditto", "wan_s2v"])
def test_a_missing_gpu_is_a_failure_with_the_programs_own_words(name: str, tmp_path: Path) -> None:
    error = fails(name, "no_gpu", tmp_path)
    assert "exit code 1" in str(error)
    assert "Found no NVIDIA driver" in error.log_tail


def test_half_a_file_and_exit_1_is_a_failure(tmp_path: Path) -> None:
    assert "exit code 1" in str(fails("wan_s2v", "half", tmp_path))


def test_a_torn_file_is_a_failure_even_when_the_program_ends_well(tmp_path: Path) -> None:
    error = fails("wan_s2v", "torn", tmp_path)
    assert re.search("holds no picture|breaks off|cannot be opened", str(error)), "by where the cut fell"
    assert str(tmp_path) not in str(error)


def test_a_wrong_length_is_a_failure(tmp_path: Path) -> None:
    assert "25 frames, 100 were due (give or take 47)" in str(fails("hallo3", "wrong_length", tmp_path))


def test_a_program_that_loses_its_output_in_silence_is_a_failure(tmp_path: Path) -> None:
    assert "ended without writing" in str(fails("ditto", "silent_loss", tmp_path))


def test_of_a_list_that_crashes_the_finished_samples_count(tmp_path: Path) -> None:
    fake = make_fake("hallo3", tmp_path / "home")
    orders = [Order(make_inputs(tmp_path / "in", f"s{i}"), 3, out_dir(tmp_path, f"s{i}")) for i in range(3)]
    session = session_of(fake, "environment.FAKE_BEHAVIOUR=crash_after_two")
    first, second, third = session.generate_many(orders)
    assert isinstance(first, Generation)
    # The newest file may be half a file: nothing says that it was finished.
    assert "exit code 1" in str(second)
    assert isinstance(third, ProgramError)
    assert "out of memory" in third.log_tail


def test_options_that_the_script_does_not_take_are_refused_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    fake = make_fake("wan_s2v", tmp_path / "home")
    settings = tmp_path / "evalkit.toml"
    place = fake.setup().assigned
    text = "[systems.wan_s2v]\n" + "".join(
        f"{one.removeprefix('systems.wan_s2v.').partition('=')[0]} = {json.dumps(one.partition('=')[2])}\n" for one in place
    )
    settings.write_text(text + '[systems.wan_s2v.options]\n"--sample_stepz" = "20"\n')
    from evalkit.generator import GeneratorSetup

    session = configured_method("wan_s2v", GeneratorSetup(settings=str(settings))).load("nano")
    with pytest.raises(ValueError, match=r"unrecognized arguments: --sample_stepz.*see \[systems.wan_s2v.options\]"):
        session.generate(make_inputs(tmp_path / "in"), 0, out_dir(tmp_path))

