"""The nano profile end to end at its real sizes, with random weights: files in, a file out, the same frames however
the voice arrives. What trained weights must show stands in test_shipped_weights.py."""

from __future__ import annotations

import subprocess
import sys
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from liveavatar.checkpoints.store import WeightsError, open_weights, write_weights
from liveavatar.config import RolloutOptions, nano, paper_rollout, released_single_device
from liveavatar.model.codec import Codec
from liveavatar.model.light_decoder import LightDecoder
from liveavatar.model.speech_encoder import CONTEXT_ROWS
from liveavatar.model.transformer import initialise
from liveavatar.pipeline import Pipeline, load
from liveavatar.streaming.features import samples_for_rows, voice_rows
from liveavatar.streaming.session import Session
from liveavatar.training.diffusion_forcing import Generator

SAMPLES = 16_000 * 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of the shipped form, filled with random numbers."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = Generator(nano())
    initialise(generator.transformer, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(generator.transformer.head.head.weight, std=0.05)
    codec = Codec(nano().codec)
    assert codec.basis is not None
    codec.basis.components.normal_(std=0.05)
    parts = {"codec": codec, "light_decoder": LightDecoder(nano().codec), "generator": generator}
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder, "nano", {name: dict(part.state_dict()) for name, part in parts.items()}, {n: {} for n in parts})
    return folder


@pytest.fixture(scope="module")
def pipeline(weights: Path) -> Pipeline:
    return load("nano", weights=weights)


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    rng = np.random.default_rng(0)
    envelope = np.abs(np.sin(np.arange(SAMPLES) / 16_000 * 2 * np.pi * 3))
    return (0.2 * envelope * rng.standard_normal(SAMPLES)).astype(np.float32)


@pytest.fixture(scope="module")
def picture(pipeline: Pipeline) -> np.ndarray:
    rows = np.linspace(0, 255, pipeline.config.height, dtype=np.uint8)[:, None, None]
    return np.broadcast_to(rows, (pipeline.config.height, pipeline.config.width, 3)).copy()


def frames_of(session: Session, voice: np.ndarray, piece: int) -> np.ndarray:
    chunks = [c for start in range(0, len(voice), piece) for c in session.push(voice[start : start + piece])]
    return np.concatenate([chunk.frames for chunk in [*chunks, *session.flush()]])


@pytest.mark.parametrize("piece", [1_000, 7_680, 20_001])
def test_streamed_frames_equal_offline_frames(
    pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray, piece: int
) -> None:
    whole = frames_of(pipeline.open(picture, seed=1), voice, len(voice))
    assert whole.shape == (50, 128, 96, 3)  # 2 s at 25 fps: the voice's own length, not whole blocks
    np.testing.assert_array_equal(frames_of(pipeline.open(picture, seed=1), voice, piece), whole)


def test_seed_and_sample_decide_the_frames(pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray) -> None:
    one, other = (frames_of(pipeline.open(picture, seed=seed), voice[:8_000], 8_000) for seed in (1, 2))
    assert (one != other).any()


def test_decoding_at_the_end_gives_nothing_before_and_all_frames_then(
    pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray
) -> None:
    """Four blocks to a clip, each clip behind the coded frames before it, as the codec decodes it at once."""
    options = RolloutOptions(decoder="vae", decode="end", still_frames=9)
    session = pipeline.open(picture, options=options)
    assert list(session.push(voice)) == []
    chunks = list(session.flush())
    assert [chunk.block for chunk in chunks] == [0, 1, 2, 3, 4]
    assert [len(chunk.frames) for chunk in chunks] == [12, 12, 12, 12, 2]
    assert session.frames_out == 50
    assert [[stage for stage, *_ in chunk.spans] for chunk in chunks[3:]] == [["denoise"], ["denoise", "decode"]]
    assert list(session.flush()) == []


def test_the_released_first_block_lacks_three_frames(pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray) -> None:
    whole, cut = (
        frames_of(pipeline.open(picture, options=RolloutOptions(first_block=name)), voice, 9_000)
        for name in ("whole", "release")
    )
    np.testing.assert_array_equal(cut, whole[3:])


def test_audio_history_changes_what_a_block_hears_and_the_stream_stays_its_own(
    pipeline: Pipeline, weights: Path, picture: np.ndarray, voice: np.ndarray
) -> None:
    previous, repeat = (
        list(pipeline.components.conditions(RolloutOptions(audio_history=history)).push(voice))
        for history in ("previous", "repeat")
    )
    model, audio = pipeline.transformer, pipeline.config.audio
    sound = torch.from_numpy(np.pad(voice, (CONTEXT_ROWS * 640, 0))[: samples_for_rows(audio, CONTEXT_ROWS + 30, 640)])
    generator = Generator(pipeline.config)
    generator.load_state_dict(load_file(weights / "generator.safetensors"))
    assert generator.speech is not None
    states = generator.speech(voice_rows(sound, audio, 640)[None]).transpose(1, 2)[:, None]
    # States are two frames later than the frames they belong to.
    alone = model.encode_audio(states[..., 2 + 12 : 2 + 24])
    torch.testing.assert_close(repeat[1].local, alone.local, atol=1e-5, rtol=0)
    assert not torch.allclose(previous[1].local[:, :1], alone.local[:, :1], atol=1e-3)
    torch.testing.assert_close(previous[1].local[:, 2:], alone.local[:, 2:], atol=1e-5, rtol=0)
    options = RolloutOptions(audio_history="repeat")
    one, other = (frames_of(pipeline.open(picture, options=options), voice, piece) for piece in (1_000, 20_001))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("preset", [paper_rollout, released_single_device], ids=lambda preset: preset.__name__)
def test_published_presets_run_as_far_as_the_model_has_what_they_need(
    pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray, preset: Callable[[], RolloutOptions]
) -> None:
    options = replace(preset(), motion="none", still_frames=9)
    assert len(frames_of(pipeline.open(picture, options=options), voice, len(voice))) == 50


def test_generate_writes_a_video_as_long_as_its_voice(
    pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(picture).save(tmp_path / "face.png")
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((voice * 32767).astype(np.int16).tobytes())
    out = tmp_path / "out.mp4"
    result = pipeline.generate(tmp_path / "face.png", tmp_path / "voice.wav", out, timeline=tmp_path / "timeline.jsonl")
    assert (result.frames, result.width, result.height) == (50, 96, 128)
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50
    lines = (tmp_path / "timeline.jsonl").read_text().splitlines()
    assert sum('"decode"' in line for line in lines) == 5


def test_a_picture_of_another_size_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="read_picture"):
        pipeline.open(np.zeros((64, 64, 3), np.uint8))


def test_damaged_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    for file in weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = bytearray((tmp_path / "light_decoder.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "light_decoder.safetensors").write_bytes(bytes(damaged))
    with pytest.raises(WeightsError, match="sha256"):
        load("nano", weights=tmp_path)


def test_missing_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"liveavatar\.training"):
        open_weights(tmp_path)


def test_another_prompt_in_mid_stream(pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray) -> None:
    whole = frames_of(pipeline.open(picture, "a man", seed=1), voice, len(voice))
    changed = pipeline.open(picture, "a man", seed=1)
    frames, blocks = [], []
    for start in range(0, len(voice), 3_000):
        for chunk in changed.push(voice[start : start + 3_000]):
            frames.append(chunk.frames)
            if chunk.block == 1:
                blocks.append(changed.set_prompt("a woman laughs"))
    frames += [chunk.frames for chunk in changed.flush()]
    assert blocks == [2]
    assert (np.concatenate(frames[:2]) == whole[:24]).all()
    assert (np.concatenate(frames[2:]) != whole[24:]).any()
    scheduled = pipeline.open(picture, "a man", seed=1, prompts=[(0.96, "a woman laughs")])
    np.testing.assert_array_equal(frames_of(scheduled, voice, len(voice)), np.concatenate(frames))


def test_the_python_door_is_lazy_and_streams(pipeline: Pipeline, picture: np.ndarray, voice: np.ndarray) -> None:
    from liveavatar import Avatar

    frames = list(Avatar(pipeline).stream(picture, voice[:8_000]))
    assert [round(frame.time_s * 25) for frame in frames] == list(range(13))
    assert frames[0].pixels.shape == (128, 96, 3)
    code = "import sys, liveavatar; assert liveavatar.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_nano_takes_random_weights_too(picture: np.ndarray, voice: np.ndarray) -> None:
    frames = frames_of(load("nano", weights="random").open(picture), voice[:8_000], 8_000)
    assert frames.shape == (13, 128, 96, 3)
    with pytest.raises(ValueError, match="nano's voice front end is causal"):
        load("nano", weights="random").open(picture, options=replace(nano().rollout, audio_context="file"))
