"""Videos to shards: constant rate, length, filters; and the road of the 14B profile from a folder of videos to stage 2."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from liveavatar.checkpoints.files import open_files
from liveavatar.checkpoints.load import load_into
from liveavatar.checkpoints.lora import merge_lora
from liveavatar.checkpoints.official import OfficialFolder
from liveavatar.checkpoints.sample import write_sample
from liveavatar.model.audio import HISTORY_ROWS
from liveavatar.model.codec import Codec, silence_learned_parts
from liveavatar.model.speech_encoder import CONTEXT_ROWS
from liveavatar.model.transformer import S2VTransformer
from liveavatar.output import Mp4Stream, VideoFormat
from liveavatar.streaming.features import samples_for_rows, voice_rows
from liveavatar.training import __main__ as command
from liveavatar.training.data import LatentShards, clip_mels, padded, shard_files
from liveavatar.training.official_stages import official_distillation, official_encoders, official_forcing
from liveavatar.training.prepare_clips import NanoEncoders, prepare_clips
from liveavatar.training.recipes import SelfForcingOptions, recipe_named, s2v_14b_stage1, s2v_14b_stage2
from liveavatar.training.stages import export_adapter
from liveavatar.training.video_clips import ClipOptions, Filter, read_clip, read_scores, window_starts
from tests.liveavatar.tiny import tiny_profile

PROFILE = tiny_profile()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def write_video(path: Path, seconds: float, fps: int) -> None:
    """Frames that brighten with time, 200 at 10 s, and a tone that gets louder."""
    count = round(seconds * fps)
    with path.open("wb") as opened:
        stream = Mp4Stream(opened, VideoFormat(64, 32, Fraction(fps), crf=1))
        stream.write_audio(np.sin(np.arange(round(seconds * 16_000)) * 0.2) * np.linspace(0, 0.5, round(seconds * 16_000)))
        for index in range(count):
            stream.write(np.full((1, 32, 64, 3), round(20 * index / fps), np.uint8))
        stream.close()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "long.mp4", 11.0, 30)
    write_video(folder / "other.mp4", 10.5, 25)
    write_video(folder / "short.mp4", 4.0, 25)
    return folder


OPTIONS = ClipOptions(32, 32)


def test_any_rate_becomes_25_frames_per_second_on_the_clock(videos: Path) -> None:
    clip = read_clip(videos / "long.mp4", OPTIONS)
    assert clip is not None
    assert clip.frames.shape[1:] == (32, 32, 3)
    assert abs(len(clip.frames) - 275) <= 1
    assert len(clip.samples) == len(clip.frames) * 640
    brightness = clip.frames.mean((1, 2, 3))
    # Frame n is shown at n / 25 s, when the picture has brightness 20 n / 25; 30 source frames a second step by 2/3.
    assert np.abs(brightness - 0.8 * np.arange(len(brightness))).max() < 2.0


def test_short_videos_are_left_out_and_windows_keep_a_frame_before_them(videos: Path) -> None:
    assert read_clip(videos / "short.mp4", OPTIONS) is None
    starts = window_starts(275, OPTIONS)
    assert starts == [1, 51, 101, 151]
    assert starts[-1] + 84 <= 275


def nano_encoders() -> NanoEncoders:
    codec = Codec(PROFILE.codec).eval()
    assert codec.basis is not None
    noise = torch.rand(6, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    patches = codec.basis.patches(noise).flatten(0, -2)
    codec.basis.fit(patches, torch.ones(len(patches)))
    silence_learned_parts(codec)
    return NanoEncoders(PROFILE, codec)


def test_nano_shards_of_videos_are_read_by_the_loader_of_the_rendered_world(videos: Path, tmp_path: Path) -> None:
    chosen = prepare_clips(nano_encoders(), videos, tmp_path, OPTIONS, prompts={"": "a person talks"})
    assert chosen.left_out == {"short": "shorter than 10.0 s"}
    data = LatentShards(shard_files(tmp_path))
    batch = data.take(torch.tensor([1]))
    assert batch.latents.shape == (1, 16, 21, 4, 4)
    assert batch.references.shape == (1, 2, 16, 4, 4)
    assert batch.mouth is None
    # The voice of window 1 is that of frames 51 to 134: the same rows as from the whole video.
    clip = read_clip(videos / "long.mp4", OPTIONS)
    assert clip is not None
    assert batch.samples is not None
    rows = clip_mels(PROFILE, batch.samples, 84)[:, CONTEXT_ROWS:]
    needed = samples_for_rows(PROFILE.audio, 200, 640)
    whole = voice_rows(torch.from_numpy(clip.samples[:needed])[None], PROFILE.audio, 640)[0]
    ahead = PROFILE.audio.look_ahead_frames
    assert torch.allclose(rows[0], whole[51 - HISTORY_ROWS + ahead : 135 + ahead], atol=0.05)


def test_rows_read_one_by_one_are_the_rows_read_at_once(videos: Path, tmp_path: Path) -> None:
    prepare_clips(nano_encoders(), videos, tmp_path, OPTIONS, windows_per_shard=3)
    files = shard_files(tmp_path)
    assert len(files) > 1
    at_once, one_by_one = LatentShards(files), LatentShards(files, max_bytes=0)
    assert len(at_once) == len(one_by_one)
    index = torch.tensor([len(at_once) - 1, 0, 3, 0])
    for one, other in zip(vars(at_once.take(index)).values(), vars(one_by_one.take(index)).values(), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_scores_filter_clips_and_say_why(videos: Path, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("clip,sync_c,offset,note\nlong,4.5,0,fine\nother,2.0,1,\n")
    lines = tmp_path / "scores.jsonl"
    lines.write_text('{"clip": "long", "sync_c": 4.5, "offset": 0}\n{"clip": "other", "sync_c": 2.0, "offset": 1}\n')
    assert (
        read_scores(table)
        == read_scores(lines)
        == {"long": {"sync_c": 4.5, "offset": 0}, "other": {"sync_c": 2, "offset": 1}}
    )
    options = replace(OPTIONS, rules=("sync_c>=3", "offset<=1"))
    chosen = prepare_clips(nano_encoders(), videos, tmp_path / "out", options, scores=table)
    assert set(chosen.left_out) == {"other", "short"}
    assert "sync_c is 2.0" in chosen.left_out["other"]
    assert json.loads((tmp_path / "out" / "left_out-0.json").read_text()) == chosen.left_out
    with pytest.raises(ValueError, match="write NAME>=NUMBER"):
        Filter({}, ("sync better",)).keeps("long")
    with pytest.raises(ValueError, match="--keep"):
        prepare_clips(nano_encoders(), videos, tmp_path / "none", OPTIONS, scores=table)
    (tmp_path / "bad.csv").write_text("name,sync_c\nlong,3\n")
    with pytest.raises(ValueError, match="`clip` column"):
        read_scores(tmp_path / "bad.csv")


def test_texts_of_any_length_share_a_shard() -> None:
    long, short = torch.ones(1, 5, 2), torch.ones(1, 3, 2)
    joined = torch.cat(padded([long, short]))
    assert joined.shape == (2, 5, 2)
    assert joined[1].sum() == 6


def test_the_14b_road_runs_on_an_official_folder_of_tiny_weights(videos: Path, tmp_path: Path) -> None:
    """Videos, published encoders, stage 1 by LoRA, stage 2 from its adapter: the real files' names throughout."""
    pytest.importorskip("transformers")
    base, shards, cpu = tmp_path / "base", tmp_path / "latents", torch.device("cpu")
    write_sample(base)
    encoders = official_encoders(base, cpu)
    options = ClipOptions(32, 32, window_frames=24, stride_s=4.0)
    prepare_clips(encoders, videos, shards, options, prompts={"long": "a man talks to the camera", "": "someone sings"})
    with safe_open(shard_files(shards)[0], "pt") as shard:
        assert shard.get_slice("audio_rows").get_shape()[1:] == [25, 32, 29]
    recipe = replace(s2v_14b_stage1(), steps=2, batch=2, rate=1e-3, lora_rank=2, lora_alpha=1.0, is_sharded=False, warmup=0)
    from liveavatar.training.loop import train

    stage = official_forcing(recipe, shards, base, cpu)
    start = {name: value.clone() for name, value in stage.model.state_dict().items()}
    averaged = train(stage, recipe, tmp_path / "stage1")
    assert any(not torch.equal(start[name], value) for name, value in averaged.items())
    forcing = SelfForcingOptions(form="blockwise", history="clean")
    options2 = replace(s2v_14b_stage2().options, self_forcing=forcing)
    distil = replace(s2v_14b_stage2(), steps=1, batch=2, lora_rank=2, lora_alpha=1.0, is_sharded=False, options=options2)
    second = official_distillation(distil, shards, base, tmp_path / "stage1" / "step-0000002" / "ema.safetensors", cpu)
    student = second.networks["student"].state_dict()
    assert all(torch.equal(student[name], value) for name, value in averaged.items())
    train(second, distil, tmp_path / "stage2")
    export_adapter(tmp_path / "stage2", tmp_path / "student.safetensors")
    with torch.device("meta"):
        published = S2VTransformer(second.profile.transformer)
    load_into(published, open_files(OfficialFolder(base).transformer), cpu)
    assert merge_lora(published, open_files(tmp_path / "student.safetensors"), alpha=1.0).rank == 2
    assert load_file(tmp_path / "stage2" / "step-0000001" / "critic.weights.safetensors").keys() == averaged.keys()


def test_recipes_have_the_papers_values() -> None:
    stage1, stage2 = s2v_14b_stage1(), s2v_14b_stage2()
    assert (stage1.steps, stage1.rate) == (25_000, 1e-5)
    assert (stage2.steps, stage2.rate, stage2.critic_rate) == (2500, 1e-5, 2e-6)
    assert all((r.lora_rank, r.lora_alpha, r.batch) == (128, 64.0, 128) for r in (stage1, stage2))
    with pytest.raises(ValueError, match="available: nano_codec"):
        recipe_named("nothing")


def test_a_run_remembers_its_inputs_and_refuses_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr("liveavatar.training.stages.run", lambda *args: given.append(args))

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["training", "run", *arguments, "--out", str(tmp_path / "out")])
        command.main()

    run("nano_stage1", "--shards", str(tmp_path / "latents"), "--steps", "7")
    run("nano_stage1", "--resume")
    assert given[0] == given[1]
    assert given[0][0].steps == 7  # type: ignore[index]
    with pytest.raises(SystemExit, match="begun with other inputs"):
        run("nano_teacher", "--resume")
    (tmp_path / "out" / "step-0000001").mkdir()
    with pytest.raises(SystemExit, match="add --resume"):
        run("nano_stage1", "--shards", str(tmp_path / "latents"))
    monkeypatch.setattr(sys, "argv", ["training", "run", "nano_stage9", "--shards", "x", "--out", str(tmp_path / "b")])
    with pytest.raises(SystemExit, match="unknown recipe"):
        command.main()
