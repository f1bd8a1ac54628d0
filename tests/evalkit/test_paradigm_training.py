"""What the paradigms train of their own: the motion space, the tuned teachers, and the way of both into a weights folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from evalkit.methods.paradigms import files
from evalkit.methods.paradigms.files import problem_of
from evalkit.methods.paradigms.motion_space.networks import MotionCodec, MotionDenoiser, _warped
from evalkit.methods.paradigms.motion_space.policy import MotionSpace, MotionStream
from evalkit.methods.paradigms.sampling import Sampler
from evalkit.methods.paradigms.training import commands
from evalkit.methods.paradigms.training.context_stage import TUNED, ContextKind, ContextStage
from evalkit.methods.paradigms.training.motion_stages import MotionCodecStage, MotionDenoiserStage, inside, prepare_motion
from evalkit.methods.paradigms.weights import (
    add_weights,
    teacher_parts,
    tuned_parts,
    tuned_tensors,
    with_teacher,
)
from liveavatar.checkpoints.store import open_weights, write_weights
from liveavatar.training import checkpoint
from liveavatar.training.clips import Generator
from liveavatar.training.loop import train
from liveavatar.training.recipes import Recipe
from tests.evalkit.tiny_teacher import tiny_components
from tests.liveavatar.latent_shards import write_latent_shards
from tests.liveavatar.tiny import tiny_profile

ROWS, WIDTH = 6, 8


def codec() -> MotionCodec:
    """For 32x32 pixels."""
    torch.manual_seed(0)
    return MotionCodec(8, 4, 1)


# -------------------------------------------------------------------------------------------------------- motion space


class Steps(MotionSpace):
    """Each window's motion is its number: 0, 1, 2 ... - what is mixed where can be read off."""

    made = -1

    def denoise(self, denoiser: Any, heard: Tensor, initial: Tensor, still: Tensor, noise: Tensor) -> Tensor:
        object.__setattr__(self, "made", self.made + 1)
        return torch.full_like(noise, float(self.made))


def pieces(stream: MotionStream, rows: Tensor, size: int) -> Tensor:
    """All motion of a voice that comes `size` rows at a time."""
    found = [made for part in rows.split(size) for made in stream.push(part)]
    return torch.cat([*found, *stream.finish()])


@pytest.mark.parametrize("latents", [2, 20, 21, 60])
def test_windows_cover_every_frame_once_however_the_voice_comes(latents: int) -> None:
    torch.manual_seed(0)
    denoiser = MotionDenoiser(ROWS, WIDTH, 1, 2, 4).eval()
    policy, rows, still = MotionSpace(Sampler(2, 1.0)), torch.randn(latents, ROWS), torch.randn(4)
    whole, by_piece = (pieces(MotionStream(policy, denoiser, still, (0, "s")), rows, size) for size in (latents, 3))
    assert len(whole) == 4 * latents
    assert torch.allclose(whole, by_piece, atol=1e-5)
    other = pieces(MotionStream(policy, denoiser, still, (1, "s")), rows, latents)
    assert not torch.allclose(whole, other), "noise hangs on the key"


def test_neighbouring_windows_are_cross_faded_over_ten_frames() -> None:
    denoiser = MotionDenoiser(ROWS, WIDTH, 1, 2, 1)
    made = pieces(MotionStream(Steps(), denoiser, torch.zeros(1), (0, "s")), torch.randn(40, ROWS), 40)[:, 0]
    assert made[:69].tolist() == [0.0] * 69
    ramp = torch.arange(1, 11) / 11
    assert torch.allclose(made[71:79], ramp[1:9], atol=1e-6), "a mean of three leaves a straight line as it is"
    assert made[82:138].tolist() == [1.0] * 56


def test_warping_by_a_pixel_moves_the_picture_by_a_pixel() -> None:
    picture = torch.rand(1, 3, 17, 33)
    assert torch.allclose(_warped(picture, torch.zeros(1, 2, 17, 33)), picture, atol=1e-5)
    flow = torch.zeros(1, 2, 17, 33)
    flow[:, 0] = 1 / 32
    assert torch.allclose(_warped(picture, flow)[..., :-1], picture[..., 1:], atol=1e-4)


def test_a_fresh_renderer_shows_the_source_whatever_the_motion() -> None:
    network, picture = codec(), torch.rand(1, 3, 32, 32)
    shown = network.render(network.source(picture), torch.randn(5, 4))
    assert shown.shape == (5, 3, 32, 32)
    assert torch.allclose(shown, picture * (1 - torch.sigmoid(torch.tensor(-2.0))), atol=1e-5)


def test_boxes_are_parts_of_the_picture() -> None:
    (found,) = inside(torch.tensor([[0.5, 0.0, 1.0, 0.25]]), 4, 4)
    assert found[0].tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


# ------------------------------------------------------------------------------------------------------------ training


@pytest.fixture
def frame_shards(tmp_path: Path) -> Path:
    """Two shards of two clips of 99 frames that brighten with time."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(2):
        bright = (torch.arange(99) * 2)[None, :, None, None, None] + 20 * torch.arange(2)[:, None, None, None, None]
        frames = bright.expand(2, 99, 32, 32, 3).to(torch.uint8).contiguous()
        tensors = {
            "frames": frames,
            "references": frames[:, :2].contiguous(),
            "mouth_box": torch.tensor([0.4, 0.5, 0.6, 0.7]).expand(2, 99, 4).contiguous(),
            "audio": torch.randint(-3000, 3000, (2, (16 + 99 + 8) * 640)).short(),
        }
        save_file(tensors, folder / f"{number}.safetensors")
    return folder


def recipe(stage: str, steps: int) -> Recipe:
    return Recipe(stage, steps=steps, batch=2, rate=3e-3, final_rate=1e-3, warmup=1, ema=0.5, evaluate_every=steps)


def test_the_motion_space_is_trained_prepared_and_trained_on(
    frame_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    stage = MotionCodecStage(frame_shards, 0, 2, codec())
    first = stage.loss(0)[0].item()
    assert stage.loss(0)[0].item() == first, "a step's draws hang on the step alone"
    train(stage, recipe("motion_codec", 25), tmp_path / "codec")
    assert sum(stage.loss(step)[0].item() for step in range(4)) < 0.9 * sum(
        MotionCodecStage(frame_shards, 0, 2, codec()).loss(step)[0].item() for step in range(4)
    )
    network = codec()
    network.load_state_dict(load_file(commands.averaged(tmp_path / "codec")))
    components = tiny_components(monkeypatch)
    prepare_motion(network, components, frame_shards, tmp_path / "motion")
    made = load_file(tmp_path / "motion" / "0.safetensors")
    assert made["motion"].shape == (2, 96, 4), "what does not fill a latent frame is left out"
    assert made["still"].shape == (2, 2, 4)
    assert made["voice"].shape[:2] == (2, 24)
    assert torch.isfinite(made["voice"]).all()
    before = (tmp_path / "motion" / "0.safetensors").stat().st_mtime_ns
    prepare_motion(network, components, frame_shards, tmp_path / "motion")
    assert (tmp_path / "motion" / "0.safetensors").stat().st_mtime_ns == before, "what is there is not made again"
    voice = made["voice"].shape[-1]
    denoiser = MotionDenoiserStage(tmp_path / "motion", 0, 2, 80, MotionDenoiser(voice, WIDTH, 1, 2, 4))
    train(denoiser, recipe("motion_diffusion", 3), tmp_path / "diffusion")
    held = commands.record(tmp_path / "diffusion")["held_out"]
    assert set(held) == {"loss", "voice_gap"}
    with pytest.raises(ValueError, match="--frames 113"):
        MotionDenoiserStage(tmp_path / "motion", 0, 2, 96)


@pytest.mark.parametrize("kind", [ContextKind("packed", 4, 2, 0.1), ContextKind("pixel_context", 4, 1, 0.0)])
def test_a_context_is_tuned_in_and_everything_else_stays_the_teachers(
    kind: ContextKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    profile, coder = tiny_profile(), tiny_components(monkeypatch).codec
    teacher = {name: value + 0.02 * torch.randn_like(value) for name, value in Generator(profile).state_dict().items()}
    shards = write_latent_shards(tmp_path / "latents")
    stage = ContextStage(kind, dict(teacher), coder, shards, 0, 2, profile)
    figures = stage.evaluate(stage.model)
    assert set(figures) == {f"{name}_{level}" for name in ("loss", "context_gap") for level in (0.9, 0.5, 0.2)}
    train(stage, recipe(kind.name, 3), tmp_path / "out")
    made = load_file(commands.averaged(tmp_path / "out"))
    changed = {name for name, value in teacher.items() if not torch.equal(made[name].float(), value.float())}
    assert changed
    assert all(name.removeprefix("transformer.").startswith(TUNED) for name in changed)
    new = set(made) - set(teacher)
    assert all(name.startswith("transformer.frame_packer.") for name in new)
    assert bool(new) == (kind.name == "packed")
    with pytest.raises(ValueError, match="make longer"):
        ContextStage(replace(kind, new=9), dict(teacher), coder, shards, 0, 2, profile)


# ------------------------------------------------------------------------------------------------------------- weights


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What the package ships, small: one matrix and one vector."""
    torch.manual_seed(0)
    tensors = {"a.weight": torch.randn(40, 30).bfloat16().float(), "a.bias": torch.zeros(40)}
    write_weights(tmp_path / "base", "nano", {"generator": tensors}, {"generator": {}})
    monkeypatch.setattr(files, "base_folder", lambda: tmp_path / "base")
    return tensors


def low_rank() -> Tensor:
    return torch.randn(40, 2) @ torch.randn(2, 30) / 10


def test_teacher_and_tuned_networks_come_back_from_their_differences(base: dict[str, Tensor], tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    teacher = {"a.weight": base["a.weight"] + low_rank(), "a.bias": base["a.bias"] + 1}
    add_weights(folder, "teacher", teacher_parts(teacher, rank=2), {"step": 3})
    opened = with_teacher(folder)
    assert torch.allclose(opened.tensors("generator")["a.weight"], teacher["a.weight"], atol=0.02)
    known = opened.tensors("generator")
    tuned = {"a.weight": known["a.weight"] + low_rank(), "a.bias": known["a.bias"], "extra.weight": torch.randn(3)}
    add_weights(folder, "packed", tuned_parts(known, tuned, rank=2), {})
    found = tuned_tensors(with_teacher(folder), "packed")
    assert set(found) == set(tuned)
    assert all(torch.allclose(found[name], tuned[name], atol=0.02) for name in tuned)
    assert open_weights(folder).manifest["files"]["teacher"]["step"] == 3  # type: ignore[index]
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
    assert all(size < 40 * 30 * 2 for size in sizes), "smaller than the network"


def test_what_is_missing_or_made_for_another_generator_is_said(base: dict[str, Tensor], tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    assert problem_of(folder, ("teacher", "packed")) == "weights that are not there (teacher, packed)"
    add_weights(folder, "teacher", teacher_parts(base | {"a.bias": base["a.bias"] + 1}), {})
    assert problem_of(folder, ("teacher",)) == ""
    assert "packed" in problem_of(folder, ("teacher", "packed"))
    write_weights(tmp_path / "base", "nano", {"generator": {"a.bias": torch.ones(40)}}, {"generator": {}})
    assert "differences from another" in problem_of(folder, ("teacher",))


def test_export_takes_the_averages_and_refuses_other_names(base: dict[str, Tensor], tmp_path: Path) -> None:
    run = tmp_path / "run"
    step = run / "step-0000007"
    step.mkdir(parents=True)
    save_file(base | {"a.bias": base["a.bias"] + 2}, step / "ema.safetensors")
    (step / "state.json").write_text('{"step": 7}')
    (run / "curves.jsonl").write_text('{"step": 5, "held_out": {"loss": 0.5}}\n{"step": 9, "held_out": {"loss": 0.1}}\n')
    if checkpoint.latest(run) is None:
        pytest.fail("the layout of a checkpoint has changed")
    commands.export(tmp_path / "weights", {"teacher": str(run)})
    entry: Any = open_weights(tmp_path / "weights").manifest["files"]["teacher"]
    assert (entry["step"], entry["held_out"]) == (7, {"loss": 0.5})
    assert torch.equal(with_teacher(tmp_path / "weights").tensors("generator")["a.bias"], torch.full((40,), 2.0))
    with pytest.raises(ValueError, match="those are teacher, packed"):
        commands.export(tmp_path / "weights", {"other": str(run)})
    with pytest.raises(FileNotFoundError, match="train it first"):
        commands.export(tmp_path / "weights", {"teacher": str(tmp_path / "none")})
