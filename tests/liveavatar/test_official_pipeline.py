"""The s2v-14b profile from end to end on a checkpoint folder in the official layout with tiny random weights.

The same code takes the published weights; only numbers in `config.json` and shapes of tensors differ.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import types
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from liveavatar import Avatar, cli
from liveavatar.checkpoints.official import BASE_FOLDER, SHARD_STEM
from liveavatar.checkpoints.sample import TINY_S2V, write_sample
from liveavatar.checkpoints.store import WeightsError
from liveavatar.components import build, placement
from liveavatar.config import RolloutOptions
from liveavatar.inputs import read_picture
from liveavatar.model.compiled import compile_blocks
from liveavatar.model.fp8 import Fp8Linear
from liveavatar.model.transformer import S2VTransformer
from liveavatar.pipeline import Pipeline, load
from liveavatar.streaming.host_cache import HostCache
from liveavatar.streaming.session import Session

WIDTH, HEIGHT = 48, 32
SECONDS = 1.2  # two and a half blocks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("official") / "ckpt"
    write_sample(root)
    return root


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    torch.set_num_threads(1)
    return load("s2v-14b", weights=folder, size=(WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return (0.2 * np.random.default_rng(0).standard_normal(round(SECONDS * 16_000))).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, voice: np.ndarray) -> Path:
    """face.png, larger than the video and of another aspect, and voice.wav."""
    folder = tmp_path_factory.mktemp("files")
    picture = np.random.default_rng(1).integers(0, 255, (120, 100, 3)).astype(np.uint8)
    Image.fromarray(picture).save(folder / "face.png")
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((voice * 32768).astype("<i2").tobytes())
    return folder


@pytest.fixture(scope="module")
def picture(files: Path) -> np.ndarray:
    return read_picture(files / "face.png", HEIGHT, WIDTH)


def frames_of(session: Session, voice: np.ndarray, piece: int = 10**9) -> np.ndarray:
    chunks = [c for start in range(0, len(voice), piece) for c in session.push(voice[start : start + piece])]
    return np.concatenate([chunk.frames for chunk in [*chunks, *session.flush()]])


@pytest.fixture(scope="module")
def whole(pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """The frames of the plain case, that others are compared with."""
    return frames_of(pipeline.open(picture, "a fox", seed=1), voice)


# -------------------------------------------------------------------------------------------------------- one pipeline


def test_sizes_come_from_the_folder(pipeline: Pipeline) -> None:
    c = pipeline.config
    assert (c.transformer.dim, c.transformer.num_layers, c.codec.base_dim) == (TINY_S2V["dim"], TINY_S2V["num_layers"], 4)
    assert (c.width, c.height, c.fps) == (WIDTH, HEIGHT, 25)
    assert c.transformer.motion == "packed"
    assert c.rollout.grid == "release"


def test_streamed_frames_equal_offline_frames(
    pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray, whole: np.ndarray
) -> None:
    assert whole.shape == (30, HEIGHT, WIDTH, 3)
    assert whole.std() > 1
    np.testing.assert_array_equal(frames_of(pipeline.open(picture, "a fox", seed=1), voice, 1_777), whole)


def test_offloaded_networks_give_the_same_video(
    folder: Path, picture: np.ndarray, voice: np.ndarray, whole: np.ndarray
) -> None:
    offloaded = load("s2v-14b", weights=folder, size=(WIDTH, HEIGHT), offload=True, host_caches=True)
    session = offloaded.open(picture, "a fox", seed=1)
    assert isinstance(session.rollout.caches[0], HostCache)
    # Projections are not fused there, so sums are rounded in another order.
    assert np.abs(frames_of(session, voice).astype(int) - whole.astype(int)).max() <= 1


def test_compiled_networks_give_the_same_video(
    folder: Path, picture: np.ndarray, voice: np.ndarray, whole: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Graphs run as traced: what the compiler makes of them is not tested here.
    monkeypatch.setattr("liveavatar.components.compile_blocks", lambda model: compile_blocks(model, "eager"))
    compiled = load("s2v-14b", weights=folder, size=(WIDTH, HEIGHT), compiled=True)
    assert compiled.transformer.rotate is not S2VTransformer.rotate
    frames = frames_of(compiled.open(picture, "a fox", seed=1), voice)
    assert np.abs(frames.astype(int) - whole.astype(int)).max() <= 1


def test_recorded_streams_are_refused_where_they_cannot_be(folder: Path) -> None:
    with pytest.raises(ValueError, match="'cpu' cannot record graphs"):
        load("s2v-14b", weights=folder, graphs=True)
    with pytest.raises(ValueError, match="leave out graphs, or offload and host_caches"):
        load("s2v-14b", weights=folder, graphs=True, offload=True)


def test_prompt_voice_picture_and_seed_all_count(
    pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray, whole: np.ndarray
) -> None:
    first = whole[:12]
    for given, prompt, sound, seed in (
        (picture, "a cat", voice, 1),
        (picture, "a fox", voice[::-1].copy(), 1),
        (255 - picture, "a fox", voice, 1),
        (picture, "a fox", voice, 2),
    ):
        chunk = next(pipeline.open(given, prompt, seed).push(sound))
        assert (chunk.frames != first).any()


def still_latents(pipeline: Pipeline, picture: np.ndarray, latents: int) -> torch.Tensor:
    """The first latents [1, z, latents, h, w] of the picture as a still video."""
    video = torch.from_numpy(picture).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
    with torch.inference_mode():
        return pipeline.codec.encode(video.expand(-1, -1, 1 + 4 * (latents - 1), -1, -1))


def test_a_picture_becomes_a_reference_and_a_still_past(pipeline: Pipeline, picture: np.ndarray) -> None:
    still = still_latents(pipeline, picture, 19)
    assert still.shape == (1, 16, 19, HEIGHT // 8, WIDTH // 8)
    torch.testing.assert_close(still[:, :, :1], pipeline.encode_picture(picture), atol=0, rtol=0)
    session = pipeline.open(picture)
    motion = session.rollout.sink.newest.motion
    assert motion is not None
    torch.testing.assert_close(motion, still, atol=2e-5, rtol=0)
    # Tokens: the reference's 2x3, as many for the newest latent, 1x1 at half resolution, none at a quarter.
    assert session.rollout.sink.tokens == 6 + 6 + 1


def test_the_decoder_has_seen_the_still_past_before_the_first_block(pipeline: Pipeline, picture: np.ndarray) -> None:
    """What it decodes first is what whole-clip decoding gives behind the same seven latents."""
    still = still_latents(pipeline, picture, 7)
    latents = torch.randn(1, 16, 3, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        streamed = pipeline.open(picture).decoder.decode(latents)
        together = pipeline.codec.decode(torch.cat([still, latents], dim=2))[:, :, -12:]
    torch.testing.assert_close(streamed, together, atol=2e-5, rtol=0)


def test_other_voices_contexts_and_rollouts_are_options(pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray) -> None:
    options = replace(pipeline.config.rollout, audio_context="file", steps=1, first_block="release")
    session = pipeline.open(picture, options=options)
    assert not list(session.push(voice))
    chunks = list(session.flush())
    assert [len(chunk.frames) for chunk in chunks] == [9, 12, 6]
    assert [chunk.begin_s for chunk in chunks] == [0.0, 9 / 25, 21 / 25]
    with pytest.raises(ValueError, match="decoder='light': profile s2v-14b has none"):
        pipeline.open(picture, options=RolloutOptions())


def test_state_does_not_grow(pipeline: Pipeline, picture: np.ndarray) -> None:
    session = pipeline.open(picture, options=replace(pipeline.config.rollout, steps=1))
    silence, sizes = np.zeros(7_680, np.float32), []
    for _ in range(7):
        list(session.push(silence))
        sizes.append(sum(cache.nbytes for cache in session.rollout.caches))
    assert len(set(sizes)) == 1


# ---------------------------------------------------------------------------------------------- types, random weights


def test_bfloat16_keeps_delicate_parts_in_float32(
    folder: Path, picture: np.ndarray, voice: np.ndarray, whole: np.ndarray
) -> None:
    made = load("s2v-14b", weights=folder, size=(WIDTH, HEIGHT), dtype="bfloat16")
    kinds = {name: value.dtype for name, value in made.transformer.named_parameters()}
    wide = {name for name, kind in kinds.items() if kind == torch.float32}
    assert {name.split(".")[0] for name in wide} == {
        "time_embedding",
        "time_projection",
        "casual_audio_encoder",
        "head",
        "blocks",
    }
    assert all(name.endswith("modulation") for name in wide if name.startswith("blocks"))
    assert {kinds[name] for name in kinds.keys() - wide} == {torch.bfloat16}
    frames = frames_of(made.open(picture, "a fox", seed=1), voice)
    assert np.abs(frames.astype(float) - whole).mean() < 0.1 * whole.std()


def test_fp8_replaces_linear_layers(folder: Path, picture: np.ndarray, voice: np.ndarray, whole: np.ndarray) -> None:
    made = load("s2v-14b", weights=folder, size=(WIDTH, HEIGHT), fp8=True)
    layers = [name for name, module in made.transformer.named_modules() if isinstance(module, Fp8Linear)]
    assert len(layers) == 3 * 10 + 2 * 5  # blocks; injections with their norms
    first = next(made.open(picture, "a fox", seed=1).push(voice)).frames
    assert 0 < np.abs(first.astype(float) - whole[:12]).mean() < 0.2 * whole.std()


def test_random_weights_need_no_folder(picture: np.ndarray, voice: np.ndarray) -> None:
    made = [load("s2v-14b", weights="random-tiny", size=(WIDTH, HEIGHT)) for _ in range(2)]
    one, other = (next(pipeline.open(picture, "a fox").push(voice)).frames for pipeline in made)
    np.testing.assert_array_equal(one, other)
    assert one.std() > 1
    assert not any(value.is_meta for value in made[0].transformer.state_dict().values())


def test_random_weights_of_the_published_size_are_the_published_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Built on the meta device, where nothing is filled: 1,260 tensors, 16,295,755,609 parameters."""
    from liveavatar import official_components

    monkeypatch.setattr(official_components, "fill_randomly", lambda network, *_: network)
    made = build("s2v-14b", "random", replace(placement(), device=torch.device("meta")))
    tensors = made.transformer.state_dict()
    assert (len(tensors), sum(value.numel() for value in tensors.values())) == (1_260, 16_295_755_609)
    assert (made.config.width, made.config.height) == (704, 384)


# --------------------------------------------------------------------------------------------------------- strictness


def edit_shard(root: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the first shard and let the index know."""
    base = root / BASE_FOLDER
    file = base / f"{SHARD_STEM}-00001-of-00004.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)
    index = base / f"{SHARD_STEM}.safetensors.index.json"
    content = json.loads(index.read_text())
    kept = {name: shard for name, shard in content["weight_map"].items() if shard != file.name}
    content["weight_map"] = kept | dict.fromkeys(tensors, file.name)
    index.write_text(json.dumps(content))


def one_more(root: Path) -> None:
    edit_shard(root, lambda tensors: tensors.update({"blocks.0.more.weight": torch.zeros(1)}))


def one_fewer(root: Path) -> None:
    edit_shard(root, lambda tensors: tensors.pop("patch_embedding.bias"))


def one_reshaped(root: Path) -> None:
    edit_shard(root, lambda tensors: tensors.update({"patch_embedding.bias": torch.zeros(63)}))


def no_shard(root: Path) -> None:
    (root / BASE_FOLDER / f"{SHARD_STEM}-00003-of-00004.safetensors").unlink()


def cut_shard(root: Path) -> None:
    file = root / BASE_FOLDER / f"{SHARD_STEM}-00003-of-00004.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def other_audio(root: Path) -> None:
    config = root / BASE_FOLDER / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"audio_dim": 64}))


def other_switch(root: Path) -> None:
    config = root / BASE_FOLDER / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"enable_tsm": True}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (one_more, r"1 unknown: blocks\.0\.more\.weight"),
        (one_fewer, r"1 missing: patch_embedding\.bias"),
        (one_reshaped, r"patch_embedding\.bias is \[63\], not \[64\]"),
        (no_shard, r"lacks 1 of 4 shards: diffusion_pytorch_model-00003-of-00004"),
        (cut_shard, r"00003-of-00004\.safetensors is cut short"),
        (other_audio, r"audio_dim is 64, the voice encoder's width 32"),
        (other_switch, r"config\.json has enable_tsm=True; only False is implemented"),
    ],
)
def test_a_folder_that_is_not_right_does_not_load(folder: Path, tmp_path: Path, damage: Callable, message: str) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "ckpt"))
    damage(broken)
    with pytest.raises(WeightsError, match=message):
        load("s2v-14b", weights=broken)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"profile": "s2v-14b"}, "ships no weights; give a folder"),
        ({"profile": "s2v-14b", "weights": "random-tiny", "size": (720, 400 - 8)}, "height=392: give a multiple of 16"),
        ({"profile": "nano", "size": (48, 64)}, "nano's weights know 96x128 only"),
        ({"profile": "nano", "device": "abacus"}, "device='abacus' cannot be used here"),
        ({"profile": "nano", "dtype": "float8"}, "dtype='float8': allowed are 'float32' and 'bfloat16'"),
        ({"profile": "nanoo"}, "available: nano, s2v-14b"),
    ],
)
def test_what_cannot_be_loaded_says_what_can(asked: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(**asked)


# ------------------------------------------------------------------------------------------------------------ prompts


def test_a_prompt_that_stays_changes_nothing(
    pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray, whole: np.ndarray
) -> None:
    session = pipeline.open(picture, "a fox", seed=1, prompts=[(0.0, "a fox"), (0.96, "a fox")])
    np.testing.assert_array_equal(frames_of(session, voice), whole)


def test_another_prompt_changes_later_blocks_and_no_earlier_one(
    pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray, whole: np.ndarray
) -> None:
    prompts = [(0.5, "a cat")]  # inside the second block: it holds from the third, at 0.96 s
    frames = frames_of(pipeline.open(picture, "a fox", seed=1, prompts=prompts), voice)
    np.testing.assert_array_equal(frames[:24], whole[:24])
    assert (frames[24:] != whole[24:]).any()
    streamed = frames_of(pipeline.open(picture, "a fox", seed=1, prompts=prompts), voice, 3_001)
    np.testing.assert_array_equal(streamed, frames)
    live = pipeline.open(picture, "a fox", seed=1)
    first = next(live.push(voice))
    assert first.block == 0
    assert live.set_prompt("a cat", from_s=0.96) == 2


# ---------------------------------------------------------------------------------------------------------- the doors


def test_avatar_streams_frames_with_their_times(
    pipeline: Pipeline, files: Path, voice: np.ndarray, whole: np.ndarray, picture: np.ndarray
) -> None:
    avatar = Avatar(pipeline)
    frames = list(avatar.stream(files / "face.png", [voice[:5_000], voice[5_000:]], "a fox", seed=1))
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in frames]), whole)
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(30) / 25, atol=1e-9)
    assert [frame.block for frame in frames] == [0] * 12 + [1] * 12 + [2] * 6
    from_file = next(avatar.stream(picture, files / "voice.wav", "a fox", seed=1))
    assert np.abs(from_file.pixels.astype(int) - whole[0]).mean() < 2  # 16-bit samples


def run(verb: str, folder: Path, files: Path, out: str, *more: str) -> int:
    model = [
        "--profile",
        "s2v-14b",
        "--weights",
        str(folder),
        "--size",
        f"{WIDTH}x{HEIGHT}",
        "--steps",
        "2",
        "--threads",
        "1",
    ]
    return cli.main([verb, "--reference", str(files / "face.png"), "--out", str(files / out), *model, *more])


def frame_count(path: Path) -> tuple[int, int, int]:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0)), container.streams.video[0].width, container.streams.video[0].height


def test_generate_from_a_folder(folder: Path, files: Path, capsys: pytest.CaptureFixture) -> None:
    (files / "prompts.jsonl").write_text('{"time": 0.48, "prompt": "a smile"}\n')
    more = ["--audio", str(files / "voice.wav"), "--prompt", "a man", "--prompts", str(files / "prompts.jsonl"), "--json"]
    assert run("generate", folder, files, "o.mp4", *more) == 0
    assert frame_count(files / "o.mp4") == (30, WIDTH, HEIGHT)
    assert json.loads(capsys.readouterr().out)["width"] == WIDTH


def test_stream_from_a_folder(
    folder: Path, files: Path, voice: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pcm = io.BytesIO((voice * 32768).astype("<i2").tobytes())
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=pcm, isatty=lambda: False))
    assert run("stream", folder, files, "s.mp4") == 0
    assert frame_count(files / "s.mp4") == (30, WIDTH, HEIGHT)
    assert "30 frames in 3 blocks" in capsys.readouterr().err


def test_a_damaged_folder_is_one_line(folder: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "ckpt"))
    no_shard(broken)
    assert run("generate", broken, files, "n.mp4", "--audio", str(files / "voice.wav")) == 1
    assert capsys.readouterr().err.startswith("liveavatar: ")
    arguments = ["generate", "--profile", "s2v-14b", "--reference", str(files / "face.png"), "--out", str(files / "n.mp4")]
    assert cli.main([*arguments, "--audio", str(files / "voice.wav")]) == 2
    assert "ships no weights; give a folder" in capsys.readouterr().err
    assert not (files / "n.mp4").exists()
