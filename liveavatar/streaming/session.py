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
from liveavatar.streaming.rollout import LatentBlock, Rollout, stream_blocks

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
    ) -> None:
        """reference: latent [1, z, 1, h, w]; decoder: a primed stream decoder; noise_key: (seed, sample id)."""
        begin = time.perf_counter()
        self.profile, self.decoder, self.noise_key = profile, decoder, noise_key
        with torch.inference_mode():
            text = model.encode_text(text_rows)
            self.rollout = Rollout(model, options, text, reference, profile.block_latents, key=noise_key)
        self.options, self.conditions = options, VoiceConditions(model, profile)
        self.samples_in = self.frames_out = self._frames_made = 0
        self.latent_shape = (1, model.config.in_dim, profile.block_latents, *profile.latent_size)
        self.prefill_span: Span = ("prefill", begin, time.perf_counter())

    def push(self, samples: np.ndarray) -> Iterator[VideoChunk]:
        """Frames of all blocks that these samples (float [n] in [-1, 1], profile sample rate) complete."""
        self.samples_in += len(samples)
        voices = self.conditions.push(samples)
        for latent in stream_blocks(self.rollout, voices, self._noise):
            yield self._decode(latent, self.profile.block_frames)

    def flush(self) -> Iterator[VideoChunk]:
        """Pad the rest with silence and yield it, cut to the voice's own length in whole frames."""
        per_frame = self.profile.samples_per_frame
        wanted = -(-self.samples_in // per_frame)
        while self._frames_made < wanted:
            silence = np.zeros(self.conditions.block_samples, dtype=np.float32)
            for latent in stream_blocks(self.rollout, self.conditions.push(silence), self._noise):
                frames = min(self.profile.block_frames, wanted - self._frames_made)
                if frames > 0:
                    yield self._decode(latent, frames)

    def _noise(self, block: int) -> Tensor:
        if self.options.noise == "clip":
            return clip_noise(self.noise_key[0], block, self.options.clip_blocks, self.latent_shape)
        return block_noise(*self.noise_key, block, self.latent_shape)

    @torch.inference_mode()
    def _decode(self, latent: LatentBlock, frames: int) -> VideoChunk:
        begin = time.perf_counter()
        dropped = RELEASE_DROPS if self.options.first_block == "release" and latent.block == 0 else 0
        pixels = self.decoder.decode(latent.latents)[0, :, dropped:frames]  # type: ignore[attr-defined]
        picture = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().numpy()
        self._frames_made += frames
        self.frames_out += len(picture)
        spans = [("denoise", latent.begin_s, latent.end_s), ("decode", begin, time.perf_counter())]
        return VideoChunk(picture, latent.block, spans)
