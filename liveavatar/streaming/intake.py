"""Sound in, what each block is made of out: its voice, how many of its frames are shown, and its own samples.

A stream ends with its sound: the last block is filled with silence and cut to the sound's length in whole frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from liveavatar.config import FRAMES_PER_LATENT, ProfileConfig, RolloutOptions
from liveavatar.model.transformer import Voice
from liveavatar.streaming.conditions import Conditions


@dataclass(frozen=True)
class BlockInput:
    """Block `block`: its voice, the number of its frames that belong to the stream, and their samples, float [n].

    The last block has fewer frames, and fewer samples, than it makes; a short first block has the voice of its own frames.
    """

    block: int
    voice: Voice
    frames: int
    samples: np.ndarray


class Intake:
    """Buffers sound until a block is complete. `push` may be called for ever; state does not grow."""

    def __init__(self, conditions: Conditions, profile: ProfileConfig, options: RolloutOptions) -> None:
        self.conditions, self.profile = conditions, profile
        self.samples_in = self.frames_made = 0
        # A short first block is the end of a block whose first frames lie before the stream, in silence.
        self.lead_frames = lead_frames(profile, options)
        self._lead = np.zeros(self.lead_frames * profile.samples_per_frame, dtype=np.float32)
        self._sound = np.zeros(0, dtype=np.float32)
        self._next_block = 0

    def push(self, samples: np.ndarray) -> Iterator[BlockInput]:
        """All blocks that these samples (float [n] in [-1, 1], profile sample rate) complete."""
        samples = np.asarray(samples, dtype=np.float32)
        self.samples_in += len(samples)
        self._sound = np.concatenate([self._sound, samples])
        if len(self._lead):
            samples, self._lead = np.concatenate([self._lead, samples]), self._lead[:0]
        for voice in self.conditions.push(samples):
            yield self._block(voice, self._whole())

    def flush(self) -> Iterator[BlockInput]:
        """The rest, padded with silence and cut to the sound's own length in whole frames."""
        left = -(-self.samples_in // self.profile.samples_per_frame) - self.frames_made
        missing = self.lead_frames if self._next_block == 0 else 0
        blocks = self._next_block + (-(-(left + missing) // self.profile.block_frames) if left > 0 else 0)
        for voice in islice(self.conditions.finish(blocks), blocks - self._next_block):
            yield self._block(voice, min(self._whole(), left))
            left -= self._whole_of(self._next_block - 1)

    def first_frame(self, block: int) -> int:
        """The stream's frame with which a block begins."""
        return max(0, block * self.profile.block_frames - self.lead_frames)

    def _whole_of(self, block: int) -> int:
        return self.profile.block_frames - (self.lead_frames if block == 0 else 0)

    def _whole(self) -> int:
        """Frames of the next block."""
        return self._whole_of(self._next_block)

    def _block(self, voice: Voice, frames: int) -> BlockInput:
        latents = self._whole() // FRAMES_PER_LATENT
        if latents < voice.local.shape[1]:
            voice = Voice(voice.local[:, -latents:], voice.pooled[:, -latents:])
        count = self._whole() * self.profile.samples_per_frame
        own, self._sound = self._sound[:count], self._sound[count:]
        made = BlockInput(self._next_block, voice, frames, own)
        self.frames_made += frames
        self._next_block += 1
        return made


def lead_frames(profile: ProfileConfig, options: RolloutOptions) -> int:
    """Frames of a stream's first block that lie before the stream: none, but for a short one."""
    return profile.block_frames - FRAMES_PER_LATENT if options.first_block == "short" else 0
