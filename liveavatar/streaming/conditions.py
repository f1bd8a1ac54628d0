"""Audio in, one voice condition per block out, incrementally.

Samples may come in pieces of any size: they are buffered and turned into rows block by block, always with the same
shapes, so streamed and offline results are the same to the bit. Nothing is heard twice: the encoder goes on from its past.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import AudioConfig, ProfileConfig
from liveavatar.model.audio import HISTORY_ROWS
from liveavatar.model.speech_encoder import CONTEXT_ROWS, SpeechEncoder, SpeechPast
from liveavatar.model.transformer import S2VTransformer, Voice
from liveavatar.streaming.features import samples_for_rows, voice_rows


class Conditions(Protocol):
    """What a session asks of a voice front end."""

    next_block: int
    look_ahead_samples: int

    def push(self, samples: np.ndarray) -> Iterator[Voice]:
        """Take float samples [n] in [-1, 1] and yield the voices of all blocks that are now complete."""

    def finish(self, blocks: int) -> Iterator[Voice]:
        """The sound has ended: yield what is missing of the stream's first `blocks` blocks, silence behind the sound."""


class VoiceConditions:
    """Buffers samples and encodes each block as soon as its look-ahead has arrived. Memory is one block and a bit."""

    def __init__(
        self, model: S2VTransformer, speech: SpeechEncoder, profile: ProfileConfig, audio_history: str = "previous"
    ) -> None:
        """audio_history: what the encoder sees before a block's own rows, as `RolloutOptions` names it."""
        assert isinstance(profile.audio, AudioConfig)
        self.model, self.speech, self.profile, self.audio = model, speech, profile, profile.audio
        self.audio_history = audio_history
        self.next_block = 0
        self.past = SpeechPast()
        self.history: Tensor | None = None  # the newest states of the block before [1, 1, C, HISTORY_ROWS]
        per_frame, look_ahead = profile.samples_per_frame, profile.audio.look_ahead_frames
        # Rows are `look_ahead` frames later than the frame they belong to; before the stream there was silence, which the
        # first block's voice is made from too.
        before = CONTEXT_ROWS + HISTORY_ROWS
        self.pending = np.zeros(max(0, before - look_ahead) * per_frame, dtype=np.float32)
        self._skip = max(0, look_ahead - before) * per_frame
        self.block_samples = profile.block_frames * per_frame
        self._first_rows = before + profile.block_frames
        needed = samples_for_rows(profile.audio, self._first_rows, per_frame)
        # Samples after a block's own end that it waits for: the latency that the front end adds.
        self.look_ahead_samples = needed - (self._first_rows - look_ahead) * per_frame

    def push(self, samples: np.ndarray) -> Iterator[Voice]:
        """Take float samples [n] in [-1, 1] and yield the voices of all blocks that are now complete."""
        samples = np.asarray(samples, dtype=np.float32)
        drop = min(self._skip, len(samples))
        self._skip -= drop
        self.pending = np.concatenate([self.pending, samples[drop:]])
        while len(self.pending) >= (needed := samples_for_rows(self.audio, self._rows, self.profile.samples_per_frame)):
            heard = self._rows * self.profile.samples_per_frame
            voice = self._encode(torch.from_numpy(self.pending[:needed].copy()))
            self.pending = self.pending[heard:]
            self.next_block += 1
            yield voice

    @property
    def _rows(self) -> int:
        """Rows that the next block adds to what has been heard."""
        return self.profile.block_frames if self.next_block else self._first_rows

    def finish(self, blocks: int) -> Iterator[Voice]:
        """See `Conditions`."""
        while self.next_block < blocks:
            yield from self.push(np.zeros(self.block_samples, dtype=np.float32))

    @torch.inference_mode()
    def _encode(self, samples: Tensor) -> Voice:
        mels = voice_rows(samples, self.audio, self.profile.samples_per_frame)
        rows = self.speech(mels[None].to(self.speech.enter.weight), self.past).transpose(1, 2)[:, None]
        rows = rows.to(self.model.casual_audio_encoder.weights)
        if self.history is None:
            self.history, rows = rows[..., :HISTORY_ROWS], rows[..., HISTORY_ROWS:]
        voice = self.model.encode_audio(rows, self.history if self.audio_history == "previous" else None)
        self.history = rows[..., -HISTORY_ROWS:].clone()
        return voice
