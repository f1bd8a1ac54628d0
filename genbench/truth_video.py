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
    """Frames uint8 [n, height, width, 3] in order, n at most `chunk_frames`, so that memory stays bounded.

    A sample cut from a video gives that video's frames at their own size. Raises ValueError for a sample without truth.
    """
    if chunk_frames < 1:
        raise ValueError(f"chunk_frames={chunk_frames}; give 1 or more")
    if sample.truth_video is not None:
        import torch

        from genbench.video import read_video

        sample.truth_video.check_size(sample.folder)
        for frames in read_video(sample.folder / sample.truth_video.path, chunk_frames):
            yield torch.from_numpy(frames)
        return
    known = sample.truth()
    if known is None:
        raise ValueError(f"sample {sample.id} has no truth: it was made by generators that do not say what they did")
    from genbench.world import Truth, render

    for first in range(0, known.frames, chunk_frames):
        piece = known.truth.slice(first, min(first + chunk_frames, known.frames))
        yield render([known.character], Truth.stack([piece]), height=height, width=width)[0]
