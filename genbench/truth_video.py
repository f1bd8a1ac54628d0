"""The truth of a sample as pictures: what a perfect method would have made; for the control rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from genbench.manifest import Sample

CHUNK_FRAMES = 48


def render_truth(
    sample: Sample, height: int = 128, width: int = 96, chunk_frames: int = CHUNK_FRAMES
) -> Iterator[torch.Tensor]:
    """Frames uint8 [n, height, width, 3] in order, n at most `chunk_frames`, so that memory stays bounded."""
    from genbench.world import Truth, render

    if chunk_frames < 1:
        raise ValueError(f"chunk_frames={chunk_frames}; give 1 or more")
    known = sample.truth()
    for first in range(0, known.frames, chunk_frames):
        piece = known.truth.slice(first, min(first + chunk_frames, known.frames))
        yield render([known.character], Truth.stack([piece]), height=height, width=width)[0]
