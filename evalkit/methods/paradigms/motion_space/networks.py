"""The two networks of the motion space: a motion codec (encoder and warping renderer) and a denoiser of motion sequences.

Both are learned from pictures and voices alone; nothing of how the pictures were drawn is known to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.model.transformer import timestep_features

MOTION_DIM = 16
MOST_SHIFT = 0.25  # of the picture's size, by which the renderer can move a place


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


@dataclass(frozen=True)
class Source:
    """A picture, coded once: the picture [1, 3, H, W], its features [1, C, H/4, W/4] and its own motion [1, MOTION_DIM]."""

    picture: Tensor
    features: Tensor
    motion: Tensor


class MotionCodec(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] to motion vectors, and a source picture with motion vectors to pictures."""

    def __init__(self, width: int = 64, motion_dim: int = MOTION_DIM, cells: int = 12) -> None:
        """cells: places of the coarsest motion features, a 32nd of the picture's sides: 4 x 3 for 128x96 pixels."""
        super().__init__()
        narrow = width // 2
        self.motion_layers = nn.Sequential(
            nn.Conv2d(3, narrow, 5, 2, 2), nn.SiLU(), nn.Conv2d(narrow, width, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.SiLU(), nn.Conv2d(width, width, 3, 2, 1), nn.SiLU(),
        )  # fmt: skip
        self.to_motion = nn.Linear(cells * width, motion_dim)
        self.appearance = nn.Sequential(
            nn.Conv2d(3, narrow, 5, 2, 2), nn.SiLU(), nn.Conv2d(narrow, width, 3, 2, 1), _Residual(width)
        )
        self.mix = nn.Conv2d(width + 2 * motion_dim, width, 3, padding=1)
        self.move = nn.Sequential(_Residual(width), nn.SiLU(), nn.Conv2d(width, 2, 3, padding=1))
        self.add = nn.Conv2d(2 * motion_dim, width, 1)
        self.refine = nn.Sequential(_Residual(width), _Residual(width), nn.Conv2d(width, 4 * narrow, 1), nn.PixelShuffle(2))
        self.out = nn.Sequential(nn.SiLU(), nn.Conv2d(narrow, 4 * 4, 3, padding=1), nn.PixelShuffle(2))
        for layer in (self.move[-1], self.out[1]):  # a fresh renderer shows the source as it is
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def encode(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, MOTION_DIM]."""
        return self.to_motion(self.motion_layers(F.avg_pool2d(pictures, 2)).flatten(1))

    def source(self, picture: Tensor) -> Source:
        """Code a picture [B, 3, H, W] for rendering."""
        return Source(picture, self.appearance(picture), self.encode(picture))

    def render(self, source: Source, motion: Tensor) -> Tensor:
        """The source [B or 1, ...] moved as motion [B, MOTION_DIM] says -> [B, 3, H, W]."""
        count, (height, width) = motion.shape[0], source.features.shape[-2:]
        features, picture = (part.expand(count, -1, -1, -1) for part in (source.features, source.picture))
        told = torch.cat([motion - source.motion, motion], dim=1)[:, :, None, None]
        maps = told.expand(-1, -1, height, width)
        flow = MOST_SHIFT * torch.tanh(self.move(self.mix(torch.cat([features, maps], dim=1))))
        warped = _warped(features, flow) + self.add(told)
        finest = self.out(self.refine(warped))
        fine_flow = F.interpolate(flow, size=picture.shape[-2:], mode="bilinear", align_corners=False)
        finest = finest.float()  # what is shown is mixed in full precision, whatever the products ran in
        share = torch.sigmoid(finest[:, 3:] - 2.0)
        return torch.lerp(_warped(picture, fine_flow), torch.tanh(finest[:, :3]), share)


def _warped(x: Tensor, flow: Tensor) -> Tensor:
    """x [B, C, h, w] sampled where flow [B, 2, h, w] points, in parts of its size."""
    rows, columns = (torch.linspace(-1, 1, size, device=x.device) for size in x.shape[-2:])
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
    places = grid + 2 * flow.float().permute(0, 2, 3, 1)
    return F.grid_sample(x.float(), places, padding_mode="border", align_corners=True)


class MotionDenoiser(nn.Module):
    """Velocity of noisy motion sequences given the voice, the motion before, and the picture's own motion."""

    mean: Tensor
    spread: Tensor

    def __init__(
        self, voice_dim: int, width: int = 128, layers: int = 4, heads: int = 4, motion_dim: int = MOTION_DIM
    ) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Linear(3 * motion_dim, width)
        self.voice = nn.Linear(voice_dim, 4 * width)  # one row per latent frame tells four frames
        self.no_voice = nn.Parameter(torch.zeros(width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, motion_dim)
        self.register_buffer("mean", torch.zeros(motion_dim))
        self.register_buffer("spread", torch.ones(motion_dim))

    def heard(self, voice: Tensor) -> Tensor:
        """Rows [B, L, voice_dim] of latent frames -> rows [B, 4L, width] of frames."""
        return self.voice(voice).unflatten(-1, (4, self.width)).flatten(1, 2)

    def forward(self, x: Tensor, level: Tensor, heard: Tensor | None, initial: Tensor, still: Tensor) -> Tensor:
        """x [B, n, M] (of unit spread), level [B], heard [B, n, width] or None, initial and still [B, M] -> [B, n, M]."""
        count = x.shape[1]
        told = torch.cat([x, initial[:, None].expand_as(x), still[:, None].expand_as(x)], dim=-1)
        places = timestep_features(torch.arange(count, device=x.device), self.width)
        times = self.time(timestep_features(1000 * level, self.width))
        hidden = self.enter(told) + (self.no_voice if heard is None else heard) + places + times[:, None]
        return self.out(self.layers(hidden))

    def normed(self, motion: Tensor) -> Tensor:
        """Motion vectors at unit spread."""
        return (motion - self.mean) / self.spread

    def plain(self, normed: Tensor) -> Tensor:
        """The inverse of `normed`."""
        return normed * self.spread + self.mean


def voice_rows(local: Tensor, pooled: Tensor) -> Tensor:
    """The shared audio encoder's tokens [B, L, T, D] and vectors [B, L, D] as one row per latent frame."""
    return torch.cat([local.flatten(2), pooled], dim=-1)
