"""Recipe of the nano image encoder: a character is the same at all times and unlike every other character.

InfoNCE over portraits and later pictures of many characters, classification of style and composition, and a scale:
a picture disturbed (colour, blur, noise, squeeze) must lose likeness to its portrait in proportion to the severity,
no less and no more, while what coding and decoding do at worst must hardly matter.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evalkit.metrics.image_encoder import ImageEncoder
from evalkit.metrics.image_features import prepare_pictures
from evalkit.metrics.training.augment import add_noise, blur, happens, lose_detail, recolour, uniform
from evalkit.metrics.training.data import ShardSet
from evalkit.metrics.training.loop import Task

CHARACTERS_PER_STEP = 40
TEMPERATURE = 0.1
CLASS_WEIGHT = 0.1
SCALE_WEIGHT = 2.0
FULL_DROP = 0.5
"""How much nearer to its portrait a clean picture is than one disturbed with severity 1."""


class ImageTask(Task):
    """Three views per step and character: portrait, a picture, the same picture disturbed."""

    name = "image_encoder"
    network: ImageEncoder
    extra: nn.ModuleDict

    def __init__(self, train: ShardSet, held_out: ShardSet):
        self.network = ImageEncoder().to(memory_format=torch.channels_last)
        self._train, self._held_out = train, held_out
        self._styles = sorted({info.style for info in train.infos})
        self._compositions = sorted({info.composition for info in train.infos})
        features = 2 * self.network.config.widths[-1]
        self.extra = nn.ModuleDict(
            {
                "style": nn.Linear(features, len(self._styles)),
                "composition": nn.Linear(features, len(self._compositions)),
            }
        )

    def loss(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        clips = torch.randperm(len(self._train), generator=generator)[:CHARACTERS_PER_STEP].tolist()
        portraits, pictures = self._views(clips, generator)
        worse, severity = _worsen(pictures, generator)
        views = torch.cat([_slightly(portraits, generator), _slightly(pictures, generator), worse])
        with torch.autocast("cpu", torch.bfloat16):
            features = self.network.features((views * 2 - 1).to(memory_format=torch.channels_last))
            vectors = F.normalize(self.network.head(features).float(), dim=-1)
            classes = {key: head(features).float() for key, head in self.extra.items()}
        portrait, picture, bad = vectors.chunk(3)
        contrast = _contrast(portrait, picture, bad)
        scale = _scale(portrait, picture, bad, severity)
        kind = self._class_loss(classes, clips)
        figures = {
            "contrast": contrast.item(),
            "scale": scale.item(),
            "class": kind.item(),
            "same": (portrait * picture).sum(1).mean().item(),
        }
        return contrast + SCALE_WEIGHT * scale + CLASS_WEIGHT * kind, figures

    def validate(self) -> dict[str, Any]:
        data = self._held_out
        portraits = self._embed(torch.stack([data.references(clip)[0] for clip in range(len(data))]))
        pictures = self._embed(torch.stack([data.frames(clip)[-1] for clip in range(len(data))]))
        cosines = portraits @ pictures.T
        same, other = cosines.diag(), cosines[~torch.eye(len(data), dtype=torch.bool)]
        return {
            "characters": len(data),
            "top_1": float((cosines.argmax(1) == torch.arange(len(data))).float().mean()),
            "same_mean": float(same.mean()),
            "same_p05": float(same.quantile(0.05)),
            "other_mean": float(other.mean()),
            "other_p95": float(other.quantile(0.95)),
            "by_disturbance": self._drops(portraits),
        }

    def _views(self, clips: list[int], generator: Generator) -> tuple[Tensor, Tensor]:
        """Portraits and pictures [n, 3, H, W] in 0..1; now and then the portrait is another moment of the clip."""
        portraits, pictures = [], []
        for clip in clips:
            frames, references = self._train.frames(clip), self._train.references(clip)
            first, second = torch.randint(len(frames), (2,), generator=generator).tolist()
            portraits.append(frames[second] if happens(generator, 0.3) else references[second % 2])
            pictures.append(frames[first])
        return _unit(torch.stack(portraits)), _unit(torch.stack(pictures))

    def _class_loss(self, classes: dict[str, Tensor], clips: list[int]) -> Tensor:
        infos = [self._train.infos[clip] for clip in clips]
        truth = {
            "style": [self._styles.index(info.style) for info in infos],
            "composition": [self._compositions.index(info.composition) for info in infos],
        }
        # Portrait and clean picture only: a badly disturbed picture need not be recognised.
        return torch.stack(
            [F.cross_entropy(classes[key][: 2 * len(clips)], torch.tensor(truth[key] * 2)) for key in truth]
        ).sum()

    def _drops(self, portraits: Tensor) -> dict[str, list[float]]:
        """Mean cosine to the portrait at severities 0, 0.25, 0.5, 1 of each disturbance."""
        data, generator = self._held_out, torch.Generator().manual_seed(1)
        count = min(96, len(data))
        clean = _unit(torch.stack([data.frames(clip)[-1] for clip in range(count)]))
        drops = {}
        for name, change in DISTURBANCES.items():
            worse = [
                torch.cat([change(p[None], s, generator) for p in clean]).clamp(0, 1) for s in (0.0, 0.25, 0.5, 1.0)
            ]
            drops[name] = [round(float((self.network(w * 2 - 1) * portraits[:count]).sum(1).mean()), 4) for w in worse]
        return drops

    def _embed(self, pictures: Tensor) -> Tensor:
        return torch.cat(
            [self.network(prepare_pictures(part.numpy(), self.network.config)) for part in pictures.split(64)]
        )


def _contrast(portrait: Tensor, picture: Tensor, bad: Tensor) -> Tensor:
    """Each portrait finds its picture among all, and each picture its portrait; others' bad pictures count too."""
    own = torch.arange(len(portrait))
    # A character's own disturbed picture is neither right nor wrong here: the scale term places it.
    others = (portrait @ bad.T).masked_fill(torch.eye(len(portrait), dtype=torch.bool), -1.0)
    forward = torch.cat([portrait @ picture.T, others], dim=1) / TEMPERATURE
    return (F.cross_entropy(forward, own) + F.cross_entropy(picture @ portrait.T / TEMPERATURE, own)) / 2


def _scale(portrait: Tensor, picture: Tensor, bad: Tensor, severity: Tensor) -> Tensor:
    """How far the loss of likeness of disturbed pictures is from FULL_DROP times their severity."""
    drop = (portrait * picture).sum(1) - (portrait * bad).sum(1)
    return F.smooth_l1_loss(drop, FULL_DROP * severity, beta=0.1)


def _worsen(pictures: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Each picture under one random disturbance of random severity: ([n, 3, H, W], severity [n])."""
    kinds = list(DISTURBANCES.values())
    severity = 0.1 + 0.9 * torch.rand(len(pictures), generator=generator)
    choice = torch.randint(len(kinds), (len(pictures),), generator=generator).tolist()
    worse = [
        kinds[kind](picture[None], float(s), generator)
        for picture, kind, s in zip(pictures, choice, severity, strict=True)
    ]
    return torch.cat(worse).clamp(0, 1), severity


def _slightly(pictures: Tensor, generator: Generator) -> Tensor:
    """What coding and decoding do: a little noise, blur, coarseness and colour error that must not matter."""
    if happens(generator, 0.5):
        pictures = add_noise(pictures, uniform(generator, 0, 0.02), generator)
    if happens(generator, 0.3):
        pictures = blur(pictures, uniform(generator, 0.2, 0.6))
    if happens(generator, 0.3):
        pictures = lose_detail(pictures, uniform(generator, 0.7, 0.95))
    if happens(generator, 0.5):
        pictures = recolour(pictures, 0.03, generator)
    return pictures.clamp(0, 1)


def _cast(pictures: Tensor, severity: float, generator: Generator) -> Tensor:
    """A colour cast: one direction in colour space, up to 0.3."""
    direction = torch.randn(3, generator=generator)
    direction = direction - direction.mean()
    return pictures + 0.3 * severity * (direction / direction.abs().max())[:, None, None]


def _saturation(pictures: Tensor, severity: float, generator: Generator) -> Tensor:
    """Towards grey or towards gaudy."""
    grey = pictures.mean(1, keepdim=True)
    factor = 1 - severity if happens(generator, 0.5) else 1 + 1.5 * severity
    return grey + (pictures - grey) * factor


def _exposure(pictures: Tensor, severity: float, generator: Generator) -> Tensor:
    """Too dark or too bright, up to a factor of two and a half."""
    return pictures * (1 + 1.5 * severity if happens(generator, 0.5) else 1 / (1 + 1.5 * severity))


def _blurred(pictures: Tensor, severity: float, generator: Generator) -> Tensor:
    return blur(pictures, 3.0 * severity) if severity > 0.02 else pictures


def _coarse(pictures: Tensor, severity: float, generator: Generator) -> Tensor:
    return lose_detail(pictures, 1 - 0.85 * severity)


def _noisy(pictures: Tensor, severity: float, generator: Generator) -> Tensor:
    return add_noise(pictures, 0.15 * severity, generator)


def _squeezed(pictures: Tensor, severity: float, generator: Generator) -> Tensor:
    """Narrower or lower by up to 30 %, borders repeated: a face that changes its shape."""
    amount, height, width = 0.3 * severity, *pictures.shape[2:]
    sizes = (height, round(width * (1 - amount))) if happens(generator, 0.5) else (round(height * (1 - amount)), width)
    small = F.interpolate(pictures, sizes, mode="bilinear", align_corners=False, antialias=True)
    missing_y, missing_x = height - sizes[0], width - sizes[1]
    padding = (missing_x // 2, missing_x - missing_x // 2, missing_y // 2, missing_y - missing_y // 2)
    return F.pad(small, padding, mode="replicate")


DISTURBANCES = {
    "cast": _cast,
    "saturation": _saturation,
    "exposure": _exposure,
    "blur": _blurred,
    "coarse": _coarse,
    "noise": _noisy,
    "squeeze": _squeezed,
}


def _unit(pictures: Tensor) -> Tensor:
    """[n, 3, H, W] in 0..1 of uint8 [n, H, W, 3]."""
    return pictures.permute(0, 3, 1, 2).float() / 255
