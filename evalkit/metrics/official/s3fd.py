"""S3FD, the face detector of the published SyncNet pipeline: VGG trunk, six scales, one square prior per cell.

(Zhang et al. 2017.) Boxes are decoded and thinned in `boxes`; this file is the network alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRUNK = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "ceil", 512, 512, 512, "pool", 512, 512, 512, "pool")
TAPS = {15: "L2Norm3_3", 22: "L2Norm4_3", 29: "L2Norm5_3"}
SOURCES = (256, 512, 512, 1024, 512, 256)
STRIDES = (4, 8, 16, 32, 64, 128)
PRIOR_SIZES = (16, 32, 64, 128, 256, 512)
MEAN_RGB = (123.0, 117.0, 104.0)
NORM_EPS = 1e-10


class ChannelNorm(nn.Module):
    """Every position scaled to length 1 over channels, then by a learned factor."""

    def __init__(self, channels: int, scale: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.square().sum(1, keepdim=True).sqrt() + NORM_EPS) * self.weight[:, None, None]


class S3FD(nn.Module):
    """Pictures float32 [n, 3, H, W], 0..255 minus MEAN_RGB -> offsets [n, P, 4], probabilities [n, P, 2], priors [P, 4].

    Priors and offsets are as in SSD, relative to the picture; probability 1 is "face". P depends on the picture's size.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for entry in TRUNK:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=entry == "ceil"))
                continue
            layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.ReLU()]
            channels = entry
        layers += [nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(), nn.Conv2d(1024, 1024, 1), nn.ReLU()]
        self.vgg = nn.ModuleList(layers)
        self.L2Norm3_3 = ChannelNorm(256, 10)
        self.L2Norm4_3 = ChannelNorm(512, 8)
        self.L2Norm5_3 = ChannelNorm(512, 5)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, 2, 1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, 2, 1),
            ]
        )
        self.loc = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for width in SOURCES)
        # The finest map has three kinds of background, of which the likeliest counts.
        self.conf = nn.ModuleList(
            nn.Conv2d(width, 4 if index == 0 else 2, 3, padding=1) for index, width in enumerate(SOURCES)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self._maps(pictures)
        offsets = [head(x).permute(0, 2, 3, 1).flatten(1, 2) for head, x in zip(self.loc, maps, strict=True)]
        scores = [head(x) for head, x in zip(self.conf, maps, strict=True)]
        scores[0] = torch.cat([scores[0][:, :3].amax(1, keepdim=True), scores[0][:, 3:]], 1)
        flat = torch.cat([score.permute(0, 2, 3, 1).flatten(1, 2) for score in scores], 1)
        sizes = [(x.shape[2], x.shape[3]) for x in maps]
        priors = prior_boxes(sizes, (pictures.shape[2], pictures.shape[3])).to(pictures.device)
        return torch.cat(offsets, 1), flat.softmax(-1), priors

    def _maps(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for index, layer in enumerate(self.vgg):
            x = layer(x)
            if index in TAPS:
                maps.append(self.get_submodule(TAPS[index])(x))
        maps.append(x)
        for index, layer in enumerate(self.extras):
            x = F.relu(layer(x))
            if index % 2:
                maps.append(x)
        return maps


def prior_boxes(map_sizes: list[tuple[int, int]], picture: tuple[int, int]) -> Tensor:
    """Priors [P, 4] (centre x, centre y, width, height, relative) of maps of (height, width), row by row."""
    height, width = picture
    made = []
    for (rows, columns), stride, side in zip(map_sizes, STRIDES, PRIOR_SIZES, strict=True):
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        centres = torch.stack([x * stride / width, y * stride / height], -1).reshape(-1, 2)
        sides = torch.tensor([side / width, side / height]).expand(len(centres), 2)
        made.append(torch.cat([centres, sides], 1))
    return torch.cat(made)
