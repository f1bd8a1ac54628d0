"""The torchmetrics classes: the same numbers as the metrics, however clips are spread over updates and ranks."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from evalkit.metrics import get_metric
from evalkit.metrics.canaries import known_clip
from evalkit.metrics.extract import extract_arrays
from tests.evalkit.torchmetrics_stand_in import over_ranks, use_torchmetrics


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> Any:
    use_torchmetrics(monkeypatch)
    monkeypatch.delitem(sys.modules, "evalkit.metrics.torch_metrics", raising=False)
    module = importlib.import_module("evalkit.metrics.torch_metrics")
    yield module
    sys.modules.pop("evalkit.metrics.torch_metrics", None)


def clips(count: int, shift: int = 0) -> list[np.ndarray]:
    """Pieces of the shipped clip, brighter one by one."""
    frames = known_clip().frames
    return [np.clip(frames[3 * i : 3 * i + 34].astype(int) + 4 * i + shift, 0, 255).astype(np.uint8) for i in range(count)]


def test_without_torchmetrics_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "evalkit.metrics.torch_metrics", raising=False)
    with pytest.raises(ImportError, match=r"live-avatar\[metrics\]"):
        importlib.import_module("evalkit.metrics.torch_metrics")


def test_clip_scores_are_the_metrics_own_and_average_over_ranks(classes: ModuleType) -> None:
    clip, sound = known_clip(), torch.from_numpy(known_clip().sound)
    expected = []
    ranks = [classes.ClipScore("sync_c") for _ in range(2)]
    for index, voice in enumerate((clip.sound, np.roll(clip.sound, 640 * 3), clip.sound[::-1].copy())):
        arrays = extract_arrays(clip.frames, 25.0, voice, clip.sample, ["syncnet"])
        expected.append(get_metric("sync_c").score(arrays, clip.sample).value)
        ranks[index % 2].update(torch.from_numpy(clip.frames), torch.from_numpy(voice), face_box=clip.sample.face_box)
    assert float(over_ranks(ranks)) == pytest.approx(np.mean(expected), rel=1e-6)
    one = classes.ClipScore("sync_offset")
    one.update(torch.from_numpy(clip.frames).permute(0, 3, 1, 2), sound, face_box=clip.sample.face_box)
    assert abs(float(one.compute())) <= 1
    one.reset()
    assert torch.isnan(one.compute())
    one.update(torch.from_numpy(clip.frames))  # no sound: missing, not zero
    assert torch.isnan(one.compute())
    assert int(one.missing) == 1


def test_a_portrait_is_what_identity_is_measured_against(classes: ModuleType) -> None:
    frames = torch.from_numpy(known_clip().frames)
    own, other = classes.ClipScore("dino_s"), classes.ClipScore("dino_s")
    own.update(frames, portrait=frames[0])
    other.update(frames, portrait=255 - frames[0])
    assert float(own.compute()) > float(other.compute()) + 0.2


@pytest.mark.parametrize(("name", "kind"), [("fid", "FrechetScore"), ("fvd", "FrechetScore"), ("kid", "KernelScore")])
def test_set_scores_are_the_metrics_own_over_any_ranks(classes: ModuleType, name: str, kind: str) -> None:
    metric = get_metric(name)
    real, made = clips(4), clips(4, shift=25)
    sides = [
        {str(i): extract_arrays(clip, 25.0, None, SimpleNamespace(), metric.extractors) for i, clip in enumerate(side)}
        for side in (made, real)
    ]
    expected = metric.score(*sides).value
    ranks = [getattr(classes, kind)(name) for _ in range(2)]
    for index in range(4):
        ranks[index % 2].update(torch.from_numpy(real[index]), real=True)
        ranks[index % 2].update(torch.from_numpy(made[index]), real=False)
    assert float(over_ranks(ranks)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_wrong_uses_are_refused_with_the_right_one(classes: ModuleType) -> None:
    with pytest.raises(ValueError, match="FrechetScore"):
        classes.ClipScore("fid")
    with pytest.raises(ValueError, match="ClipScore"):
        classes.FrechetScore("sync_c")
    for bad in (torch.rand(4, 3, 8, 8), torch.zeros(4, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"round\(\)\.byte\(\)"):
            classes.as_pictures(bad)
    with pytest.raises(ValueError, match="mono"):
        classes.as_sound(torch.zeros(2, 100))
