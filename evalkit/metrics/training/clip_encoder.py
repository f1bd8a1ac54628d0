"""Recipe of the nano clip encoder: motion of known kinds and degrees, looks of known damage, and whose clip it is.

Each training clip of 16 pictures is seen three times: as it is, as another moment of the same character, and altered in
its motion or its looks by a known amount. The features must tell which alteration and how much, find the same character
again, and hardly differ between two moments of one character: what is said at a moment is no matter of quality. Nothing of
the heads is shipped; distances use the features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evalkit.metrics.clip_encoder import CLIP_FRAMES, ClipEncoder
from evalkit.metrics.clip_features import prepare_clip
from evalkit.metrics.frechet import frechet_distance
from evalkit.metrics.training.augment import add_noise, blur, happens, recolour, uniform
from evalkit.metrics.training.data import ShardSet
from evalkit.metrics.training.loop import Task

CHARACTERS_PER_STEP = 16
TEMPERATURE = 0.1
WEIGHTS = {"degree": 6.0, "kind": 0.5, "steady": 2.0, "same": 0.5, "class": 0.2}
GRADES = (0.0, 0.25, 0.5, 1.0)
EMBEDDING = 64


class ClipTask(Task):
    """Degree and kind of what was done to a clip, identity by contrast, style and composition."""

    name = "clip_encoder"
    network: ClipEncoder
    extra: nn.ModuleDict

    def __init__(self, train: ShardSet, held_out: ShardSet):
        self.network = ClipEncoder()
        self._train, self._held_out = train, held_out
        self._styles = sorted({info.style for info in train.infos})
        self._compositions = sorted({info.composition for info in train.infos})
        width = self.network.features
        self.extra = nn.ModuleDict(
            {
                "degree": nn.Linear(width, len(ALTERATIONS)),
                "kind": nn.Linear(width, len(ALTERATIONS) + 1),
                "same": nn.Linear(width, EMBEDDING),
                "style": nn.Linear(width, len(self._styles)),
                "composition": nn.Linear(width, len(self._compositions)),
            }
        )

    def loss(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        clips = torch.randint(len(self._train), (CHARACTERS_PER_STEP,), generator=generator).tolist()
        plain, other, altered, kinds, degrees = [], [], [], [], []
        for clip in clips:
            frames = self._small(self._train, clip)
            plain.append(_slightly(_window(frames, generator), generator))
            other.append(_slightly(_window(frames, generator), generator))
            kind = int(torch.randint(len(ALTERATIONS), (1,), generator=generator))
            degree = uniform(generator, 0.1, 1)
            changed = list(ALTERATIONS.values())[kind](frames, _start(frames, generator), degree, generator)
            altered.append(_slightly(changed, generator))
            kinds.append(kind)
            degrees.append(degree)
        with torch.autocast("cpu", torch.bfloat16):
            features = self.network(torch.stack([*plain, *other, *altered]).transpose(1, 2) * 2 - 1)
        features = features.float()
        losses = self._losses(features, clips, torch.tensor(kinds), torch.tensor(degrees))
        total = torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()
        return total, {name: value.item() for name, value in losses.items()}

    def validate(self) -> dict[str, Any]:
        """Fréchet distance between held-out clips and the same clips altered, over the distance of two halves."""
        data, generator = self._held_out, torch.Generator().manual_seed(1)
        count = min(96, len(data))
        frames = [self._small(data, clip) for clip in range(count)]
        clean = self._features([_at(one, 0) for one in frames])
        later = self._features([_at(one, 20) for one in frames])
        found: dict[str, Any] = {"later_moment": round(frechet_distance(clean, later).value, 3)}
        for name, change in ALTERATIONS.items():
            made = [self._features([change(one, 0, grade, generator) for one in frames]) for grade in GRADES[1:]]
            found[name] = [round(frechet_distance(clean, one).value, 3) for one in made]
        return {"clips": count, "distance_by_alteration": found}

    def _losses(self, features: Tensor, clips: list[int], kinds: Tensor, degrees: Tensor) -> dict[str, Tensor]:
        plain, other, _ = features.chunk(3)
        truth = torch.zeros(3 * len(clips), len(ALTERATIONS))
        truth[2 * len(clips) + torch.arange(len(clips)), kinds] = degrees
        none = torch.full((2 * len(clips),), len(ALTERATIONS))
        first, second = (F.normalize(self.extra["same"](part), dim=-1) for part in (plain, other))
        infos = [self._train.infos[clip] for clip in clips]
        styles = torch.tensor([self._styles.index(info.style) for info in infos])
        compositions = torch.tensor([self._compositions.index(info.composition) for info in infos])
        return {
            "degree": F.smooth_l1_loss(self.extra["degree"](features), truth, beta=0.1),
            "kind": F.cross_entropy(self.extra["kind"](features), torch.cat([none, kinds])),
            "steady": F.mse_loss(plain, other),
            "same": F.cross_entropy(first @ second.T / TEMPERATURE, torch.arange(len(clips))),
            "class": F.cross_entropy(self.extra["style"](plain), styles)
            + F.cross_entropy(self.extra["composition"](plain), compositions),
        }

    def _small(self, data: ShardSet, clip: int) -> Tensor:
        """All pictures of a clip [F, 3, h, w] in 0..1, as scoring prepares them."""
        return prepare_clip(data.frames(clip).numpy(), self.network.config) / 2 + 0.5

    def _features(self, clips: list[Tensor]) -> Any:
        parts = torch.stack(clips).transpose(1, 2).split(16)
        return torch.cat([self.network(part * 2 - 1) for part in parts]).numpy()


Alteration = Callable[[Tensor, int, float, Generator], Tensor]
"""(pictures [F, 3, h, w] in 0..1, first picture, degree 0..1, dice) -> 16 pictures."""


def _at(frames: Tensor, start: int, step: float = 1.0) -> Tensor:
    """16 pictures from `start` at `step` times the speed; between pictures the nearest."""
    index = start + (torch.arange(CLIP_FRAMES) * step).round().long()
    return frames[index.clamp(0, len(frames) - 1)]


def _frozen(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    """Stands still from some picture on: all but the first at degree 1."""
    moving = max(1, round(CLIP_FRAMES * (1 - degree)))
    return _at(frames, start)[torch.arange(CLIP_FRAMES).clamp(max=moving - 1)]


def _stutter(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    """Each picture held for 1 + 4 degree pictures."""
    hold = 1 + 4 * degree
    return _at(frames, start)[((torch.arange(CLIP_FRAMES) / hold).floor() * hold).long()]


def _shuffled(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    """Moments exchanged at random with others up to 12 pictures away: motion that jumps to and fro."""
    noise = torch.randn(CLIP_FRAMES, generator=generator) * 8 * degree
    return frames[(start + torch.arange(CLIP_FRAMES) + noise.clamp(-12, 12).round()).long().clamp(0, len(frames) - 1)]


def _slower(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    """Motion at 1 / (1 + 2 degree) of its speed, pictures mixed in between."""
    place = start + torch.arange(CLIP_FRAMES) / (1 + 2 * degree)
    low = place.floor().long().clamp(max=len(frames) - 2)
    share = (place - low)[:, None, None, None]
    return frames[low] * (1 - share) + frames[low + 1] * share


def _faster(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    """Motion at 1 + 2 degree times its speed."""
    return _at(frames, start, 1 + 2 * degree)


def _shaken(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    """The whole picture jumps by up to 3 degree pixels from picture to picture."""
    moves = torch.randn(CLIP_FRAMES, 2, generator=generator).clamp(-2, 2) * 1.5 * degree
    theta = torch.eye(2, 3).repeat(CLIP_FRAMES, 1, 1)
    clip = _at(frames, start)
    theta[:, :, 2] = moves * 2 / torch.tensor([clip.shape[3], clip.shape[2]])
    grid = F.affine_grid(theta, list(clip.shape), align_corners=False)
    return F.grid_sample(clip, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _flickering(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    """Brightness jumps from picture to picture."""
    gain = 1 + 0.25 * degree * torch.randn(CLIP_FRAMES, 1, 1, 1, generator=generator).clamp(-2, 2)
    return (_at(frames, start) * gain).clamp(0, 1)


def _blurred(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    return blur(_at(frames, start), 0.15 + 1.6 * degree)


def _noisy(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    return add_noise(_at(frames, start), 0.15 * degree, generator).clamp(0, 1)


def _cast(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    direction = torch.randn(3, generator=generator)
    direction = direction - direction.mean()
    return (_at(frames, start) + 0.3 * degree * (direction / direction.abs().max())[:, None, None]).clamp(0, 1)


def _trailing(frames: Tensor, start: int, degree: float, generator: Generator) -> Tensor:
    """Each picture mixed with the trail of those before: the smear of a decoder that averages."""
    clip, keep = _at(frames, start), 0.85 * degree
    out = [clip[0]]
    for picture in clip[1:]:
        out.append(keep * out[-1] + (1 - keep) * picture)
    return torch.stack(out)


ALTERATIONS: dict[str, Alteration] = {
    "frozen": _frozen,
    "stutter": _stutter,
    "shuffled": _shuffled,
    "slower": _slower,
    "faster": _faster,
    "shaken": _shaken,
    "flicker": _flickering,
    "trail": _trailing,
    "blur": _blurred,
    "noise": _noisy,
    "cast": _cast,
}


def _start(frames: Tensor, generator: Generator) -> int:
    return int(torch.randint(max(1, len(frames) - CLIP_FRAMES), (1,), generator=generator))


def _window(frames: Tensor, generator: Generator) -> Tensor:
    return _at(frames, _start(frames, generator))


def _slightly(clip: Tensor, generator: Generator) -> Tensor:
    """What coding does at best."""
    if happens(generator, 0.5):
        clip = add_noise(clip, uniform(generator, 0, 0.006), generator)
    if happens(generator, 0.5):
        clip = recolour(clip, 0.015, generator)
    return clip.clamp(0, 1)
