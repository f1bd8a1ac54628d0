"""Recipes: data by random access, steps that learn, and resume that equals an unbroken run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from evalkit.metrics.training.clip_encoder import ALTERATIONS, ClipTask
from evalkit.metrics.training.data import AUDIO_LEAD_FRAMES, ShardSet, split_shards
from evalkit.metrics.training.face_finder import FaceFinderTask
from evalkit.metrics.training.framing import nearer, reframe
from evalkit.metrics.training.image_encoder import ImageTask
from evalkit.metrics.training.loop import Recipe, Task, train
from evalkit.metrics.training.mouth import MouthTask
from evalkit.metrics.training.quality import DISTORTIONS, TASTES, Context, QualityTask
from evalkit.metrics.training.syncnet import SyncTask, matching_loss

CLIPS, FRAMES = 4, 13


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for seed in range(2):
        write_stand_in(folder / f"shard-{seed}.safetensors", seed)
    return folder


def write_stand_in(path: Path, seed: int) -> None:
    """A shard of the right form: grey faces whose lower half brightens with a random opening."""
    generator = torch.Generator().manual_seed(seed)
    opening = torch.rand(CLIPS, FRAMES, generator=generator)
    frames = torch.full((CLIPS, FRAMES, 128, 96, 3), 90, dtype=torch.uint8)
    frames[:, :, 70:90] = (255 * opening)[..., None, None, None].byte()
    samples = (AUDIO_LEAD_FRAMES + FRAMES + 8) * 640
    box = torch.tensor([0.2, 0.2, 0.8, 0.7]).repeat(CLIPS, FRAMES, 1)
    tensors = {
        "frames": frames,
        "references": frames[:, :2].contiguous(),
        "face_box": box,
        "audio": torch.randint(-3000, 3000, (CLIPS, samples), generator=generator).short(),
        **{f"truth.{name}": opening.clone() for name in ("mouth_open", "mouth_wide", "mouth_round")},
    }
    record = {"styles": ["photo", "animal"] * 2, "compositions": ["frontal"] * CLIPS, "kinds": ["speech"] * CLIPS}
    save_file(tensors, str(path), metadata={"genbench": json.dumps(record)})


def test_clips_are_numbered_across_shards(shards: Path) -> None:
    data = ShardSet(sorted(shards.iterdir()))
    assert len(data) == 2 * CLIPS
    assert data.infos[5].style == "animal"
    assert data.frames(5).shape == (FRAMES, 128, 96, 3)
    assert data.audio(5).dtype == np.int16
    assert data.digest == ShardSet(sorted(shards.iterdir())).digest


def test_held_out_shards_are_never_trained_on(shards: Path) -> None:
    train_set, held_out = halves(shards)
    assert {path.name for path in train_set.paths} == {"shard-0.safetensors"}
    assert {path.name for path in held_out.paths} == {"shard-1.safetensors"}
    with pytest.raises(ValueError, match="at least one"):
        split_shards([shards], [shards])


def halves(shards: Path) -> tuple[ShardSet, ShardSet]:
    return split_shards([shards], [shards / "shard-1.safetensors"])


@pytest.mark.parametrize("make", [MouthTask, SyncTask, ImageTask, ClipTask, QualityTask, FaceFinderTask])
def test_every_recipe_takes_a_step_and_validates(make: type[Task], shards: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = make(*halves(shards))
    progress = train(task, Recipe(minutes=100, max_steps=1, checkpoint_every_s=1e9), tmp_path)
    assert progress.step == 1
    task.network.eval()
    with torch.inference_mode():
        assert all(np.isfinite(value) for value in task.validate().values() if isinstance(value, float))


def scene_of_waves() -> torch.Tensor:
    """A smooth colourful picture [3, 128, 96] in 0..1."""
    y, x = torch.meshgrid(torch.arange(128), torch.arange(96), indexing="ij")
    return torch.stack([0.5 + 0.3 * torch.sin((x * a + y * b) / 9) for a, b in ((1, 2), (2, 1), (3, -1))])


@pytest.mark.parametrize("name", sorted({*DISTORTIONS, *TASTES} - {"framing"}))
def test_distortions_grow_with_their_severity(name: str) -> None:
    x, other = scene_of_waves(), scene_of_waves().flip(2)
    change, box = {**DISTORTIONS, **TASTES}[name], torch.tensor([0.3, 0.2, 0.7, 0.6])
    differences = []
    for severity in (0.0, 0.3, 1.0):
        worse = change(x, severity, Context(other, box, torch.Generator().manual_seed(4))).clamp(0, 1)
        assert worse.shape == x.shape
        differences.append(float((worse - x).abs().mean()))
    assert differences[0] < 1e-5
    assert 0.002 < differences[1] < differences[2]


def test_bad_framing_loses_the_wanted_share_of_the_face_and_a_nearer_view_none() -> None:
    face = torch.zeros(3, 128, 96)
    face[:, 40:80, 30:66] = 1
    box = torch.tensor([30 / 96, 40 / 128, 66 / 96, 80 / 128])
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        near = nearer(face, box, generator)
        edges = torch.cat([near[0, 0], near[0, -1], near[0, :, 0], near[0, :, -1]])
        assert float(edges.max()) < 0.6  # the face does not touch the border
        assert float(near.mean()) >= float(face.mean()) - 1e-3
        bad = reframe(face, box, 1.0, generator)
        cut = max(float(bad[0, :, 0].mean()), float(bad[0, :, -1].mean()), float(bad[0, 0].mean()))
        assert cut > 0.2 or not torch.allclose(bad, face, atol=0.1)
    assert reframe(face, box, 0.0, generator) is face


@pytest.mark.parametrize("name", list(ALTERATIONS))
def test_alterations_of_a_clip_grow_with_their_degree(name: str) -> None:
    x = torch.arange(40)[:, None, None, None] / 40 * torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    pattern = 0.5 * x + 0.4 * scene_of_waves()[None, :, ::2, ::2]
    plain = pattern[5:21]
    differences = []
    for degree in (0.0, 0.4, 1.0):
        altered = ALTERATIONS[name](pattern, 5, degree, torch.Generator().manual_seed(1))
        assert altered.shape == plain.shape
        differences.append(float((altered - plain).abs().mean()))
    assert differences[0] < 0.01
    assert differences[0] < differences[1] < differences[2]


class StoppedError(Exception):
    pass


def test_a_killed_run_ends_as_an_unbroken_one(shards: Path, tmp_path: Path) -> None:
    recipe = Recipe(minutes=1000, max_steps=4, checkpoint_every_s=0)
    sets = halves(shards)

    def run(folder: Path, stop_after: int | None) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        task = MouthTask(*sets)
        plain, calls = task.loss, [0]

        def loss(generator: torch.Generator):
            calls[0] += 1
            if stop_after is not None and calls[0] > stop_after:
                raise StoppedError
            return plain(generator)

        task.loss = loss
        train(task, recipe, folder)
        return task.network.state_dict()

    whole = run(tmp_path / "whole", None)
    with pytest.raises(StoppedError):
        run(tmp_path / "killed", 2)
    resumed = run(tmp_path / "killed", None)
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=1e-6, msg=name)


def test_matching_loss_is_small_only_for_the_right_partners() -> None:
    audio = 30 * torch.nn.functional.normalize(
        torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    right, figures = matching_loss(audio[:, 2:9], audio, lead=2)
    wrong, _ = matching_loss(audio[:, 3:10], audio, lead=2)
    assert right < 0.1 < wrong
    assert figures["accuracy"] == 1
