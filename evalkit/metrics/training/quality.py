"""Recipe of the nano rating network: graded distortions for image quality, graded taste for aesthetics.

Every training picture gets two severities, drawn apart: what was done to its quality (blur, noise, lost detail, blocks,
banding, ghosts of another moment) and what to its looks (exposure, colour cast, saturation, contrast, framing). A clean
picture is "excellent", severity 1 is "bad", and each head must tell its own severity whatever the other is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evalkit.metrics.image_features import prepare_pictures
from evalkit.metrics.levels import LEVEL_VALUES, soft_levels
from evalkit.metrics.quality_net import TASKS, QualityNet, QualityNetConfig
from evalkit.metrics.training.augment import add_noise, blur, happens, lose_detail, recolour, uniform
from evalkit.metrics.training.coded import pictures_through_codec
from evalkit.metrics.training.data import ShardSet
from evalkit.metrics.training.framing import nearer, reframe
from evalkit.metrics.training.loop import Task

PICTURES_PER_STEP = 48
CLEAN_SHARE = 0.2
CODED_SHARE = 0.15
SCORE_WEIGHT = 0.5
GRADES = (0.0, 0.25, 0.5, 0.75, 1.0)


class QualityTask(Task):
    """Cross entropy with soft levels, and the error of the rating."""

    name = "quality"
    network: QualityNet

    def __init__(self, train: ShardSet, held_out: ShardSet):
        self.network = QualityNet().to(memory_format=torch.channels_last)
        self.extra = nn.Module()
        self._train, self._held_out = train, held_out

    def loss(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        clips = torch.randint(len(self._train), (PICTURES_PER_STEP,), generator=generator).tolist()
        made = [self._example(clip, generator) for clip in clips]
        pictures = torch.stack([picture for picture, _ in made])
        ratings = 5 - 4 * torch.tensor([severities for _, severities in made])  # [n, 2]
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network((pictures * 2 - 1).to(memory_format=torch.channels_last)).float()
        target = torch.from_numpy(soft_levels(ratings.flatten().numpy())).float().view(*ratings.shape, -1)
        entropy = F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1))
        error = (rating_of(logits) - ratings).abs().mean(0)
        figures = {f"error_{task}": value.item() for task, value in zip(TASKS, error, strict=True)}
        return entropy + SCORE_WEIGHT * error.mean(), {"entropy": entropy.item(), **figures}

    def validate(self) -> dict[str, Any]:
        """Mean rating of held-out pictures at five severities of each change, for the head that must see it."""
        data, count = self._held_out, min(64, len(self._held_out))
        clean = [data.frames(clip)[-1] for clip in range(count)]
        others = [data.frames(clip)[len(data.frames(clip)) // 2] for clip in range(count)]
        boxes = [data.face_boxes(clip)[-1] for clip in range(count)]
        found: dict[str, Any] = {task: {} for task in TASKS}
        for task, changes in (("iqa", DISTORTIONS), ("ase", TASTES)):
            for name, change in changes.items():
                means = []
                for grade in GRADES:
                    generator = torch.Generator().manual_seed(3)
                    worse = [
                        change(_unit(picture), grade, Context(_unit(other), box, generator)).clamp(0, 1)
                        for picture, other, box in zip(clean, others, boxes, strict=True)
                    ]
                    ratings = rating_of(self.network(torch.stack(worse) * 2 - 1)).mean(0)
                    means.append(round(float(ratings[TASKS.index(task)]), 3))
                found[task][name] = means
        coded = torch.stack([_unit(torch.from_numpy(pictures_through_codec(p.numpy()[None], 23))[0]) for p in clean])
        ratings = rating_of(self.network(coded * 2 - 1)).mean(0)
        found["coded_crf_23"] = {task: round(float(value), 3) for task, value in zip(TASKS, ratings, strict=True)}
        return found

    def _example(self, clip: int, generator: Generator) -> tuple[Tensor, tuple[float, float]]:
        """One picture [3, H, W] in 0..1 with its two severities."""
        frames = self._train.frames(clip)
        moment, other = torch.randint(len(frames), (2,), generator=generator).tolist()
        picture = frames[moment]
        if happens(generator, CODED_SHARE):
            crf = int(torch.randint(16, 25, (1,), generator=generator))
            picture = torch.from_numpy(pictures_through_codec(picture.numpy()[None], crf))[0]
        box = self._train.face_boxes(clip)[moment]
        context = Context(_unit(frames[other]), box, generator)
        x, taste = _unit(picture), 0.0
        if not happens(generator, CLEAN_SHARE + 0.2):
            name = _pick(TASTES, generator)
            taste = uniform(generator, 0.05, 1)
            x = TASTES[name](x, taste, context).clamp(0, 1)
        elif happens(generator, 0.4):
            x = nearer(x, box, generator)
        harm = 0.0
        if not happens(generator, CLEAN_SHARE):
            harm = uniform(generator, 0.05, 1)
            x = DISTORTIONS[_pick(DISTORTIONS, generator)](x, harm, context).clamp(0, 1)
            if happens(generator, 0.25):  # a second, lighter one
                x = DISTORTIONS[_pick(DISTORTIONS, generator)](x, harm / 2, context).clamp(0, 1)
                harm = min(1.0, 1.2 * harm)
        # What a decoder does at best: nobody sees it, so nobody may be punished for it.
        x = add_noise(x, uniform(generator, 0, 0.004), generator)
        return recolour(x[None], 0.015, generator)[0].clamp(0, 1), (harm, taste)


class Context:
    """What a change may need besides the picture: another moment of the clip [3, H, W], the face box, the dice."""

    def __init__(self, other: Tensor, box: Tensor, generator: Generator):
        self.other, self.box, self.generator = other, box, generator


def rating_of(logits: Tensor) -> Tensor:
    """Differentiable ratings [...] of logits [..., 5]."""
    return logits.softmax(-1) @ torch.tensor(LEVEL_VALUES)


def _blurred(x: Tensor, severity: float, context: Context) -> Tensor:
    return blur(x[None], 0.2 + 2.6 * severity)[0] if severity > 0.01 else x


def _coarse(x: Tensor, severity: float, context: Context) -> Tensor:
    return lose_detail(x[None], 1 - 0.82 * severity)[0] if severity > 0.01 else x


def _noisy(x: Tensor, severity: float, context: Context) -> Tensor:
    return add_noise(x, 0.16 * severity, context.generator)


def _blocky(x: Tensor, severity: float, context: Context) -> Tensor:
    """Towards the means of 8 x 8 blocks, as a starved codec."""
    blocks = F.avg_pool2d(x[None], 8)
    flat = F.interpolate(blocks, scale_factor=8, mode="nearest")[0, :, : x.shape[1], : x.shape[2]]
    return x + 0.85 * severity * (flat - x)


def _banded(x: Tensor, severity: float, context: Context) -> Tensor:
    """Fewer and fewer levels per channel."""
    if severity <= 0.01:
        return x
    levels = 2 ** (5.5 - 4.2 * severity)
    return (x * levels).round() / levels


def _ghostly(x: Tensor, severity: float, context: Context) -> Tensor:
    """Mixed with another moment of the clip, moved a little: the trail of a generator that averages."""
    moved = torch.roll(context.other, (round(2 * severity), round(6 * severity)), (1, 2))
    return x + 0.5 * severity * (moved - x)


def _exposed(x: Tensor, severity: float, context: Context) -> Tensor:
    """Too dark or too bright, up to a factor of three."""
    factor = 1 + 2 * severity
    return x * factor if happens(context.generator, 0.5) else x / factor


def _cast(x: Tensor, severity: float, context: Context) -> Tensor:
    direction = torch.randn(3, generator=context.generator)
    direction = direction - direction.mean()
    return x + 0.32 * severity * (direction / direction.abs().max())[:, None, None]


def _saturated(x: Tensor, severity: float, context: Context) -> Tensor:
    grey = x.mean(0, keepdim=True)
    return grey + (x - grey) * (1 - 0.95 * severity if happens(context.generator, 0.5) else 1 + 2 * severity)


def _flat(x: Tensor, severity: float, context: Context) -> Tensor:
    """Contrast lost towards the picture's own mean."""
    return x.mean() + (x - x.mean()) * (1 - 0.8 * severity)


def _framed(x: Tensor, severity: float, context: Context) -> Tensor:
    return reframe(x, context.box, severity, context.generator)


DISTORTIONS = {
    "blur": _blurred,
    "coarse": _coarse,
    "noise": _noisy,
    "blocks": _blocky,
    "banding": _banded,
    "ghost": _ghostly,
}
TASTES = {"exposure": _exposed, "cast": _cast, "saturation": _saturated, "contrast": _flat, "framing": _framed}


def _pick(table: dict[str, Any], generator: Generator) -> str:
    return list(table)[int(torch.randint(len(table), (1,), generator=generator))]


def _unit(picture: Tensor) -> Tensor:
    """[3, height, width] in 0..1 of uint8 [H, W, 3], as scoring prepares it."""
    return prepare_pictures(picture.numpy()[None], QualityNetConfig())[0] / 2 + 0.5
