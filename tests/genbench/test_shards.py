"""Shards hold what they promise, the same bytes whoever writes them."""

import pytest
import torch
from safetensors.torch import load_file

from genbench.clips import make_clip
from genbench.shards import ShardPlan, export_shards, read_metadata, write_shard
from genbench.world import IDENTITY_DIM, Truth

pytest.importorskip("espeakng_loader")

FRAMES = 5


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    plan = ShardPlan(5, tmp_path_factory.mktemp("shards"), frames=FRAMES, seed=2, shard_size=3)
    return plan, [path for path, _ in export_shards(plan)]


def test_shapes_and_types(written):
    _, paths = written
    tensors = load_file(paths[0])
    assert tensors["frames"].shape == (3, FRAMES, 128, 96, 3)
    assert tensors["references"].shape == (3, 2, 128, 96, 3)
    assert tensors["frames"].dtype == tensors["references"].dtype == torch.uint8
    assert tensors["audio"].shape == (3, (16 + FRAMES + 8) * 640)
    assert tensors["audio"].dtype == torch.int16
    assert tensors["identity"].shape == (3, IDENTITY_DIM)
    for name in Truth.still(1).to_dict():
        assert tensors[f"truth.{name}"].shape == (3, FRAMES)
    for name in ("mouth_box", "face_box"):
        assert tensors[name].shape == (3, FRAMES, 4)
        assert 0 <= float(tensors[name].min()) < float(tensors[name].max()) <= 1
    assert load_file(paths[1])["frames"].shape[0] == 2


def test_tensors_are_those_of_the_clip(written):
    paths = written[1]
    clip, tensors = make_clip(2, 1, FRAMES), load_file(paths[0])
    assert (tensors["audio"][1].numpy() == clip.audio).all()
    assert tensors["truth.mouth_open"][1].equal(clip.truth.mouth_open)
    assert not tensors["frames"][0, 0].equal(tensors["references"][0, 0])


def test_metadata_says_how_to_read_it(written):
    record = read_metadata(written[1][0])
    assert record["audio_lead_frames"] == 16
    assert record["audio_tail_frames"] == 8
    assert (record["fps"], record["audio_rate_hz"], record["samples_per_frame"]) == (25, 16000, 640)
    assert len(record["prompts"]) == len(record["attributes"]) == len(record["styles"]) == 3
    assert record["clips"] == [0, 1, 2]


def test_any_process_makes_the_same_bytes(written, tmp_path):
    paths = written[1]
    other = ShardPlan(5, tmp_path, frames=FRAMES, seed=2, shard_size=3)
    results = dict(export_shards(other, workers=2))
    assert all(results.values())
    assert [path.read_bytes() for path in sorted(results)] == [path.read_bytes() for path in sorted(paths)]


def test_a_later_start_makes_the_same_clips(written, tmp_path):
    paths = written[1]
    late = ShardPlan(2, tmp_path, frames=FRAMES, seed=2, shard_size=3, start=3)
    assert write_shard(late, late.shards()[0]).read_bytes() == paths[1].read_bytes()


def test_resume_skips_finished_shards(written):
    plan, paths = written
    before = {path: path.stat().st_mtime_ns for path in paths}
    paths[1].unlink()
    assert dict(export_shards(plan)) == {paths[0]: False, paths[1]: True}
    assert paths[0].stat().st_mtime_ns == before[paths[0]]
    assert not list(plan.out.glob(".*"))


def test_bad_plan_names_the_fix(tmp_path):
    with pytest.raises(ValueError, match="at least 1 clip"):
        ShardPlan(0, tmp_path)
