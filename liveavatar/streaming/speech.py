"""Sound in, one voice condition per block out, for a voice encoder that looks both ways (wav2vec2).

Such an encoder has no causal answer, so what a block hears is defined here, for streams and files alike: the encoder's
states of a window of sound that ends a fixed look-ahead after the block, normalised over that window. A window belongs
to its block, not to the pieces in which the sound came; so streamed and offline results are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import ProfileConfig, SpeechConfig
from liveavatar.model.audio import HISTORY_ROWS
from liveavatar.model.transformer import S2VTransformer, Voice
from liveavatar.model.wav2vec import HOP, WINDOW, Wav2VecStates, normalise_waveform, rows_of
from liveavatar.streaming.audio_bucket import frame_rows, stream_rows, to_grid_rate


class SpeechConditions:
    """Buffers samples and encodes each block as soon as its look-ahead has arrived.

    Memory is one window ("window"), one clip ("clip"), or all sound ("file", see `RolloutOptions.audio_context`).
    """

    def __init__(
        self,
        model: S2VTransformer,
        encoder: Wav2VecStates,
        profile: ProfileConfig,
        context: str = "window",
        clip_blocks: int = 4,
        audio_history: str = "repeat",
    ) -> None:
        """context, clip_blocks, audio_history: as `RolloutOptions` names them."""
        assert isinstance(profile.audio, SpeechConfig)
        self.model, self.encoder, self.profile, self.context = model, encoder, profile, context
        self.block_samples = profile.block_frames * profile.samples_per_frame
        self.window_samples = profile.audio.window_frames * profile.samples_per_frame
        self.look_ahead_samples = profile.audio.look_ahead_frames * profile.samples_per_frame if context == "window" else 0
        self.unit = clip_blocks if context == "clip" else 1  # blocks that are encoded together
        self.audio_history = audio_history
        self.before: Tensor | None = None  # the newest rows of the block before [1, layers, C, HISTORY_ROWS]
        self.next_block = 0
        self.held = np.zeros(0, dtype=np.float32)
        self.held_from = 0  # number of the first held sample, counted from the stream's start

    def push(self, samples: np.ndarray) -> Iterator[Voice]:
        """Take float samples [n] in [-1, 1] and yield the voices of all blocks that are now complete."""
        self.held = np.concatenate([self.held, np.asarray(samples, dtype=np.float32)])
        while self.context != "file" and self.held_from + len(self.held) >= self._end(self.unit) + self.look_ahead_samples:
            yield from self._encode(self.unit)

    def finish(self, blocks: int) -> Iterator[Voice]:
        """The sound has ended: yield what is missing of the stream's first `blocks` blocks, silence behind the sound."""
        if self.context == "file":
            # As the release: rows behind the sound are zeros, not silence that was listened to.
            if blocks > self.next_block:
                yield from self._encode(blocks - self.next_block)
            return
        while self.next_block < blocks:
            yield from self.push(np.zeros(self.block_samples, dtype=np.float32))

    def _end(self, blocks: int) -> int:
        """The sample at which the next `blocks` blocks end."""
        return (self.next_block + blocks) * self.block_samples

    @torch.inference_mode()
    def _encode(self, blocks: int) -> Iterator[Voice]:
        rows = self._rows(blocks)  # [frames, layers, C]
        self.next_block += blocks
        self._forget()
        dtype = self.model.casual_audio_encoder.weights.dtype
        for part in rows.to(dtype).split(self.profile.block_frames):
            own = part.permute(1, 2, 0)[None]
            # Released weights were trained with blocks encoded alone, the first row standing for what was before.
            yield self.model.encode_audio(own, self.before if self.audio_history == "previous" else None)
            self.before = own[..., -HISTORY_ROWS:].clone()

    def _rows(self, blocks: int) -> Tensor:
        per_block, fps = self.profile.block_frames, self.profile.fps
        end = self._end(blocks)
        if self.context == "window":
            begin = self._window_begin(end)
            frames = range(self.next_block * per_block, (self.next_block + blocks) * per_block)
            return stream_rows(self._states(begin, end + self.look_ahead_samples), begin // HOP, frames, fps)
        states = self._states(self.held_from, end if self.context == "clip" else self.held_from + len(self.held))
        return frame_rows(to_grid_rate(states), blocks * per_block, fps)

    def _window_begin(self, end: int) -> int:
        """First sample of the window of blocks that end at `end`, on the encoder's own grid of hops."""
        return max(0, end + self.look_ahead_samples - self.window_samples) // HOP * HOP

    def _states(self, begin: int, end: int) -> Tensor:
        """States [layers + 1, rows, C] of samples begin..end-1."""
        sound = torch.from_numpy(self.held[begin - self.held_from : end - self.held_from].copy())
        if rows_of(len(sound)) < 2:
            sound = torch.nn.functional.pad(sound, (0, WINDOW + HOP - len(sound)))
        device = self.model.trainable_cond_mask.weight.device
        return self.encoder(normalise_waveform(sound)[None].to(device))

    def _forget(self) -> None:
        """Let go of samples that no later block looks at."""
        keep_from = self._end(0) if self.context == "clip" else self._window_begin(self._end(1))
        if self.context != "file" and keep_from > self.held_from:
            self.held = self.held[keep_from - self.held_from :].copy()
            self.held_from = keep_from
