"""One stream: samples in, frames out. Conditions, rollout and streaming decode, with the time each took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import ProfileConfig, RolloutOptions
from liveavatar.model.attention import Seen
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.conditions import Conditions
from liveavatar.streaming.noise import block_noise, clip_noise
from liveavatar.streaming.prompts import PromptSchedule
from liveavatar.streaming.rollout import LatentBlock, Recode, Rollout, stream_blocks

RELEASE_DROPS = 3  # frames at the start of a stream that the release does not show
Texts = Callable[[str], Sequence[Seen]]  # prompt -> keys and values per layer
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


@dataclass(frozen=True)
class StreamParts:
    """What a stream is made of: networks shared with other streams, and the decoder and conditions of this one.

    texts: a prompt's keys and values per layer. reference: latent [1, z, 1, h, w]; motion: latents before the stream
    [1, z, T, h, w], None for a stream without motion tokens. recode: as `Rollout` takes it. rollout_type: how the stream
    is held and run; all kinds compute the same.
    """

    model: S2VTransformer
    conditions: Conditions
    decoder: StreamDecoder
    texts: Texts
    reference: Tensor
    motion: Tensor | None = None
    recode: Recode | None = None
    rollout_type: type[Rollout] = Rollout


class Session:
    """A stream in progress. `push` may be called for ever; state does not grow."""

    def __init__(
        self, parts: StreamParts, profile: ProfileConfig, options: RolloutOptions, prompt: str, noise_key: tuple[int, str]
    ) -> None:
        """noise_key: (seed, sample id)."""
        begin = time.perf_counter()
        self.profile, self.options, self.noise_key = profile, options, noise_key
        self.decoder, self.conditions = parts.decoder, parts.conditions
        self.prompts = PromptSchedule(parts.texts)
        with torch.inference_mode():
            self.rollout = parts.rollout_type(
                parts.model,
                options,
                parts.texts(prompt),
                parts.reference,
                profile.block_latents,
                parts.motion,
                key=noise_key,
                recode=parts.recode,
            )
        self._kept: list[LatentBlock] = []  # with decode="end": all of them, until the voice has ended
        self.samples_in = self.frames_out = self._frames_made = 0
        self.latent_shape = (1, parts.model.config.in_dim, profile.block_latents, *profile.latent_size)
        self._device = parts.reference.device
        self.prefill_span: Span = ("prefill", begin, time.perf_counter())

    def set_prompt(self, prompt: str, from_s: float | None = None) -> int:
        """Let another prompt hold from the next block on, or from the first block that begins at `from_s` or later.

        Returns that block's number. Blocks before it are what they would have been; the sink and the cached past keep
        what they were made with. Raises ValueError for a time that is not finite or negative.
        """
        block = self.rollout.next_block
        if from_s is not None:
            if not math.isfinite(from_s) or from_s < 0:
                raise ValueError(f"from_s={from_s}: give seconds from the stream's start, 0 or more")
            # A time written with few digits must still mean the block that begins there.
            block = max(block, math.ceil(from_s * self.profile.fps / self.profile.block_frames - 1e-6))
        self.prompts.set(block, prompt)
        return block

    def push(self, samples: np.ndarray) -> Iterator[VideoChunk]:
        """Frames of all blocks that these samples (float [n] in [-1, 1], profile sample rate) complete."""
        self.samples_in += len(samples)
        voices = self.conditions.push(samples)
        for latent in stream_blocks(self.rollout, voices, self._noise, self.prompts):
            yield from self._take(latent, self.profile.block_frames)

    def flush(self) -> Iterator[VideoChunk]:
        """Pad the rest with silence and yield it, cut to the voice's own length in whole frames."""
        wanted = -(-self.samples_in // self.profile.samples_per_frame)
        blocks = -(-wanted // self.profile.block_frames)
        voices = islice(self.conditions.finish(blocks), max(0, blocks - self.rollout.next_block))
        for latent in stream_blocks(self.rollout, voices, self._noise, self.prompts):
            yield from self._take(latent, min(self.profile.block_frames, wanted - self._frames_made))
        yield from self._decode_kept(wanted)

    def _take(self, latent: LatentBlock, frames: int) -> Iterator[VideoChunk]:
        """A block's first `frames` frames, now; with decode="end" nothing yet."""
        self._frames_made += frames
        if self.options.decode == "end":
            self._kept.append(latent)
            return
        dropped = RELEASE_DROPS if self.options.first_block == "release" and latent.block == 0 else 0
        begin_s = self.frames_out / self.profile.fps
        picture, span = self._decode(latent.latents, slice(dropped, frames))
        yield VideoChunk(picture, latent.block, [("denoise", latent.begin_s, latent.end_s), span], begin_s)

    def _decode_kept(self, wanted: int) -> Iterator[VideoChunk]:
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

    def _noise(self, block: int) -> Tensor:
        if self.options.noise == "clip":
            noise = clip_noise(self.noise_key[0], block, self.options.clip_blocks, self.latent_shape)
        else:
            noise = block_noise(*self.noise_key, block, self.latent_shape)
        return noise.to(self._device)

    @torch.inference_mode()
    def _decode(self, latents: Tensor, kept: slice) -> tuple[np.ndarray, Span]:
        begin = time.perf_counter()
        pixels = self.decoder.decode(latents)[0, :, kept].float()
        picture = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()
        self.frames_out += len(picture)
        return picture, ("decode", begin, time.perf_counter())
