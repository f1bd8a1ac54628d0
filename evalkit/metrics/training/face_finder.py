"""Recipe of the nano face finder: one face, two faces or none, anywhere in the square and of any usual size."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evalkit.metrics.face_finder import find_in_square
from evalkit.metrics.face_finder_net import FaceFinderNet, offsets_of
from evalkit.metrics.training.augment import disturb, happens, uniform
from evalkit.metrics.training.data import ShardSet
from evalkit.metrics.training.loop import Task

PICTURES_PER_STEP = 40
BOX_WEIGHT = 1.0
EMPTY_SHARE, PAIR_SHARE = 0.25, 0.25


class FaceFinderTask(Task):
    """A face logit per cell (focal, Gaussian about each centre as in CenterNet) and the box at the centre."""

    name = "face_finder"
    network: FaceFinderNet

    def __init__(self, train: ShardSet, held_out: ShardSet):
        self.network = FaceFinderNet().to(memory_format=torch.channels_last)
        self.extra = nn.Module()
        self._train, self._held_out = train, held_out

    def loss(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        scenes = [self._scene(self._train, generator) for _ in range(PICTURES_PER_STEP)]
        pictures = disturb(torch.stack([picture for picture, _ in scenes]), generator)
        with torch.autocast("cpu", torch.bfloat16):
            out = self.network((pictures * 2 - 1).to(memory_format=torch.channels_last)).float()
        heat, near, target = self._targets([boxes for _, boxes in scenes])
        face = _focal(out[:, 0], heat)
        weight = near.unsqueeze(1)
        error = F.smooth_l1_loss(out[:, 1:], target, beta=0.2, reduction="none") * weight
        box = error.sum() / weight.sum().clamp(min=1) / 4
        return face + BOX_WEIGHT * box, {"face": face.item(), "box": box.item()}

    def validate(self) -> dict[str, Any]:
        """Share of held-out scenes whose number of faces is right, by that number, and the overlap of the boxes."""
        generator = torch.Generator().manual_seed(5)
        right: dict[int, list[bool]] = {0: [], 1: [], 2: []}
        overlap = []
        for _ in range(300):
            picture, boxes = self._scene(self._held_out, generator)
            found = find_in_square(self.network, picture[None] * 2 - 1)[0]
            right[len(boxes)].append(len(found) == len(boxes))
            overlap += [max((_overlap(one[:4], box) for one in found), default=0.0) for box in boxes.tolist()]
        return {
            **{f"right_with_{count}": round(sum(found) / len(found), 4) for count, found in right.items() if found},
            "overlap_mean": round(sum(overlap) / len(overlap), 4),
            "overlap_above_half": round(sum(one > 0.5 for one in overlap) / len(overlap), 4),
        }

    def _scene(self, data: ShardSet, generator: Generator) -> tuple[Tensor, Tensor]:
        """A square picture [3, side, side] in 0..1 and its face boxes [k, 4] in pixels."""
        kind = uniform(generator, 0, 1)
        if kind < EMPTY_SHARE:
            return self._empty(data, generator), torch.zeros(0, 4)
        if kind < EMPTY_SHARE + PAIR_SHARE:
            return self._pair(data, generator)
        picture, box = self._picture(data, generator)
        return self._placed(picture, box, generator)

    def _picture(self, data: ShardSet, generator: Generator) -> tuple[Tensor, Tensor]:
        clip = int(torch.randint(len(data), (1,), generator=generator))
        frames = data.frames(clip)
        moment = int(torch.randint(len(frames), (1,), generator=generator))
        return frames[moment].permute(2, 0, 1).float() / 255, data.face_boxes(clip)[moment]

    def _placed(self, picture: Tensor, box: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """On a black square, as scoring lays pictures there: usually the longer side fills it, sometimes enlarged."""
        side = self.network.config.side
        share = 1.0 if happens(generator, 0.5) else uniform(generator, 0.45, 1.0)
        height, width = picture.shape[1:]
        scale = side / max(height, width) * share
        size = (max(8, round(height * scale)), max(8, round(width * scale)))
        small = F.interpolate(picture[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
        canvas = torch.zeros(3, side, side)
        if share < 1 and happens(generator, 0.7):
            canvas = self._plain(generator)
        top = int(torch.randint(side - size[0] + 1, (1,), generator=generator))
        left = int(torch.randint(side - size[1] + 1, (1,), generator=generator))
        canvas[:, top : top + size[0], left : left + size[1]] = small
        pixels = box * torch.tensor([size[1], size[0]] * 2) + torch.tensor([left, top] * 2)
        return canvas, pixels[None]

    def _pair(self, data: ShardSet, generator: Generator) -> tuple[Tensor, Tensor]:
        """Two characters side by side, as a conversation shows them."""
        (first, box_a), (second, box_b) = self._picture(data, generator), self._picture(data, generator)
        joined = torch.cat([first, second], 2)
        half = torch.tensor([2.0, 1.0, 2.0, 1.0])
        boxes = torch.stack([box_a / half, box_b / half + torch.tensor([0.5, 0, 0.5, 0])])
        made, placed = self._placed(joined, boxes[0], generator)
        # The second box takes the same way: recover the placement from the first.
        scale = (placed[0, 2:] - placed[0, :2]) / (boxes[0, 2:] - boxes[0, :2])
        shift = placed[0, :2] - boxes[0, :2] * scale
        return made, torch.cat([boxes[:, :2] * scale + shift, boxes[:, 2:] * scale + shift], 1)

    def _empty(self, data: ShardSet, generator: Generator) -> Tensor:
        """No face: plain or noisy surfaces, or a picture from which the head was cut."""
        if happens(generator, 0.35):
            return self._plain(generator)
        picture, box = self._picture(data, generator)
        height, width = picture.shape[1:]
        x0, y0, x1, y1 = (box * torch.tensor([width, height] * 2)).round().int().tolist()
        below, left = picture[:, min(height - 1, y1 + 4) :], picture[:, :, : max(0, x0 - 6)]
        parts = [below, left, picture[:, :, min(width - 1, x1 + 6) :]]
        wide = [part for part in parts if min(part.shape[1:]) >= 16]
        if not wide or happens(generator, 0.3):
            return self._placed(_head_painted_over(picture, (x0, y0, x1, y1)), box, generator)[0]
        part = wide[int(torch.randint(len(wide), (1,), generator=generator))]
        return self._placed(part, box, generator)[0]

    def _plain(self, generator: Generator) -> Tensor:
        """A coarse random surface of some contrast, at times with fine noise."""
        side = self.network.config.side
        cells = int(torch.randint(1, 9, (1,), generator=generator))
        coarse = torch.rand(1, 3, cells, cells, generator=generator) * uniform(generator, 0, 1)
        surface = F.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)[0]
        if happens(generator, 0.3):
            surface = surface + 0.3 * torch.rand(3, side, side, generator=generator)
        return surface.clamp(0, 1)

    def _targets(self, scenes: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Heat [n, cells, cells], cells that answer for a box, and that box's offsets [n, 4, cells, cells]."""
        config = self.network.config
        heat = torch.zeros(len(scenes), config.cells, config.cells)
        near, target = torch.zeros_like(heat), torch.zeros(len(scenes), 4, config.cells, config.cells)
        middle = (torch.arange(config.cells) + 0.5) * config.cell_px
        for index, boxes in enumerate(scenes):
            for box, offsets in zip(boxes, offsets_of(boxes, config), strict=True):
                centre, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).mean())
                spread = max(0.2 * side, 0.75 * config.cell_px)
                distance = (middle[None] - centre[0]).square() + (middle[:, None] - centre[1]).square()
                bump = torch.exp(-distance / (2 * spread**2))
                peak = bump == bump.max()
                heat[index] = torch.maximum(heat[index], torch.where(peak, torch.ones(()), bump))
                owns = bump > 0.6
                owns |= peak
                near[index] = torch.where(owns, bump, near[index])
                target[index] = torch.where(owns, offsets, target[index])
        return heat, near, target


def _focal(logits: Tensor, heat: Tensor) -> Tensor:
    """Focal loss of a heat map: cells near a centre are punished less for saying "face"."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    peak = heat == 1
    hits = ((1 - p).square() * p.log())[peak].sum()
    misses = ((1 - heat).pow(4) * p.square() * (1 - p).log())[~peak].sum()
    return -(hits + misses) / peak.sum().clamp(min=1)


def _head_painted_over(picture: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """The head's place filled with the picture's own border colours."""
    x0, y0, x1, y1 = box
    grow_x, grow_y = round(0.3 * (x1 - x0)), round(0.35 * (y1 - y0))
    out = picture.clone()
    colour = picture[:, 0].mean(1)
    out[:, max(0, y0 - grow_y) : y1 + grow_y // 2, max(0, x0 - grow_x) : x1 + grow_x] = colour[:, None, None]
    return out


def _overlap(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(shared / (areas - shared))
