"""The network's shape: one lip run equals the single windows, and the published sizes are another preset."""

import json
import os
from pathlib import Path

import pytest
import torch

from evalkit.metrics.syncnet import SyncNet, nano_syncnet, official_syncnet

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[2].parent / "shared" / "golden")) / "metrics"
KEYS = GOLDEN / "syncnet_state_keys.json"


def test_one_run_over_many_pictures_equals_single_windows() -> None:
    torch.manual_seed(0)
    network = SyncNet(nano_syncnet()).eval()
    faces = torch.rand(1, 3, 9, *network.config.face_size)
    with torch.inference_mode():
        together = network.lip(faces)[0]
        alone = torch.cat([network.lip(faces[:, :, start : start + 5])[0] for start in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.skipif(not KEYS.exists(), reason=f"no golden data in {GOLDEN}; set GOLDEN_DIR")
def test_the_published_layout_is_a_matter_of_configuration() -> None:
    with torch.device("meta"):
        network = SyncNet(official_syncnet())
    assert {key: list(tensor.shape) for key, tensor in network.state_dict().items()} == golden_shapes()
    assert sum(parameter.numel() for parameter in network.parameters()) == 13_631_616


def golden_shapes() -> dict[str, list[int]]:
    return {entry["name"]: entry["shape"] for entry in json.loads(KEYS.read_text())}
