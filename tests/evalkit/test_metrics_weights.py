"""Weights: what is shipped loads, what was altered does not."""

import json
import shutil
from pathlib import Path

import pytest
from torch import nn

from evalkit.metrics.clip_encoder import ClipEncoder
from evalkit.metrics.face_finder_net import FaceFinderNet
from evalkit.metrics.image_encoder import ImageEncoder
from evalkit.metrics.mouth_net import MouthNet
from evalkit.metrics.quality_net import QualityNet
from evalkit.metrics.syncnet import SyncNet, nano_syncnet
from evalkit.metrics.weights import MAX_BYTES, NANO_WEIGHTS, WeightsError, load_nano, manifest_entry, ship_weights

NETWORKS = {
    "syncnet": lambda: SyncNet(nano_syncnet()),
    "image_encoder": ImageEncoder,
    "mouth": MouthNet,
    "clip_encoder": ClipEncoder,
    "quality": QualityNet,
    "face_finder": FaceFinderNet,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shipped_weights_load_and_are_small_and_documented(name: str) -> None:
    network = load_nano(name, NETWORKS[name]())
    assert not network.training
    entry = manifest_entry(name)
    assert entry["bytes"] < MAX_BYTES
    assert {"recipe", "steps", "data", "held_out", "sha256", "parameters"} <= entry.keys()
    assert "seed" in entry["recipe"]
    assert entry["parameters"] < 1_000_000


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "nano"
    shutil.copytree(NANO_WEIGHTS, folder)
    file = folder / "mouth.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="refused"):
        load_nano("mouth", MouthNet(), folder)
    file.unlink()
    with pytest.raises(WeightsError, match="missing"):
        load_nano("mouth", MouthNet(), folder)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    ship_weights("mouth", nn.Linear(2, 2).state_dict(), {}, tmp_path)
    with pytest.raises(WeightsError, match="do not fit"):
        load_nano("mouth", MouthNet(), tmp_path)


def test_shipping_adds_to_the_manifest_and_refuses_what_is_too_large(tmp_path: Path) -> None:
    ship_weights("one", nn.Linear(2, 2).state_dict(), {"steps": 1}, tmp_path)
    ship_weights("two", nn.Linear(3, 3).state_dict(), {"steps": 2}, tmp_path)
    assert set(json.loads((tmp_path / "manifest.json").read_text())) == {"one", "two"}
    with pytest.raises(WeightsError, match="under"):
        ship_weights("big", nn.Linear(1100, 1100).state_dict(), {}, tmp_path)
    with pytest.raises(WeightsError, match="no weights named"):
        load_nano("three", nn.Linear(2, 2), tmp_path)
