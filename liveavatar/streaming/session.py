"""One stream: samples in, frames out. Conditions, rollout and streaming decode, with the time each took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import ProfileConfig, RolloutOptions
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.conditions import VoiceConditions
from liveavatar.streaming.noise import block_noise, clip_noise
from liveavatar.streaming.rollout import LatentBlock, Recode, Rollout, stream_blocks
from liveavatar.streaming.text import text_for

RELEASE_DROPS = 3  # frames at the start of a stream that the release does not show
Span = tuple[str, float, float]  # stage, begin and end in seconds of time.perf_counter


@dataclass(frozen=True)
class VideoChunk:
    """Frames uint8 [n, H, W, 3] of one block, the block's number, and the spans of its stages."""

    frames: np.ndarray
    block: int
    spans: list[Span] = field(default_factory=list)


class Session:
    """A stream in progress. `push` may be called for ever; state does not grow."""

    def __init__(
        self,
        model: S2VTransformer,
        profile: ProfileConfig,
        options: RolloutOptions,
        decoder: object,
        text_rows: Tensor,
        reference: Tensor,
        noise_key: tuple[int, str],
        motion: Tensor | None = None,
        recode: Recode | None = None,
    ) -> None:
        """reference: latent [1, z, 1, h, w]; decoder: a primed stream decoder, or one of whole clips for decode="end".

        noise_key: (seed, sample id). motion, recode: as `Rollout` takes them.
        """
        begin = time.perf_counter()
        self.profile, self.decoder, self.noise_key = profile, decoder, noise_key
        with torch.inference_mode():
            text = text_for(model, text_rows, options)
            self.rollout = Rollout(
                model, options, text, reference, profile.block_latents, motion, key=noise_key, recode=recode
            )
        self.options, self.conditions = options, VoiceConditions(model, profile, options.audio_history)
        self._kept: list[LatentBlock] = []  # with decode="end": all of them, until the voice has ended
        self.samples_in = self.frames_out = self._frames_made = 0
        self.latent_shape = (1, model.config.in_dim, profile.block_latents, *profile.latent_size)
        self.prefill_span: Span = ("prefill", begin, time.perf_counter())

    def push(self, samples: np.ndarray) -> Iterator[VideoChunk]:
        """Frames of all blocks that these samples (float [n] in [-1, 1], profile sample rate) complete."""
        self.samples_in += len(samples)
        voices = self.conditions.push(samples)
        for latent in stream_blocks(self.rollout, voices, self._noise):
            yield from self._take(latent, self.profile.block_frames)

    def flush(self) -> Iterator[VideoChunk]:
        """Pad the rest with silence and yield it, cut to the voice's own length in whole frames."""
        per_frame = self.profile.samples_per_frame
        wanted = -(-self.samples_in // per_frame)
        while self._frames_made < wanted:
            silence = np.zeros(self.conditions.block_samples, dtype=np.float32)
            for latent in stream_blocks(self.rollout, self.conditions.push(silence), self._noise):
                frames = min(self.profile.block_frames, wanted - self._frames_made)
                if frames > 0:
                    yield from self._take(latent, frames)
        yield from self._decode_kept(wanted)

    def _take(self, latent: LatentBlock, frames: int) -> Iterator[VideoChunk]:
        """A block's first `frames` frames, now; with decode="end" nothing yet."""
        self._frames_made += frames
        if self.options.decode == "end":
            self._kept.append(latent)
            return
        dropped = RELEASE_DROPS if self.options.first_block == "release" and latent.block == 0 else 0
        picture, span = self._decode(latent.latents, slice(dropped, frames))
        yield VideoChunk(picture, latent.block, [("denoise", latent.begin_s, latent.end_s), span])

    def _decode_kept(self, wanted: int) -> Iterator[VideoChunk]:
        """With decode="end": all blocks, clip by clip, `wanted` frames; a clip's decoding counts for its first block."""
        per_block, per_clip = self.profile.block_frames, self.options.clip_blocks
        for first in range(0, len(self._kept), per_clip):
            clip = self._kept[first : first + per_clip]
            frames = min(per_block * len(clip), wanted - per_block * first)
            picture, span = self._decode(torch.cat([block.latents for block in clip], dim=2), slice(frames))
            for place, block in enumerate(clip):
                spans = [("denoise", block.begin_s, block.end_s), *([span] if place == 0 else [])]
                yield VideoChunk(picture[place * per_block : (place + 1) * per_block], block.block, spans)
        self._kept.clear()

    def _noise(self, block: int) -> Tensor:
        if self.options.noise == "clip":
            return clip_noise(self.noise_key[0], block, self.options.clip_blocks, self.latent_shape)
        return block_noise(*self.noise_key, block, self.latent_shape)

    @torch.inference_mode()
    def _decode(self, latents: Tensor, kept: slice) -> tuple[np.ndarray, Span]:
        begin = time.perf_counter()
        pixels = self.decoder.decode(latents)[0, :, kept]  # type: ignore[attr-defined]
        picture = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().numpy()
        self.frames_out += len(picture)
        return picture, ("decode", begin, time.perf_counter())
