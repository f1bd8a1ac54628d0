"""Motion latents, the frames before a clip, as tokens: packed into three resolutions, or one by one.

Packing spends tokens where they matter: the newest latent keeps full resolution, the two before it half of it, the
oldest a quarter. A kernel that does not divide the size leaves out the rest at the lower and right edge.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.config import TransformerConfig

# (name of the convolution, latents it looks at, how much coarser than the patch embedding), newest first. None: the rest.
PACKING: tuple[tuple[str, int | None, int], ...] = (("proj", 1, 1), ("proj_2x", 2, 2), ("proj_4x", None, 4))


def packed_kernel(patch: tuple[int, int, int], factor: int) -> tuple[int, int, int]:
    """Kernel and stride of a packing convolution: `factor` patches in time, height and width."""
    return patch[0] * factor, patch[1] * factor, patch[2] * factor


class FramePacker(nn.Module):
    """Three convolutions over newest, newer and older motion latents; names are the official checkpoint's."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.patch = c.patch_size
        for name, _, factor in PACKING:
            kernel = packed_kernel(c.patch_size, factor)
            setattr(self, name, nn.Conv3d(c.in_dim, c.dim, kernel, stride=kernel))

    def forward(self, motion: Tensor) -> Tensor:
        """Motion latents [B, C, T, H, W], oldest first -> tokens [B, c, D]: newest first, each group in (t, h, w) order."""
        tokens, end = [], motion.shape[2]
        for name, frames, factor in PACKING:
            start = 0 if frames is None else end - frames
            tokens.append(self._tokens(name, factor, motion[:, :, start:end]))
            end = start
        return torch.cat(tokens, dim=1)

    def _tokens(self, name: str, factor: int, latents: Tensor) -> Tensor:
        convolution = getattr(self, name)
        kernel = packed_kernel(self.patch, factor)
        if any(size < least for size, least in zip(latents.shape[2:], kernel, strict=True)):
            return latents.new_zeros(latents.shape[0], 0, convolution.out_channels)  # a small picture has no coarse token
        return convolution(latents).flatten(2).transpose(1, 2)


def last_motion_latents(motion: Tensor, count: int) -> Tensor:
    """The last `count` of [B, C, T, H, W]; where there are fewer, zeros stand in front."""
    recent = motion[:, :, -count:]
    return F.pad(recent, (0, 0, 0, 0, count - recent.shape[2], 0))
