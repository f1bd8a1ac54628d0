"""Where conditioning tokens stand: the reference far ahead of a clip, motion tokens before it, coarse ones spread out.

Token order everywhere: reference, then motion, newest group first. Times are latent frames; a clip begins at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from liveavatar.config import TransformerConfig
from liveavatar.model.motion import PACKING, packed_kernel
from liveavatar.model.rope import grid_table, rope_table

REFERENCE_TIME = 30  # after a clip of 20 latent frames, not before it: what the official weights were trained with


@dataclass(frozen=True)
class TokenGrid:
    """Sizes from which token counts and positions follow: latent height and width, and the transformer's."""

    config: TransformerConfig
    height: int
    width: int

    @property
    def patches(self) -> tuple[int, int]:
        """Rows and columns of a latent frame's tokens."""
        _, ph, pw = self.config.patch_size
        return self.height // ph, self.width // pw

    @property
    def frame_tokens(self) -> int:
        """Tokens of one latent frame."""
        return self.patches[0] * self.patches[1]

    def frames(self, times: Tensor) -> Tensor:
        """Table of whole latent frames at `times` [F]: [F*L, head_dim/2]."""
        return rope_table(times, *self.patches, self.config.head_dim)

    def motion(self, shift: float = 0) -> Tensor:
        """Table of all motion tokens, `shift` latent frames later than before a clip; [0, head_dim/2] without motion."""
        c, count = self.config, self.config.motion_latents
        if c.motion == "none":
            return self.frames(torch.zeros(0))
        if c.motion == "plain":
            return self.frames(torch.arange(-count, 0) + shift)
        tables, end = [], 0
        for _, frames, factor in PACKING:
            start = -count if frames is None else end - frames
            kernel = packed_kernel(c.patch_size, factor)
            times = _spread(start, end - 1, (end - start) // kernel[0]) + shift
            rows, columns = (
                _spread(0, fine - 1, size // coarse)
                for fine, size, coarse in zip(self.patches, (self.height, self.width), kernel[1:], strict=True)
            )
            tables.append(grid_table(times, rows, columns, c.head_dim))
            end = start
        return torch.cat(tables)

    def parallel(self, frames: int, with_motion: bool = True, reference_time: float = REFERENCE_TIME) -> Tensor:
        """Table of a parallel call: `frames` noisy latent frames from time 0, the reference, and motion tokens if any."""
        clip = self.frames(torch.cat([torch.arange(frames, dtype=torch.float64), torch.tensor([float(reference_time)])]))
        return torch.cat([clip, self.motion()]) if with_motion else clip


def _spread(first: int, last: int, count: int) -> Tensor:
    """`count` whole positions [count] evenly spread over first..last, rounded towards zero; a single one is the first."""
    if count < 2:
        return torch.full((count,), first)
    # Multiplied by a rounded step, last one exact: the official grid comes out of numpy's linspace.
    places = torch.arange(count, dtype=torch.float64) * ((last - first) / (count - 1)) + first
    places[-1] = last
    return places.trunc().long()
