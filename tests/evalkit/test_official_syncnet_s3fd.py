"""SyncNet and S3FD in the official layout against reference outputs; tracks and crops of the published pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.metrics.base import Backbone
from evalkit.metrics.boxes import decode, keep_best
from evalkit.metrics.detectors import S3fdDetector, candidates
from evalkit.metrics.face_track import (
    MEDIAN_WIDTH,
    Tracker,
    TrackRules,
    centres,
    crop_face,
    crop_rect,
    link_tracks,
    smooth,
)
from evalkit.metrics.official.loading import empty, load_strict, read_checkpoint
from evalkit.metrics.official.s3fd import MEAN_RGB, S3FD
from evalkit.metrics.syncnet import SyncNet, official_syncnet
from evalkit.metrics.weights import WeightsError
from tests.evalkit import metric_goldens as golden

REFERENCE_RULES = TrackRules(min_track=100)


def base_stream() -> int:
    return int(golden.arrays("syncnet_forward")["stream_base"])


def lip_input(base: int) -> torch.Tensor:
    shape = (2, 3, 5, 224, 224)
    a = np.floor(256 * golden.uniform(int(np.prod(shape)), base + 900)).reshape(shape)
    return torch.from_numpy(np.floor((a + sum(np.roll(a, n, -1) for n in (1, 2, 3))) / 4).astype(np.float32))


def s3fd_state(base: int) -> dict[str, torch.Tensor]:
    state = golden.filled_by_order(golden.shapes_of(golden.facts("s3fd_state_keys")), base + 300)
    for name, tensor in state.items():
        if name.startswith("L2Norm"):
            state[name] = torch.from_numpy((5 * golden.uniform(len(tensor), base + 800) + 3).astype(np.float32))
        elif name.startswith(("loc", "conf")) and name.endswith("weight"):
            state[name] = (tensor.double() * 0.1).float()
    return state


@golden.needs_goldens
@torch.inference_mode()
def test_syncnet_reproduces_the_reference(tmp_path: Path) -> None:
    expected, base = golden.arrays("syncnet_forward"), base_stream()
    np.testing.assert_allclose(golden.uniform(8, base), expected["u01_first8"], rtol=0, atol=1e-15)
    state = golden.filled_by_order(golden.shapes_of(golden.facts("syncnet_state_keys")), base)
    torch.save(state, tmp_path / "syncnet_v2.model")
    network = load_strict(empty(SyncNet, official_syncnet()), read_checkpoint(tmp_path / "syncnet_v2.model"), "SyncNet")
    faces = lip_input(base)
    assert int(faces.double().sum()) == expected["lip_input_sum"]
    np.testing.assert_array_equal(faces[..., :4, :8].numpy(), expected["lip_input_corner"])
    corner = network.netcnnlip[0].weight[:2, :, 0, :2, :2].numpy()
    np.testing.assert_array_equal(corner, expected["first_conv_corner"])
    features = network.lip_features(faces)
    for name, value in (
        ("out_lipfeat", features[:, 0]),
        ("out_lip", network.netfclip(features[:, 0])),
        ("out_aud", network.audio(torch.from_numpy(expected["audio_input"]))),
    ):
        assert golden.relative_error(value, expected[name]) < 1e-4, name


@golden.needs_goldens
@torch.inference_mode()
def test_s3fd_reproduces_the_reference(tmp_path: Path) -> None:
    expected, base = golden.arrays("s3fd"), base_stream()
    torch.save(s3fd_state(base), tmp_path / "sfd_face.pth")
    network = load_strict(empty(S3FD), read_checkpoint(tmp_path / "sfd_face.pth"), "S3FD")
    picture = np.floor(256 * golden.uniform(3 * 96 * 128, base + 902)).reshape(1, 3, 96, 128)
    given = torch.from_numpy(picture.astype(np.float32)) - torch.tensor(MEAN_RGB)[:, None, None]
    np.testing.assert_allclose(given[0, :, :4, :6].numpy(), expected["image_corner"], rtol=0, atol=1e-4)
    offsets, probabilities, priors = network(given)
    for name, value in (("loc", offsets), ("conf", probabilities), ("priors", priors)):
        assert golden.relative_error(value, expected[name]) < 1e-4, name
    boxes = decode(offsets, priors)[0]
    assert golden.relative_error(boxes, expected["decoded"]) < 1e-4
    found = candidates(boxes.numpy(), probabilities[0, :, 1].numpy())[:50]
    reference = expected["detections"][:, [1, 2, 3, 4, 0]]
    np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-4)


@golden.needs_goldens
def test_thinning_keeps_the_references_boxes() -> None:
    expected = golden.arrays("s3fd")
    for limit in ("0.1", "0.3"):
        kept = keep_best(expected["nms_in"], float(limit))
        np.testing.assert_array_equal(np.sort(kept), np.sort(expected[f"nms_keep_{limit}"]))


def test_a_missing_or_foreign_detector_key_is_named() -> None:
    state = dict(empty(S3FD).state_dict())
    state["conv1_1.weight"] = state.pop("vgg.0.weight")
    with pytest.raises(WeightsError, match=r"missing: vgg\.0\.weight; unexpected: conv1_1\.weight"):
        load_strict(empty(S3FD), state, "S3FD")


def test_a_detector_gives_boxes_in_pixels_of_the_picture() -> None:
    network = load_strict(
        empty(S3FD), {name: torch.zeros(tensor.shape) for name, tensor in empty(S3FD).state_dict().items()}, "S3FD"
    )
    network.conf[2].bias.copy_(torch.tensor([-5.0, 5.0]))  # the 64-px priors alone are faces
    found = S3fdDetector(network, Backbone("empty", None, "none")).detect(np.zeros((256, 256, 3), np.uint8), 0.5)
    assert len(found)
    np.testing.assert_allclose(found[:, 2] - found[:, 0], 128, atol=1e-3)  # 64 px at half of the size


@golden.needs_goldens
@pytest.mark.parametrize("case", ["one_face_gaps", "gap_too_long", "too_short", "too_small", "two_faces"])
def test_tracks_are_the_references(case: str) -> None:
    expected = golden.arrays("face_track")
    tracks = link_tracks(expected[f"{case}__detections"], REFERENCE_RULES)
    assert len(tracks) == int(expected[f"{case}__tracks"])
    for index, track in enumerate(tracks):
        frames = expected[f"{case}__track{index}_frames"]
        assert (track.first, track.last) == (frames[0], frames[-1])
        np.testing.assert_allclose(track.boxes, expected[f"{case}__track{index}_boxes"], rtol=0, atol=1e-6)


@golden.needs_goldens
def test_crops_are_the_references() -> None:
    expected = golden.arrays("face_track")
    track = link_tracks(expected["one_face_gaps__detections"], REFERENCE_RULES)[0]
    smoothed = smooth(centres(track.boxes))
    np.testing.assert_allclose(smoothed.T, [expected[f"crop__{name}"] for name in "sxy"], rtol=0, atol=1e-6)
    y, x = np.mgrid[:360, :640]
    picture = np.stack([255 * x // 640, 255 * y // 360, (x + y) % 256], -1).astype(np.uint8)
    for frame in (0, 60, 149):
        rect = crop_rect(*smoothed[frame])
        assert rect == tuple(expected[f"crop__rect_{frame}"])
        made = crop_face(picture, rect)[::7, ::7].astype(int)
        difference = np.abs(made - expected[f"crop__image_{frame}_every7"])
        assert difference.max() <= 1  # one level of rounding, where processors' routines differ too
        assert (difference > 0).mean() < 0.02


def test_the_zoom_at_both_ends_is_the_published_codes_and_can_be_left_out() -> None:
    boxes = np.tile([[100.0, 100.0, 300.0, 300.0]], (40, 1))
    np.testing.assert_array_equal(smooth(centres(boxes), "replicate")[:, 0], 100)
    assert smooth(centres(boxes))[0, 0] == 100  # 7 of 13 values are the box's own
    growing = centres(boxes) * np.linspace(1, 2, 40)[:, None]
    assert smooth(growing)[0, 0] == growing[0, 0] < smooth(growing, "replicate")[3, 0]


def test_a_crop_beyond_the_border_is_grey_there() -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    crop = crop_face(white, (-50, 50, -50, 50), 100)
    assert (crop[:49] == 110).all()
    assert (crop[51:, 51:] == 255).all()


def test_tracking_holds_only_what_it_needs() -> None:
    tracker = Tracker(REFERENCE_RULES)
    for picture in range(400):
        tracker.push(picture, np.array([[10.0, 10, 150, 150, 1]]) if picture % 200 < 120 else np.zeros((0, 5)))
    assert [(track.first, track.last) for track in tracker.finish()] == [(0, 119), (200, 319)]
    assert MEDIAN_WIDTH == 13
