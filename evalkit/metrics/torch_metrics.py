"""The metrics as `torchmetrics.Metric`s, for other people's training loops: update, compute, reset, summed over ranks.

    fid = FrechetScore("fid")                       # or SetScores of "fvd", "kid", with setup=MetricSetup("auto", folder)
    for clip in validation:                         # uint8 [n, H, W, 3] or [n, 3, H, W] at 25 pictures a second
        fid.update(clip.generated, real=False)
        fid.update(clip.real, real=True)
        sync.update(clip.generated, sound)          # sync = ClipScore("sync_c"); sound float32 [m], 16 kHz, -1..1
    fid.compute(), sync.compute()

Needs torchmetrics. States of Fréchet distances are means and scatters in float64, merged exactly over ranks; they do not
grow. A clip that cannot be scored is counted in `missing` and is no zero.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalkit.metric_setup import NANO, MetricSetup
from evalkit.metrics.extract import extract_arrays
from evalkit.metrics.frechet import frechet_from_moments
from evalkit.metrics.kernel_distance import kernel_distance
from evalkit.metrics.moments import Moments
from evalkit.metrics.registry import get_metric

try:
    from torchmetrics import Metric as TorchMetric
except ImportError as error:
    raise ImportError("these classes need torchmetrics: pip install 'live-avatar[metrics]'") from error

FPS = 25.0
SIDES = ("real", "made")


class ClipScore(TorchMetric):  # type: ignore[misc, valid-type]
    """Mean of a per-clip metric over clips and ranks, by the metric's name, such as sync_c, dino_s, iqa or motion."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    squares: Tensor
    count: Tensor
    missing: Tensor

    def __init__(self, name: str, setup: MetricSetup = NANO, fps: float = FPS, **more: Any):
        super().__init__(**more)
        self.metric, self.setup, self.fps = get_metric(name, setup), setup, fps
        if self.metric.is_set:
            raise ValueError(f"{name} compares sets of videos; use FrechetScore or KernelScore")
        for state in ("total", "squares", "count", "missing"):
            self.add_state(state, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]  # torchmetrics: a constant of the class
        """As the metric's direction says; None where neither way is better."""
        return {"up": True, "down": False}.get(self.metric.direction)

    def update(
        self, frames: Tensor, sound: Tensor | None = None, portrait: Tensor | None = None, face_box: Any = None
    ) -> None:
        """One clip: pictures uint8, sound float [m] at 16 kHz.

        `portrait` uint8 [H, W, 3] is what Dino-S compares with; without it, the clip's first picture is. `face_box`
        (x0, y0, x1, y1, relative) is where the face is; without it, one is looked for.
        """
        sample = SimpleNamespace()
        if portrait is not None:
            sample.portrait = as_pictures(portrait[None])[0]
        if face_box is not None:
            sample.face_box = tuple(float(value) for value in face_box)
        extractors = self.metric.extractors
        arrays = extract_arrays(as_pictures(frames), self.fps, as_sound(sound), sample, extractors, self.setup)
        score = self.metric.score(arrays, sample)
        if score.value is None:
            self.missing += 1
            return
        self.total += score.value
        self.squares += score.value**2
        self.count += 1

    def compute(self) -> Tensor:
        """Mean over scored clips, float64; NaN where none was."""
        return self.total / self.count

    def standard_error(self) -> Tensor:
        """Of the mean over clips; NaN below two."""
        variance = (self.squares - self.total**2 / self.count) / (self.count - 1)
        return (variance.clamp(min=0) / self.count).sqrt()


class _SetScore(TorchMetric):  # type: ignore[misc, valid-type]
    is_differentiable = False
    higher_is_better = False
    full_state_update = True

    def __init__(self, name: str, setup: MetricSetup, fps: float, **more: Any):
        super().__init__(**more)
        self.metric, self.setup, self.fps = get_metric(name, setup), setup, fps
        if not self.metric.is_set:
            raise ValueError(f"{name} scores single clips; use ClipScore")

    def rows(self, frames: Tensor) -> np.ndarray:
        """Features [k, D] of one clip."""
        extractor = self.metric.extractors[0]
        arrays = extract_arrays(as_pictures(frames), self.fps, None, SimpleNamespace(), [extractor], self.setup)
        return self.metric.rows(arrays[extractor])


class FrechetScore(_SetScore):
    """Fréchet distance (fid, fvd, ...) of made from real clips; memory does not grow with clips."""

    def __init__(self, name: str, setup: MetricSetup = NANO, fps: float = FPS, **more: Any):
        super().__init__(name, setup, fps, **more)
        width = self._width()
        for side in SIDES:
            # None: the ranks' states are stacked, not summed; they merge pairwise in compute.
            for state, shape in (("count", ()), ("mean", (width,)), ("scatter", (width, width))):
                self.add_state(f"{side}_{state}", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx=None)

    def update(self, frames: Tensor, real: bool) -> None:
        """One clip of either side, uint8 [n, H, W, 3] or [n, 3, H, W]."""
        side = SIDES[0] if real else SIDES[1]
        moments = self._moments(side)
        moments.update(self.rows(frames))
        setattr(self, f"{side}_count", torch.tensor(float(moments.count), dtype=torch.float64))
        setattr(self, f"{side}_mean", torch.from_numpy(moments.mean))
        setattr(self, f"{side}_scatter", torch.from_numpy(moments.scatter))

    def compute(self) -> Tensor:
        """The distance, float64 []."""
        return torch.tensor(frechet_from_moments(self._moments("made"), self._moments("real")).value, dtype=torch.float64)

    def _moments(self, side: str) -> Moments:
        """A side's moments, merged where ranks were stacked."""
        counts, means, scatters = (getattr(self, f"{side}_{state}").cpu() for state in ("count", "mean", "scatter"))
        if counts.ndim == 0:
            counts, means, scatters = counts[None], means[None], scatters[None]
        merged = Moments.empty(means.shape[-1])
        for count, mean, scatter in zip(counts, means, scatters, strict=True):
            merged.merge(Moments(int(count), mean.numpy(), scatter.numpy()))
        return merged

    def _width(self) -> int:
        """Length of a feature vector, from sixteen black pictures and one before."""
        return int(self.rows(torch.zeros(130, 64, 48, 3, dtype=torch.uint8)).shape[1])


class KernelScore(_SetScore):
    """Kernel distance (kid): keeps feature vectors; each rank needs at least one clip of both sides before compute."""

    real_rows: list[Tensor]
    made_rows: list[Tensor]

    def __init__(self, name: str = "kid", setup: MetricSetup = NANO, fps: float = FPS, **more: Any):
        super().__init__(name, setup, fps, **more)
        for side in SIDES:
            self.add_state(f"{side}_rows", [], dist_reduce_fx="cat")

    def update(self, frames: Tensor, real: bool) -> None:
        """One clip of either side."""
        (self.real_rows if real else self.made_rows).append(torch.from_numpy(np.ascontiguousarray(self.rows(frames))))

    def compute(self) -> Tensor:
        """The distance, float64 []."""
        made, real = (_joined(rows) for rows in (self.made_rows, self.real_rows))
        return torch.tensor(kernel_distance(made, real).value, dtype=torch.float64)


def as_pictures(frames: Tensor) -> np.ndarray:
    """Uint8 [n, H, W, 3] of either layout; ValueError for anything else."""
    if frames.dtype != torch.uint8 or frames.ndim != 4 or 3 not in (frames.shape[1], frames.shape[3]):
        raise ValueError(
            f"pictures of {frames.dtype} {tuple(frames.shape)}; give uint8 [n, H, W, 3] or [n, 3, H, W]: "
            "(x.clamp(0, 1) * 255).round().byte() for pictures in 0..1"
        )
    last = frames if frames.shape[3] == 3 else frames.permute(0, 2, 3, 1)
    return np.ascontiguousarray(last.detach().cpu().numpy())


def as_sound(sound: Tensor | None) -> np.ndarray | None:
    """Float32 [m] of a waveform [m] or [1, m]."""
    if sound is None:
        return None
    flat = sound.detach().cpu().float().squeeze()
    if flat.ndim != 1:
        raise ValueError(f"sound of shape {tuple(sound.shape)}; give mono [m] at 16 kHz")
    return flat.numpy()


def _joined(rows: list[Tensor] | Tensor) -> np.ndarray:
    return (rows if isinstance(rows, Tensor) else torch.cat(list(rows))).cpu().numpy()
