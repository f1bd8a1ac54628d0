"""Inception and I3D in the official layout: key by key, value by value, and what a loader must refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evalkit.metrics.official.i3d import I3D, MIXED, PORT_NORM_EPS
from evalkit.metrics.official.inception import Inception
from evalkit.metrics.official.loading import empty, load_strict, read_checkpoint
from evalkit.metrics.protocols import get_protocol
from evalkit.metrics.weights import WeightsError
from tests.evalkit import metric_goldens as golden

pytestmark = golden.needs_goldens
TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def inception_state() -> dict[str, torch.Tensor]:
    layout, facts = golden.facts("inception_fid_layout"), golden.facts("inception_fid_random")
    state = golden.filled_by_name(golden.shapes_of(layout["keys"]), facts["seed"])
    assert golden.digest_of(state) == facts["filler_check"]["sha256_all"]
    return state


@pytest.fixture(scope="module")
def i3d_state() -> dict[str, torch.Tensor]:
    layout, facts = golden.facts("i3d_layout"), golden.facts("i3d_random")
    state = golden.filled_by_name(golden.shapes_of(layout["keys"]), facts["seed"])
    assert golden.digest_of(state) == facts["filler_check"]["sha256_all"]
    return state


def saved(state: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=path.suffix != ".pth")
    return path


@torch.inference_mode()
def test_inception_reproduces_the_reference(inception_state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = saved(inception_state, tmp_path / "official.pth")
    network = load_strict(empty(Inception), read_checkpoint(path), "Inception")
    expected = load_file(golden.FOLDER / "inception_fid_random.safetensors")
    blocks = {name.split(".")[3] for name in expected if name.startswith("mid.") and "input" not in name}
    means = golden.block_means(network, sorted(blocks))
    for image in ("image_a", "image_b"):
        pictures = expected[f"in.{image}"].permute(0, 2, 3, 1)
        given = get_protocol("fid_pytorch")(pictures)
        sampled = expected[f"mid.{image}.fid_pytorch.input_every13"]
        torch.testing.assert_close(given[0, :, ::13, ::13], sampled, rtol=0, atol=1e-4)
        taps = network.taps(given)
        for width, value in taps.items():
            assert golden.relative_error(value[0], expected[f"out.{image}.fid_pytorch.{width}"].numpy()) < TOLERANCE
        for block in blocks:
            reference = expected[f"mid.{image}.fid_pytorch.{block}"].numpy()
            assert golden.relative_error(means[block], reference) < TOLERANCE, block
        given = get_protocol("fid_tf")(pictures)
        sampled = expected[f"mid.{image}.fid_tf.input_every13"]
        torch.testing.assert_close(given[0, :, ::13, ::13], sampled, rtol=0, atol=1e-4)
        features = network(given)
        for name, value in (
            ("2048", features),
            ("logits_unbiased", network.logits(features, with_bias=False)),
            ("logits", network.logits(features)),
        ):
            assert golden.relative_error(value[0], expected[f"out.{image}.fid_tf.{name}"].numpy()) < TOLERANCE, name


@torch.inference_mode()
def test_i3d_reproduces_the_reference(i3d_state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    without = {name: tensor for name, tensor in i3d_state.items() if not name.endswith("num_batches_tracked")}
    network = load_strict(empty(I3D), read_checkpoint(saved(without, tmp_path / "i3d.pt")), "I3D")
    ported = load_strict(empty(I3D, PORT_NORM_EPS), i3d_state, "I3D")
    expected = load_file(golden.FOLDER / "i3d_random.safetensors")
    units = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3", *MIXED)
    means = golden.block_means(network, list(units))
    for clip in ("clip_a", "clip_b"):
        frames = expected[f"in.{clip}"].permute(1, 2, 3, 0)
        for protocol, kind in (("fvd_crop", "crop"), ("fvd_styleganv", "squash")):
            given = get_protocol(protocol)(frames).transpose(0, 1)[None]
            ends = given[0, :, [0, -1], ::9, ::9]
            torch.testing.assert_close(ends, expected[f"mid.{clip}.{kind}.input_every9"], rtol=0, atol=1e-4)
            pooled = network.pooled(given)
            steps = network.logits(pooled).flatten(2)
            assert golden.relative_error(steps.mean(2)[0], expected[f"out.{clip}.{kind}.logits"].numpy()) < TOLERANCE
            if kind == "squash":
                continue
            for unit in units:
                assert golden.relative_error(means[unit], expected[f"mid.{clip}.crop.{unit}"].numpy()) < TOLERANCE
            for name, value in (
                ("logits_steps", steps[0]),
                ("logits_eps1e-5", ported(given)[0]),
                ("pool1024", pooled[0].flatten(1).mean(1)),
            ):
                assert golden.relative_error(value, expected[f"out.{clip}.crop.{name}"].numpy()) < TOLERANCE, name


def test_layouts_are_the_official_ones() -> None:
    for name, network in (("inception_fid_layout", empty(Inception)), ("i3d_layout", empty(I3D))):
        wanted = golden.shapes_of(golden.facts(name)["keys"])
        assert {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == wanted


def test_only_the_counters_may_be_absent(inception_state: dict[str, torch.Tensor]) -> None:
    plain = {name: tensor for name, tensor in inception_state.items() if not name.endswith("num_batches_tracked")}
    assert len(plain) == 566 - 94
    load_strict(empty(Inception), plain, "Inception")
    del plain["Mixed_6c.branch7x7_2.bn.bias"]
    with pytest.raises(WeightsError, match=r"missing: Mixed_6c\.branch7x7_2\.bn\.bias"):
        load_strict(empty(Inception), plain, "Inception")


def test_files_of_another_network_are_refused_by_name(
    inception_state: dict[str, torch.Tensor], i3d_state: dict[str, torch.Tensor]
) -> None:
    imagenet = {**inception_state, "fc.weight": torch.zeros(1000, 2048), "AuxLogits.fc.bias": torch.zeros(1000)}
    with pytest.raises(WeightsError, match=r"AuxLogits\.fc\.bias.*fc\.weight is \[1000, 2048\] instead of \[1008, 2048\]"):
        load_strict(empty(Inception), imagenet, "Inception")
    flow = {**i3d_state, "Conv3d_1a_7x7.conv3d.weight": torch.zeros(64, 2, 7, 7, 7)}
    with pytest.raises(WeightsError, match=r"Conv3d_1a_7x7\.conv3d\.weight is \[64, 2, 7, 7, 7\]"):
        load_strict(empty(I3D), flow, "I3D")


def test_i3d_refuses_what_would_silently_become_a_map() -> None:
    with pytest.raises(ValueError, match="I3D takes"):
        I3D.pooled(empty(I3D), torch.zeros(1, 3, 16, 256, 256))
    with pytest.raises(ValueError, match="I3D takes"):
        I3D.pooled(empty(I3D), torch.zeros(1, 3, 8, 224, 224))
