"""Finished latents in, frames out: what a stream's decoder makes of each block, as a viewer gets it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import ProfileConfig, RolloutOptions
from liveavatar.streaming.rollout import LatentBlock

RELEASE_DROPS = 3  # frames at the start of a stream that the release does not show
Span = tuple[str, float, float]  # stage, begin and end in seconds of time.perf_counter


class StreamDecoder(Protocol):
    """Latents to frames with memory between calls; primed before the first block."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [1, z, F, h, w] -> pixels [1, 3, 4F, H, W] in [-1, 1]."""


@dataclass(frozen=True)
class VideoChunk:
    """Frames uint8 [n, H, W, 3] of one block, the block's number, the first frame's time, and the spans of its stages."""

    frames: np.ndarray
    block: int
    spans: list[Span] = field(default_factory=list)
    begin_s: float = 0.0


class Showing:
    """The frames of one stream, in order."""

    def __init__(self, decoder: StreamDecoder, profile: ProfileConfig, options: RolloutOptions) -> None:
        self.decoder, self.profile, self.options = decoder, profile, options
        self.frames_out = 0
        self._kept: list[LatentBlock] = []  # with decode="end": all of them, until the voice has ended

    def take(self, latent: LatentBlock, frames: int) -> Iterator[VideoChunk]:
        """A block's first `frames` frames, now; with decode="end" nothing yet."""
        if self.options.decode == "end":
            self._kept.append(latent)
            return
        dropped = RELEASE_DROPS if self.options.first_block == "release" and latent.block == 0 else 0
        begin_s = self.frames_out / self.profile.fps
        picture, span = self._decode(latent.latents, slice(dropped, frames))
        yield VideoChunk(picture, latent.block, [("denoise", latent.begin_s, latent.end_s), span], begin_s)

    def rest(self, wanted: int) -> Iterator[VideoChunk]:
        """With decode="end": all blocks, clip by clip, `wanted` frames; a clip's decoding counts for its first block."""
        per_block, per_clip, fps = self.profile.block_frames, self.options.clip_blocks, self.profile.fps
        for first in range(0, len(self._kept), per_clip):
            clip = self._kept[first : first + per_clip]
            frames = min(per_block * len(clip), wanted - per_block * first)
            picture, span = self._decode(torch.cat([block.latents for block in clip], dim=2), slice(frames))
            for place, block in enumerate(clip):
                spans = [("denoise", block.begin_s, block.end_s), *([span] if place == 0 else [])]
                shown = picture[place * per_block : (place + 1) * per_block]
                yield VideoChunk(shown, block.block, spans, (first + place) * per_block / fps)
        self._kept.clear()

    @torch.inference_mode()
    def _decode(self, latents: Tensor, kept: slice) -> tuple[np.ndarray, Span]:
        begin = time.perf_counter()
        pixels = self.decoder.decode(latents)[0, :, kept].float()
        picture = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()
        self.frames_out += len(picture)
        return picture, ("decode", begin, time.perf_counter())
