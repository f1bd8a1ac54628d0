"""Pictures of the nano world: reproducible, faithful to their truth, and the same at any size."""

import itertools
from dataclasses import replace

import pytest
import torch

from genbench.world import (
    COMPOSITIONS,
    PROMPT_VOCABULARY,
    STYLES,
    Character,
    Truth,
    face_box,
    mouth_box,
    render,
    sample_character,
    sample_motion,
    with_mouth,
)

KINDS = [(style, composition) for style in STYLES for composition in COMPOSITIONS]


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of small operations: threads that wait for a busy core only slow them down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def characters(seed: int) -> list[Character]:
    return [sample_character(torch.Generator().manual_seed(seed), *kind) for kind in KINDS]


def performance(seed: int, frames: int) -> Truth:
    generator = torch.Generator().manual_seed(seed)
    return with_mouth(sample_motion(generator, frames, 25.0), *torch.rand(3, frames, generator=generator))


def opening_mouths(count: int) -> Truth:
    """Characters holding still while the mouth opens in five steps."""
    still = Truth.still(5)
    mouth = with_mouth(still, torch.linspace(0, 1, 5), still.mouth_wide, still.mouth_round)
    return Truth.stack([mouth] * count)


def crop(frame: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    height, width, _ = frame.shape
    x0, y0, x1, y1 = (box * torch.tensor([width, height, width, height])).round().int().tolist()
    return frame[y0:y1, x0:x1].float()


def test_the_same_seed_gives_the_same_bytes_in_any_batching():
    cast = characters(7)[::5]
    truth = Truth.stack([performance(seed, 11) for seed in range(len(cast))])
    whole = render(cast, truth)
    assert torch.equal(whole, render(cast, truth, frames_per_batch=3))
    assert torch.equal(whole[1:2], render(cast[1:2], Truth.stack([truth.row(1)])))
    assert torch.equal(whole[:, 4:9], render(cast, truth.slice(4, 9)))


@pytest.mark.parametrize("seed", [0, 1])
def test_opening_the_mouth_darkens_and_changes_its_box_step_by_step(seed):
    cast = characters(seed)
    truth = opening_mouths(len(cast))
    frames, boxes = render(cast, truth), mouth_box(cast, truth)
    for kind, clip, box in zip(KINDS, frames, boxes, strict=True):
        crops = [crop(frame, box[0]) for frame in clip]
        change = [float((each - crops[0]).abs().mean()) for each in crops]
        dark = [float((each.amax(-1) < 75).sum()) for each in crops]
        assert all(a < b for a, b in itertools.pairwise(change)), (kind, change)
        assert dark[-1] > dark[2] > dark[0], (kind, dark)
        assert change[-1] > 12, (kind, change)


def test_full_opening_is_tall_enough_to_read_at_native_size():
    cast = characters(2)
    truth = opening_mouths(len(cast))
    frames, boxes = render(cast, truth), mouth_box(cast, truth)
    for (style, composition), clip, box in zip(KINDS, frames, boxes, strict=True):
        difference = (crop(clip[-1], box[0]) - crop(clip[0], box[0])).abs().amax(-1) > 40
        rows, columns = int(difference.any(1).sum()), int(difference.any(0).sum())
        least = {"frontal": (11, 14), "profile": (11, 8), "half_body": (7, 9), "full_body": (7, 9)}[composition]
        assert rows >= least[0], (style, composition, rows, columns)
        assert columns >= least[1], (style, composition, rows, columns)


def test_a_blink_changes_the_upper_face_and_nothing_else():
    cast = characters(3)
    still = Truth.still(2)
    truth = Truth.stack([replace(still, blink=torch.tensor([0.0, 1.0]))] * len(cast))
    for kind, clip, box in zip(KINDS, render(cast, truth), face_box(cast, truth), strict=True):
        changed = (clip[0].int() - clip[1].int()).abs().amax(-1) > 25
        y0, y1 = int(box[0, 1] * 128), int(box[0, 3] * 128)
        assert changed.sum() >= 12, kind
        assert not changed[:y0].any(), kind
        assert not changed[(y0 + 2 * y1) // 3 :].any(), kind


def test_face_box_follows_the_head_and_holds_the_mouth():
    cast = characters(4)
    truth = Truth.stack([performance(seed, 50) for seed in range(len(cast))])
    face, mouth = face_box(cast, truth), mouth_box(cast, truth)
    assert face.shape == mouth.shape == (len(cast), 50, 4)
    assert (face[..., 2:] > face[..., :2]).all()
    assert (face >= 0).all()
    assert (face <= 1).all()
    assert (mouth[..., :2] >= face[..., :2]).all()
    assert (mouth[..., 2:] <= face[..., 2:]).all()
    nodding = replace(Truth.still(2), yaw=torch.tensor([0.0, 0.3]), mouth_open=torch.tensor([0.0, 1.0]))
    for character, clip in zip(cast, render(cast, Truth.stack([nodding] * len(cast))), strict=True):
        changed = (clip[0].int() - clip[1].int()).abs().amax(-1) > 40
        box = face_box([character], Truth.stack([nodding]))[0]
        x0, y0, x1, y1 = torch.cat([box[:, :2].amin(0), box[:, 2:].amax(0)]).tolist()
        rows, columns = slice(int(y0 * 128), int(y1 * 128) + 1), slice(int(x0 * 96), int(x1 * 96) + 1)
        assert changed[rows, columns].sum() > 0.75 * changed.sum(), character


def test_a_large_picture_reduced_is_the_small_picture():
    cast = characters(6)
    truth = Truth.stack([performance(9, 1)] * len(cast))
    small = render(cast, truth)[:, 0].float()
    large = render(cast, truth, height=512, width=384)[:, 0].float()
    reduced = torch.nn.functional.avg_pool2d(large.permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1)
    assert (reduced - small).abs().mean(dim=(1, 2, 3)).max() < 2.0


def test_prompts_use_the_closed_vocabulary_and_records_round_trip():
    generator = torch.Generator().manual_seed(11)
    vocabulary = set(PROMPT_VOCABULARY)
    for _ in range(300):
        character = sample_character(generator)
        assert set(character.prompt().split()) <= vocabulary
        assert Character.from_json(character.to_json()) == character


def test_wrong_sizes_are_refused_with_a_reason():
    cast = characters(0)[:1]
    with pytest.raises(ValueError, match="3:4"):
        render(cast, Truth.stack([Truth.still(1)]), height=96, width=96)
    with pytest.raises(ValueError, match="characters"):
        render(cast, Truth.still(3))
