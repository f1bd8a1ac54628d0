"""Stage 2 in the loop: who is updated when, resuming with all its state, processes, and what its switches change."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import av
import pytest
import torch
from safetensors.torch import load_file

from liveavatar.model.light_decoder import LightDecoder
from liveavatar.model.transformer import initialise
from liveavatar.training import checkpoint
from liveavatar.training.clip_measures import ClipMeasures
from liveavatar.training.clips import Generator
from liveavatar.training.data import LatentShards, shard_files
from liveavatar.training.diffusion_forcing import ForcingStage
from liveavatar.training.distillation import DistillStage
from liveavatar.training.loop import due, product_updates, train
from liveavatar.training.networks import CRITIC, STUDENT, TEACHER, Copies
from liveavatar.training.recipes import DistillOptions, ForcingOptions, Recipe, SelfForcingOptions
from liveavatar.training.sample_videos import SampleVideos
from liveavatar.training.stages import _record, averaged
from tests.liveavatar.latent_shards import write_latent_shards
from tests.liveavatar.tiny import tiny_profile

PROFILE = tiny_profile()
OPTIONS = DistillOptions(SelfForcingOptions(transition="euler"), score_range=(0.05, 0.98))
RECIPE = Recipe(
    "stage2", steps=6, batch=2, rate=1e-3, critic_rate=2e-3, warmup=2, betas=(0.0, 0.999), product_every=2, critic_first=1,
    bf16=False, log_every=1, evaluate_every=6, checkpoint_minutes=0.0, options=OPTIONS,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_latent_shards(tmp_path / "latents")


def generator(seed: int) -> Generator:
    """Random throughout: a fresh head of zeros would hide the network behind it."""
    torch.manual_seed(seed)
    model = Generator(PROFILE)
    initialise(model.transformer, torch.Generator().manual_seed(seed))
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return model


def stage(shards: Path, recipe: Recipe = RECIPE) -> DistillStage:
    teacher = generator(1)
    roles = Copies(generator(0), copy.deepcopy(teacher), teacher)
    return DistillStage(PROFILE, roles, shards, recipe, {"teacher": "digest"})


def test_the_product_has_its_turn_and_the_others_always() -> None:
    recipe = replace(RECIPE, product_every=3, critic_first=2)
    turns = [due(recipe, [STUDENT, CRITIC], step) for step in range(9)]
    assert [STUDENT in turn for turn in turns] == [False, False, True, False, False, True, False, False, True]
    assert all(turn[-1] == CRITIC for turn in turns)
    assert [product_updates(recipe, step) for step in range(9)] == [0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert due(Recipe("stage1", steps=9, batch=1, rate=1.0), ["model"], 4) == ["model"]


def test_first_student_gradient_is_zero_to_the_bit_without_guidance(shards: Path) -> None:
    """The critic starts as the teacher, so the scores cancel; with guidance they do not."""
    first = stage(shards)
    figures = first.accumulate(STUDENT, 0)
    assert figures["pull"] == 0.0
    assert all(not p.grad.any() for p in first.networks[STUDENT].parameters() if p.grad is not None)
    guided = stage(shards, replace(RECIPE, options=replace(OPTIONS, guidance=2.0)))
    assert guided.accumulate(STUDENT, 0)["pull"] > 0.0


@pytest.mark.parametrize("bf16", [False, True])
def test_a_turn_gives_gradients_to_its_own_network_only(shards: Path, bf16: bool) -> None:
    trained = stage(shards, replace(RECIPE, bf16=bf16))
    with torch.no_grad():
        for parameter in trained.networks[CRITIC].parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    for name, other in ((STUDENT, CRITIC), (CRITIC, STUDENT)):
        # Steps 0 to 3 leave the clip at different levels; every weight that speaks must be reached.
        for step in range(4):
            trained.accumulate(name, step)
        got = {key for key, p in trained.networks[name].named_parameters() if p.grad is not None and p.grad.any()}
        silent = {key for key, p in trained.networks[name].named_parameters() if p.requires_grad} - got
        assert silent <= {"no_voice"} | {key for key in silent if "norm_k" in key or ".k.bias" in key}, silent
        assert all(p.grad is None for p in trained.networks[other].parameters())
        for parameter in trained.networks[name].parameters():
            parameter.grad = None
    with trained.roles.use(TEACHER) as teacher:
        assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_student_and_critic_change_at_their_turns_and_the_teacher_never(shards: Path, tmp_path: Path) -> None:
    trained = stage(shards)
    with trained.roles.use(TEACHER) as teacher:
        before = copy.deepcopy(teacher.state_dict())
        start = copy.deepcopy(trained.networks[STUDENT].state_dict())
        train(trained, replace(RECIPE, steps=1), tmp_path / "one")  # critic_first=1: the critic alone
        assert all(torch.equal(start[key], value) for key, value in trained.networks[STUDENT].state_dict().items())
        assert any(not torch.equal(before[key], value) for key, value in trained.networks[CRITIC].state_dict().items())
        train(trained, RECIPE, tmp_path / "six")
        assert any(not torch.equal(start[key], value) for key, value in trained.networks[STUDENT].state_dict().items())
        assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    record = json.loads((tmp_path / "six" / "curves.jsonl").read_text().splitlines()[-1])["held_out"]
    assert {"motion", "border", "mouth_r", "excess"} <= record.keys()


SCRIPT = """
    import sys
    from pathlib import Path
    import torch
    from liveavatar.training.loop import train
    from tests.liveavatar import test_distillation as t
    torch.set_num_threads(1)
    train(t.stage(Path(sys.argv[1])), t.RECIPE, Path(sys.argv[2]))
"""


def test_resuming_after_kill_9_gives_the_bits_of_an_uninterrupted_run(shards: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    wanted = train(stage(shards), RECIPE, whole)
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SCRIPT), str(shards), str(killed)])
    deadline = time.monotonic() + 300
    while checkpoint.latest(killed) is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = checkpoint.latest(killed)
    assert reached is not None
    assert process.returncode == -signal.SIGKILL or reached.name == "step-0000006"
    resumed = train(stage(shards), RECIPE, killed)
    assert all(torch.equal(wanted[name], resumed[name]) for name in wanted)
    for name in ("weights", "optimiser", "critic.weights", "critic.optimiser"):
        one, other = (load_file(folder / "step-0000006" / f"{name}.safetensors") for folder in (whole, killed))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    figures = [
        [
            {k: v for k, v in json.loads(line).items() if k != "minutes"}
            for line in (f / "curves.jsonl").read_text().splitlines()
        ]
        for f in (whole, killed)
    ]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("kind", ["stage1", "stage2"])
def test_sample_videos_show_truth_beside_the_student(kind: str, shards: Path, tmp_path: Path) -> None:
    decoder = LightDecoder(PROFILE.codec)
    forcing = ForcingStage(PROFILE, generator(0), shards, 0, 2, ForcingOptions())
    trained = forcing if kind == "stage1" else stage(shards)
    recipe = replace(RECIPE, steps=2, evaluate_every=1)
    if kind == "stage1":
        with pytest.raises(ValueError, match="has one network"):
            train(trained, recipe, tmp_path / "refused")
        recipe = replace(recipe, product_every=1, critic_first=0)
    train(trained, recipe, tmp_path / "out", show=SampleVideos(trained, decoder, tmp_path / "samples"))
    videos = sorted((tmp_path / "samples").glob("*.mp4"))
    assert [path.name for path in videos] == [f"step-000000{step}-{index}.mp4" for step in (1, 2) for index in (0, 1)]
    with av.open(str(videos[0])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.audio
    assert len(frames) == 24
    assert frames[0].shape == (32, 64, 3)


def test_averages_of_evaluations_are_kept_and_exported_by_name(shards: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=4, evaluate_every=2, keeps_averages=True)
    train(stage(shards), recipe, tmp_path / "out")
    kept = sorted((tmp_path / "out" / "averages").iterdir())
    assert [file.name for file in kept] == ["step-0000002.safetensors", "step-0000004.safetensors"]
    assert averaged(kept[0]) == kept[0]
    last = load_file(averaged(tmp_path / "out"))
    assert all(torch.equal(value, last[name]) for name, value in load_file(kept[1]).items())
    record = _record(kept[0])
    lines = [json.loads(line) for line in (tmp_path / "out" / "curves.jsonl").read_text().splitlines()]
    assert record["step"] == 2
    assert record["held_out"] == next(line["held_out"] for line in lines if "held_out" in line and line["step"] == 2)


def test_another_teacher_is_refused_on_resuming(shards: Path, tmp_path: Path) -> None:
    train(stage(shards), replace(RECIPE, steps=1), tmp_path / "out")
    other = stage(shards)
    other.made_from = {"teacher": "another"}
    with pytest.raises(ValueError, match="was made from"):
        train(other, replace(RECIPE, steps=1), tmp_path / "out")


def test_histories_and_forms_train_by_switch(shards: Path) -> None:
    """The same draws: forms give one gradient, the clean history another."""

    def gradient(**changes: object) -> torch.Tensor:
        forcing = replace(OPTIONS.self_forcing, **changes)  # type: ignore[arg-type]
        trained = stage(shards, replace(RECIPE, options=replace(OPTIONS, guidance=2.0, self_forcing=forcing)))
        trained.accumulate(STUDENT, 1)
        return torch.cat([p.grad.flatten() for p in trained.networks[STUDENT].parameters() if p.grad is not None])

    ours = gradient()
    for form in ("sequential", "blockwise"):
        assert (gradient(form=form) - ours).norm() < 1e-5 * ours.norm()
    assert (gradient(form="sequential", history="clean") - ours).norm() > 1e-3 * ours.norm()


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="score_range"):
        DistillOptions(score_range=(0.0, 0.9))
    with pytest.raises(ValueError, match="drops no conditions"):
        DistillOptions(clips=ForcingOptions())


def test_measures_of_the_truth_itself_are_one(shards: Path) -> None:
    data = LatentShards(shard_files(shards))
    moving = torch.randn(data.tensors["latents"].shape, generator=torch.Generator().manual_seed(0))
    moving[:, 0] = data.tensors["truth.mouth_open"][:, ::4, None, None]  # a channel that shows the mouth
    data.tensors["latents"] = moving
    batch = data.take(torch.arange(len(data)))
    measures = ClipMeasures(data)
    figures = measures.compare(batch, batch.latents)
    assert figures["motion"] == pytest.approx(1.0)
    assert figures["spread"] == pytest.approx(1.0)
    assert figures["border"] == pytest.approx(figures["border_truth"])
    still = batch.latents.mean(2, keepdim=True).expand_as(batch.latents)
    assert measures.compare(batch, still)["motion"] == pytest.approx(0.0)
    assert measures.compare(batch, still)["mouth_r"] < figures["mouth_r"] == figures["mouth_r_truth"]
