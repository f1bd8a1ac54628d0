"""Bad videos: each a stated result or a clear failed record, never a wrong number."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from evalkit.folder_scores import ClipScores, FolderJob, FolderScores, score_folder
from evalkit.metrics.canaries import known_clip

FPS = 25
METRICS = ("sync_c", "sync_offset", "dino_s", "iqa", "motion", "jerk", "face_coverage", "colour_drift")


def write(
    path: Path,
    frames: np.ndarray,
    sound: np.ndarray | None,
    times: list[int] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotation: int = 0,
) -> None:
    """Pictures at 1/25 s (or at given multiples of it) and sound float32 at 16 kHz."""
    with av.open(str(path), "w") as container:
        options = {"crf": "16"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=FPS, options={**options, "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, FPS)
        if rotation:
            stream.set_display_rotation(rotation)
        voice = container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=16_000, layout="mono")
        for number, picture in zip(times or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            scaled = (sound * 32767).round().astype(np.int16)
            samples = av.AudioFrame.from_ndarray(scaled[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts = 16_000, 0
            container.mux(voice.encode(samples))
            container.mux(voice.encode(None))


def silent(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> FolderScores:
    folder = tmp_path_factory.mktemp("bad")
    clip = known_clip()
    frames, sound = clip.frames[:60], clip.sound[: 60 * 640]
    write(folder / "good.mp4", frames, sound)
    (folder / "zero_bytes.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video")
    whole = (folder / "good.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    write(folder / "whole.mkv", frames, sound)
    whole = (folder / "whole.mkv").read_bytes()
    (folder / "truncated_mkv.mkv").write_bytes(whole[: len(whole) // 3])
    (folder / "whole.mkv").unlink()
    silent(folder / "no_audio.mp4", frames)
    write(folder / "long_audio.mp4", frames, np.concatenate([sound, sound, sound]))
    kept = [index for index in range(60) if index % 5 not in (2, 3)]
    write(folder / "variable_rate.mkv", frames[kept], sound, times=kept)
    write(folder / "one_frame.mp4", frames[:1], sound)
    odd = np.pad(frames, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    write(folder / "odd_size.mkv", odd, sound, codec="ffv1", pixels="yuv444p")
    write(folder / "rotated.mp4", np.rot90(frames, -1, axes=(1, 2)), sound, rotation=90)
    write(folder / "ten_bit.mkv", frames, sound, codec="ffv1", pixels="yuv422p10le")
    y, x, t = np.mgrid[:128, :96, :60]
    texture = (127 + 60 * np.sin((x + t) / 17) + 40 * np.sin(y / 11)).astype(np.uint8).transpose(2, 0, 1)
    write(folder / "no_face.mp4", np.repeat(texture[..., None], 3, 3), sound)
    write(folder / "two_faces.mp4", np.concatenate([frames, frames[:, :, ::-1]], axis=2), sound)
    write(folder / "all_black.mp4", np.zeros_like(frames), sound)
    return score_folder(FolderJob(folder, tmp_path_factory.mktemp("out"), metrics=METRICS))


def one(scored: FolderScores, name: str) -> ClipScores:
    return next(clip for clip in scored.clips if clip.clip == name)


def close_to_good(scored: FolderScores, name: str, **tolerances: float) -> None:
    good, other = one(scored, "good"), one(scored, name)
    assert other.status == "done", other.error
    limits: dict[str, Any] = {"sync_c": 0.8, "sync_offset": 0, "dino_s": 0.02, "motion": 0.3} | tolerances
    for metric, limit in limits.items():
        assert other.scores[metric] == pytest.approx(good.scores[metric], abs=limit), metric


def test_the_good_clip_has_every_score(scored: FolderScores) -> None:
    good = one(scored, "good")
    assert good.status == "done"
    assert not good.reasons
    assert good.scores["sync_offset"] == 0
    assert good.scores["sync_c"] > 5
    assert good.facts["frames"] == 60
    assert not good.facts["is_variable_rate"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("zero_bytes", "zero bytes"),
        ("text", "cannot be opened"),
        ("truncated", "cannot be opened|breaks off|truncated"),
        ("truncated_mkv", "breaks off|truncated"),
    ],
)
def test_broken_files_are_failed_records_with_the_cause(scored: FolderScores, name: str, why: str) -> None:
    clip = one(scored, name)
    assert clip.status == "failed"
    assert any(part in clip.error for part in why.split("|")), clip.error
    assert clip.scores == {}
    row = next(row for row in scored.rows() if row["clip"] == name)
    assert all(row[metric] is None for metric in METRICS)


def test_without_sound_only_speech_is_missing(scored: FolderScores) -> None:
    clip = one(scored, "no_audio")
    assert clip.reasons["sync_c"] == clip.reasons["sync_offset"] == "no_audio"
    assert clip.scores["dino_s"] == pytest.approx(one(scored, "good").scores["dino_s"], abs=0.01)
    assert clip.facts["sound_seconds"] is None


def test_sound_beyond_the_pictures_changes_nothing_and_is_stated(scored: FolderScores) -> None:
    close_to_good(scored, "long_audio")
    facts = one(scored, "long_audio").facts
    assert facts["sound_seconds"] > facts["seconds"] + 4


def test_a_variable_rate_is_read_by_time(scored: FolderScores) -> None:
    close_to_good(scored, "variable_rate", sync_c=3.0, motion=1.0)
    facts = one(scored, "variable_rate").facts
    assert facts["is_variable_rate"]
    assert facts["frames"] == 36
    assert facts["seconds"] == pytest.approx(2.4, abs=0.13)


def test_one_picture_is_too_short_for_what_needs_time(scored: FolderScores) -> None:
    clip = one(scored, "one_frame")
    assert clip.facts["frames"] == 1
    for metric in ("sync_c", "sync_offset", "motion", "jerk", "colour_drift"):
        assert (clip.scores[metric], clip.reasons[metric]) == (None, "too_short")
    assert 1 <= clip.scores["iqa"] <= 5


def test_odd_sizes_ten_bits_and_turned_files_score_as_what_is_seen(scored: FolderScores) -> None:
    close_to_good(scored, "odd_size", sync_c=1.5, motion=0.55)  # another raster: one pixel more each way
    close_to_good(scored, "ten_bit")
    close_to_good(scored, "rotated")
    facts = one(scored, "rotated").facts
    assert (facts["width"], facts["height"], facts["rotation_degrees"]) == (96, 128, 90)
    assert one(scored, "ten_bit").facts["pixel_format"] == "yuv422p10le"


def test_without_a_face_speech_is_not_scored(scored: FolderScores) -> None:
    for name in ("no_face", "all_black"):
        clip = one(scored, name)
        assert (clip.scores["sync_c"], clip.reasons["sync_c"]) == (None, "no_face_track")
        assert clip.scores["face_coverage"] == 0
    black = one(scored, "all_black")
    assert black.scores["motion"] == 0
    assert black.reasons["jerk"] == "no_motion"


def test_two_faces_are_counted_and_one_is_scored(scored: FolderScores) -> None:
    clip = one(scored, "two_faces")
    assert clip.details["sync_c"]["faces"] == 2
    assert clip.details["face_coverage"]["several_share"] > 0.9
    assert clip.scores["sync_offset"] == 0


def test_the_summary_counts_what_is_behind_a_mean(scored: FolderScores) -> None:
    row = next(row for row in scored.summary() if row["metric"] == "sync_c")
    values = [clip.scores["sync_c"] for clip in scored.clips if clip.scores.get("sync_c") is not None]
    assert (row["n"], row["of"]) == (len(values), len(scored.clips)) == (7, 15)
    assert row["value"] == pytest.approx(np.mean(values))
    assert row["low"] < row["value"] < row["high"]
    for why in ("failed (4x)", "no_audio", "no_face_track (2x)", "too_short"):
        assert why in row["note"]
