"""In-domain sets: clips like the training's from the nano world, or cut from a folder of talking videos, with their truth.
"""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from genbench.build import build_set
from genbench.in_domain import ImportOptions, import_videos, is_held_out
from genbench.manifest import load_manifest
from genbench.quality import Gate
from genbench.score_rules import Rule, read_scores
from genbench.sound import read_set_wav
from genbench.spec import SetSize, draw_set
from genbench.truth_video import render_truth
from genbench.video import cut_frames, write_video

RIGHTS = {"licence": "test", "consent": "drawn for a test"}
LOOSE = Gate(min_side=32, sharpness=0.5, level_db=(-60, 0), silence_s=20)
NAMES = [f"talk{index}" for index in range(6)]


def write_talk(path: Path, seconds: float, fps: int = 25, rate: int = 48_000, is_silent: bool = False) -> None:
    """Each 25th of a second has its own grey level, 6 apart, again after 30; a steady tone."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=fps, options={"crf": "1"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = None if is_silent else file.add_stream("aac", rate=rate, layout="mono")
        for index in range(round(seconds * fps)):
            pixels = np.zeros((48, 64, 3), np.uint8) + np.uint8(40 + 6 * (int(index * 25 / fps) % 30))
            pixels[::8, ::8] = 255
            file.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(video.encode(None))
        if sound is not None:
            t = np.arange(round(seconds * rate)) / rate
            samples = (0.3 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
            for start in range(0, len(samples), 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = rate, start
                file.mux(sound.encode(frame))
            file.mux(sound.encode(None))


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in NAMES[:4]:
        write_talk(folder / f"{name}.mp4", 4.0)
    write_talk(folder / "talk4.mp4", 4.0, fps=30)
    write_talk(folder / "talk5.mp4", 1.0)
    return folder


def options(**given) -> ImportOptions:
    return ImportOptions(**{"clips": 3, "held_out": 1.0, "seconds": (1.0, 2.0), "gate": LOOSE} | RIGHTS | given)


def scores_file(folder: Path, values: dict[str, float]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scores.csv"
    file.write_text("clip,sync_c,note\n" + "".join(f"{name},{value},x\n" for name, value in values.items()))
    return file


def test_clips_are_cut_at_frames_and_carry_their_sound(videos, tmp_path):
    manifest = import_videos(videos, tmp_path, options(clips=5))
    assert not manifest.redistributable
    assert [one["id"] for one in manifest.left_out] in ([], ["talk5"])
    for sample in manifest.samples:
        assert sample.frames % 12 == 0
        assert 1.0 <= sample.duration_s <= 2.0
        assert len(read_set_wav(sample.inputs().audio)) == sample.frames * 640
        first = round(sample.source["start_s"] * 25)
        levels = np.concatenate([frames.numpy() for frames in render_truth(sample)])[:, 4, 4, 0].astype(int)
        assert len(levels) == sample.frames
        shown = np.round((levels - 40) / 6)
        # At 30 frames per second a picture may belong to the next 25th already.
        off = (shown - first - np.arange(sample.frames)) % 30
        assert set(off) <= ({0, 1, 29} if sample.id == "talk4" else {0})
        assert sample.truth() is None
        assert sample.truth_video.path.startswith("truth/")


def test_the_same_frames_give_the_same_bytes_every_time(videos, tmp_path):
    """Frames come from a decoder with threads: what it leaves in memory changed 4 of 100 files."""
    made = set()
    for _ in range(150):
        write_video(tmp_path / "cut.mp4", cut_frames(videos / "talk1.mp4", 20, 48), 25)
        made.add((tmp_path / "cut.mp4").read_bytes())
    assert len(made) == 1


def test_the_same_videos_give_the_same_set_and_a_damaged_one_is_repaired(videos, tmp_path):
    first = import_videos(videos, tmp_path / "a", options())
    assert import_videos(videos, tmp_path / "b", options()).digest == first.digest
    whole = {entry.path: (tmp_path / "a" / entry.path).read_bytes() for s in first.samples for entry in s.files()}
    (tmp_path / "a" / first.samples[1].audio.path).write_bytes(b"gone")
    made: list[bool] = []
    again = import_videos(videos, tmp_path / "a", options(), on_clip=made.append)
    assert made == [False, True, False]
    assert again.digest == first.digest
    assert {name: (tmp_path / "a" / name).read_bytes() for name in whole} == whole
    with pytest.raises(ValueError, match="choose another folder"):
        import_videos(videos, tmp_path / "a", options(seed=1))


def test_scores_decide_who_stays(videos, tmp_path):
    scores = scores_file(tmp_path, {"talk0": 5, "talk1": 2.9, "talk2": 3.0, "talk3": 8})
    manifest = import_videos(videos, tmp_path / "set", options(rules=("sync_c>=3",)), scores)
    assert {sample.id for sample in manifest.samples} == {"talk0", "talk2", "talk3"}
    reasons = {one["id"]: one["reasons"][0] for one in manifest.left_out}
    assert reasons["talk1"] == "sync_c is 2.9, wanted >= 3"
    assert reasons["talk4"] == "sync_c is not in the table, wanted >= 3"
    assert {s.source["scores"]["sync_c"] for s in manifest.samples} == {5, 3, 8}
    with pytest.raises(ValueError, match="of 3 clips could be cut"):
        import_videos(videos, tmp_path / "strict", options(rules=("sync_c>=4",)), scores)
    with pytest.raises(ValueError, match="need --scores"):
        import_videos(videos, tmp_path / "none", options(rules=("sync_c>=4",)))


def test_broken_videos_are_left_out_and_named(videos, tmp_path):
    import shutil

    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    write_talk(folder / "mute.mp4", 3.0, is_silent=True)
    (folder / "noise.mp4").write_bytes(b"no video at all")
    manifest = import_videos(folder, tmp_path / "set", options(clips=5))
    reasons = {one["id"]: one["reasons"][0] for one in manifest.left_out}
    known = {"mute": "lacks sound", "noise": "no readable video", "talk5": "has 1.0 s"}
    assert set(reasons) <= set(known)
    assert all(known[name] in reason for name, reason in reasons.items())
    assert not {"mute", "noise", "talk5"} & {sample.id for sample in manifest.samples}


def test_the_held_out_share_depends_on_names_alone():
    names = [f"video-{index}" for index in range(20_000)]
    held = {name for name in names if is_held_out(name, 0.05)}
    # A binomial count: five standard deviations are 154.
    assert abs(len(held) - 1000) < 154
    assert held <= {name for name in names if is_held_out(name, 0.1)}
    assert all(is_held_out(name, 1.0) for name in names[:50])


def test_a_share_that_leaves_nothing_says_what_to_do(videos, tmp_path):
    with pytest.raises(ValueError, match="raise --held-out"):
        import_videos(videos, tmp_path, options(held_out=1e-9))
    with pytest.raises(ValueError, match="--consent"):
        ImportOptions()


def test_boxes_and_prompts_are_taken_by_video_name(videos, tmp_path):
    boxes = dict.fromkeys(NAMES, (0.1, 0.1, 0.6, 0.7))
    manifest = import_videos(videos, tmp_path, options(), None, boxes, {"": "A test talks.", "talk0": "Zero talks."})
    for sample in manifest.samples:
        assert sample.face_box == (0.1, 0.1, 0.6, 0.7)
        assert sample.inputs().prompt == ("Zero talks." if sample.id == "talk0" else "A test talks.")


def test_rules_and_tables_are_read_strictly(tmp_path):
    assert Rule.parse(" offset <= -1.5 ") == Rule("offset", "<=", -1.5)
    for bad in ("sync_c=3", "sync_c >= many", ">= 3"):
        with pytest.raises(ValueError, match="NAME>=NUMBER"):
            Rule.parse(bad)
    lines = tmp_path / "scores.jsonl"
    lines.write_text(json.dumps({"clip": "a", "x": 1, "y": "no"}) + "\n\n" + json.dumps({"clip": "b", "x": "2"}) + "\n")
    assert read_scores(lines) == {"a": {"x": 1.0}, "b": {"x": 2.0}}
    (tmp_path / "twice.csv").write_text("clip,x\ntalk0,1\ntalk0,2\n")
    with pytest.raises(ValueError, match="more than one row for 'talk0'"):
        read_scores(tmp_path / "twice.csv")
    (tmp_path / "bad.csv").write_text("name,x\na,1\n")
    with pytest.raises(ValueError, match="no `clip`"):
        read_scores(tmp_path / "bad.csv")


def test_the_nano_world_has_an_in_domain_set_of_its_own(tmp_path):
    pytest.importorskip("espeakng_loader")
    specs = draw_set("in_domain", "quick", size=SetSize(2, (1.5, 2.0)))
    manifest = build_set(specs, tmp_path)
    assert load_manifest(tmp_path).digest == manifest.digest
    for sample, spec in zip(manifest.samples, specs.samples, strict=True):
        assert sample.frames == spec.clip[2]
        known = sample.truth()
        assert known.frames == sample.frames
        # The reference is the clip's own first frame, as in sets that are cut from videos.
        from PIL import Image

        shown = np.asarray(Image.open(sample.inputs().image).resize((96, 128), Image.Resampling.BOX)).astype(int)
        first = next(render_truth(sample))[0].numpy().astype(int)
        assert np.abs(shown - first).mean() < 6
        audio = read_set_wav(sample.inputs().audio).astype(float).reshape(sample.frames, 640)
        loudness = np.sqrt((audio**2).mean(axis=1))
        assert np.corrcoef(loudness, known.truth.mouth_open.numpy())[0, 1] > 0.2
