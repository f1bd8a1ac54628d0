"""`evalkit score FOLDER`: voices from elsewhere, portraits, boxes, real videos, kept features, files and frames."""

from __future__ import annotations

import csv
import json
import sys
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from evalkit.cli import main
from evalkit.errors import EvalkitError
from evalkit.folder_scores import FolderJob, score_folder
from evalkit.metrics.canaries import known_clip
from evalkit.metrics.training.coded import write_video
from liveavatar.training.video_clips import Filter, read_scores


def as_wav(path: Path, sound: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two silent videos, their voices (one late), their portraits, real videos, and boxes."""
    root = tmp_path_factory.mktemp("folders")
    made = SimpleNamespace(**{name: root / name for name in ("videos", "voices", "portraits", "real")})
    for folder in vars(made).values():
        folder.mkdir()
    clip = known_clip()
    frames = clip.frames[:64]
    late = np.concatenate([np.zeros(5 * 640, np.float32), clip.sound])[: len(clip.sound)]
    for name, voice, pictures in (("one", clip.sound, frames), ("two", late, frames[:, :, ::-1])):
        write_video(made.videos / f"{name}.mp4", pictures)
        as_wav(made.voices / f"{name}.wav", voice)
        write_video(made.real / f"{name}.mp4", np.clip(pictures.astype(int) + 20, 0, 255).astype(np.uint8))
        Image.fromarray(pictures[0]).save(made.portraits / f"{name}.png")
    made.boxes = root / "boxes.json"
    made.boxes.write_text(json.dumps({"one": list(clip.sample.face_box)}))
    return made


def test_voices_from_a_folder_are_heard_with_the_videos_of_their_name(folders: SimpleNamespace, tmp_path: Path) -> None:
    job = FolderJob(folders.videos, tmp_path, folders.voices, folders.portraits, metrics=("sync_offset", "dino_s"))
    result = score_folder(job)
    assert [clip.scores["sync_offset"] for clip in result.clips] == [0, -5]
    assert [clip.details["sync_offset"]["face_source"] for clip in result.clips] == ["nano face finder"] * 2
    assert [clip.details["dino_s"]["reference"] for clip in result.clips] == ["portrait"] * 2
    with_box = score_folder(FolderJob(folders.videos, tmp_path / "b", folders.voices, boxes=folders.boxes,
                                      metrics=("sync_offset",)))  # fmt: skip
    assert [clip.details["sync_offset"]["face_source"] for clip in with_box.clips] == ["manifest", "nano face finder"]


def test_a_video_without_its_voice_is_not_scored_with_another_sound(folders: SimpleNamespace, tmp_path: Path) -> None:
    clip = known_clip()
    videos, voices = tmp_path / "videos", tmp_path / "voices"
    videos.mkdir()
    voices.mkdir()
    write_video(videos / "three.mp4", clip.frames, (clip.sound * 32767).astype(np.int16))
    result = score_folder(FolderJob(videos, tmp_path / "out", audio=voices, metrics=("sync_c",)))
    assert result.clips[0].reasons == {"sync_c": "no_audio"}
    own = score_folder(FolderJob(videos, tmp_path / "out", metrics=("sync_c",)))  # kept features are not mixed up
    assert own.clips[0].scores["sync_c"] > 5


def test_real_videos_give_distances_with_floor_and_limits(folders: SimpleNamespace, tmp_path: Path) -> None:
    job = FolderJob(folders.videos, tmp_path, real=folders.real, metrics=("fid", "kid", "fvd"))
    result = score_folder(job)
    for name in ("fid", "fvd"):
        details = result.distances[name]["details"]
        assert result.distances[name]["value"] > 0
        assert details["videos"] == details["real_videos"] == 2
        assert details["relative_only"]
    assert result.distances["fid"]["details"]["dimensions"] == 256
    itself = score_folder(FolderJob(folders.real, tmp_path / "same", real=folders.real, metrics=("fid", "fvd")))
    assert itself.distances["fid"]["value"] < 1e-6 < result.distances["fid"]["value"]
    with pytest.raises(EvalkitError, match="--real"):
        score_folder(FolderJob(folders.videos, tmp_path, metrics=("fid",)))


def test_the_command_prints_keeps_and_does_nothing_twice(
    folders: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "scores"
    words = ["score", str(folders.videos), "--audio", str(folders.voices), "--metrics", "sync_c,motion", "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "sync_c" in shown
    assert "2/2" in shown
    assert "nano-syncnet@" in shown
    assert "never with published" in shown
    rows = list(csv.DictReader((out / "clips.csv").open()))
    assert [row["clip"] for row in rows] == ["one", "two"]
    assert {row["status"] for row in rows} == {"done"}
    before = (out / "scores.json").read_bytes()
    monkeypatch.setattr(sys.modules["evalkit.metrics.extract"], "extract", lambda *_, **__: pytest.fail("decoded again"))
    assert main([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {row["metric"] for row in content["summary"]} == {"sync_c", "motion"}
    assert (out / "scores.json").read_bytes() == before


def test_training_filters_read_the_table_of_scores(folders: SimpleNamespace, tmp_path: Path) -> None:
    score_folder(FolderJob(folders.videos, tmp_path, folders.voices, metrics=("sync_c", "sync_offset")))
    chosen = Filter(read_scores(tmp_path / "clips.csv"), ("sync_offset>=-1", "sync_c>=3"))
    assert chosen.keeps("one")
    assert not chosen.keeps("two")
    assert "sync_offset is -5.0" in chosen.left_out["two"]


def test_results_are_rows_and_data_frames(
    folders: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = score_folder(FolderJob(folders.videos, tmp_path, metrics=("motion", "flicker")))
    rows = result.rows()
    assert [row["clip"] for row in rows] == ["one", "two"]
    try:
        import pandas
    except ImportError:
        frames: list[list[dict]] = []
        frame = SimpleNamespace(set_index=lambda name: (name, frames[-1]))
        pandas = SimpleNamespace(DataFrame=lambda rows: frames.append(rows) or frame)
        monkeypatch.setitem(sys.modules, "pandas", pandas)
        assert result.frame() == ("clip", rows)
        assert result.summary_frame() == ("metric", result.summary())
    else:
        assert list(result.frame().index) == ["one", "two"]
        assert result.summary_frame().loc["motion", "n"] == 2
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EvalkitError, match="pandas"):
        result.frame()


@pytest.mark.parametrize(
    ("metrics", "why"),
    [(("sink_c",), "sync_c"), (("fid_clean",), "evalkit weights get inception"), (("sync_c_reference",), "syncnet")],
)
def test_metrics_that_cannot_be_measured_say_what_to_do(
    folders: SimpleNamespace, tmp_path: Path, metrics: tuple[str, ...], why: str
) -> None:
    with pytest.raises(EvalkitError, match=why):
        score_folder(FolderJob(folders.videos, tmp_path, real=folders.real, metrics=metrics))


def test_a_folder_without_videos_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="holds no videos"):
        score_folder(FolderJob(tmp_path, tmp_path / "out", metrics=("motion",)))
    with pytest.raises(EvalkitError, match="no folder"):
        score_folder(FolderJob(tmp_path / "nowhere", tmp_path / "out", metrics=("motion",)))
    assert main(["score", str(tmp_path / "nowhere")]) == 2
