"""One stream: samples in, frames out. Intake, rollout and streaming decode, with the time each took."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import ProfileConfig, RolloutOptions
from liveavatar.model.attention import Seen
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.conditions import Conditions
from liveavatar.streaming.intake import BlockInput, Intake, lead_frames
from liveavatar.streaming.noise import noise_of
from liveavatar.streaming.prompts import PromptSchedule
from liveavatar.streaming.rollout import LatentBlock, Noise, Recode, Rollout, stream_blocks
from liveavatar.streaming.showing import Showing, Span, StreamDecoder, VideoChunk
from liveavatar.threads import all_threads

__all__ = ["Session", "Span", "StreamDecoder", "StreamParts", "Texts", "VideoChunk"]

Texts = Callable[[str], Sequence[Seen]]  # prompt -> keys and values per layer


@dataclass(frozen=True)
class StreamParts:
    """What a stream is made of: networks shared with other streams, and the decoder and conditions of this one.

    texts: a prompt's keys and values per layer. reference: latent [1, z, 1, h, w]; motion: latents before the stream
    [1, z, T, h, w], None for a stream without motion tokens. recode: as `Rollout` takes it. rollout_type: how the stream
    is held and run; all kinds compute the same. overlaps: where several blocks are complete at once, one is decoded in a
    thread while the next is denoised; same frames, and each comes when its own decoding is done. steps_beside: so many of
    the last steps are made in that thread too (`steps_to_hand_on` says of how many options allow it).
    """

    model: S2VTransformer
    conditions: Conditions
    decoder: StreamDecoder
    texts: Texts
    reference: Tensor
    motion: Tensor | None = None
    recode: Recode | None = None
    rollout_type: type[Rollout] = Rollout
    overlaps: bool = False
    steps_beside: int = 0


def steps_to_hand_on(options: RolloutOptions, wanted: int) -> int:
    """How many of the `wanted` last steps may be made elsewhere: at most all but the first, none with clean caches."""
    return 0 if options.cache == "clean" else min(wanted, options.steps - 1)


@dataclass(frozen=True)
class _Denoised:
    """A block after the first rollout's steps, and what the other steps need: its voice, and its prompt if that changes."""

    latent: LatentBlock
    given: BlockInput
    text: Sequence[Seen] | None


class Session:
    """A stream in progress. `push` may be called for ever; state does not grow."""

    def __init__(
        self,
        parts: StreamParts,
        profile: ProfileConfig,
        options: RolloutOptions,
        prompt: str,
        noise_key: tuple[int, str],
        negative_prompt: str = "",
    ) -> None:
        """noise_key: (seed, sample id). negative_prompt: what guidance leads away from, where the options ask for it."""
        begin = time.perf_counter()
        self.profile, self.options, self.noise_key = profile, options, noise_key
        self.intake = Intake(parts.conditions, profile, options)
        self.showing = Showing(parts.decoder, profile, options)
        self.prompts = PromptSchedule(parts.texts)
        self._decoding: Future[list[VideoChunk]] | None = None
        # A new thread of Python's begins with as many OpenMP threads as there are processors, whatever torch was told.
        share = (torch.set_num_threads, (torch.get_num_threads(),))
        # Decodes; who writes frames may do that in it too (`threads.map_beside`): a third thread would take turns with both.
        self.thread = ThreadPoolExecutor(1, "decode", *share) if parts.overlaps else None
        self._first_latent: Tensor | None = None
        beside = steps_to_hand_on(options, parts.steps_beside) if parts.overlaps else 0
        with torch.inference_mode(), self._undivided(block=0):
            text = parts.texts(prompt)
            away = parts.texts(negative_prompt) if options.guidance != 1 else None
            shares = [range(options.steps - beside), range(options.steps - beside, options.steps)]
            self.rollouts = tuple(
                parts.rollout_type(
                    parts.model,
                    options,
                    text,
                    parts.reference,
                    profile.block_latents,
                    parts.motion,
                    key=noise_key,
                    recode=parts.recode,
                    negative=away,
                    own=own,
                    adapted=self._adapted_sink if beside and options.aas else None,
                )
                for own in shares
                if own
            )
        self._recode = parts.recode if options.aas_content == "recoded" else None
        self.latent_shape = (1, parts.model.config.in_dim, profile.block_latents, *profile.latent_size)
        self._device = parts.reference.device
        self.prefill_span: Span = ("prefill", begin, time.perf_counter())

    @property
    def rollout(self) -> Rollout:
        """The stream's first steps, or all of them."""
        return self.rollouts[0]

    @property
    def conditions(self) -> Conditions:
        """The stream's voice front end."""
        return self.intake.conditions

    @property
    def decoder(self) -> StreamDecoder:
        """The stream's decoder."""
        return self.showing.decoder

    @property
    def samples_in(self) -> int:
        """Samples pushed so far."""
        return self.intake.samples_in

    @property
    def frames_out(self) -> int:
        """Frames given so far."""
        return self.showing.frames_out

    def set_prompt(self, prompt: str, from_s: float | None = None) -> int:
        """Let another prompt hold from the next block on, or from the first block that begins at `from_s` or later.

        Returns that block's number. Blocks before it are what they would have been; the sink and the cached past keep
        what they were made with. Raises ValueError for a time that is not finite or negative.
        """
        block = self.rollout.next_block
        if from_s is not None:
            block = max(block, first_block_from(from_s, self.profile, self.options))
        self.prompts.set(block, prompt)
        return block

    def push(self, samples: np.ndarray) -> Iterator[VideoChunk]:
        """Frames of all blocks that these samples (float [n] in [-1, 1], profile sample rate) complete."""
        yield from self._shown(self._denoised(self.intake.push(samples)))

    def flush(self) -> Iterator[VideoChunk]:
        """Pad the rest with silence and yield it, cut to the voice's own length in whole frames."""
        yield from self._shown(self._denoised(self.intake.flush()))
        yield from self.showing.rest(self.intake.frames_made)

    @property
    def is_ahead(self) -> bool:
        """Whether a block is denoised whose frames nobody has taken yet: only inside `push` and `flush`, with overlap."""
        return self._decoding is not None

    def _shown(self, denoised: Iterator[_Denoised]) -> Iterator[VideoChunk]:
        for made in denoised:
            if self.thread is None or made.latent.block == 0:  # nobody should wait for the second block to see the first
                with self._undivided(made.latent.block):
                    taken = self._taken(made)
                yield from taken
                continue
            before = self._decoding
            self._decoding = self.thread.submit(self._taken, made)
            if before is not None:
                yield from before.result()
        if self._decoding is not None:
            last, self._decoding = self._decoding, None
            yield from last.result()

    def _taken(self, made: _Denoised) -> list[VideoChunk]:
        """The steps that are left, and the frames."""
        latent, spans = made.latent, []
        for rollout in self.rollouts[1:]:
            spans.append(("denoise", latent.begin_s, latent.end_s))
            latent = _steps(rollout, made.given, lambda _: made.latent.latents, made.text)
        if latent.block == 0:
            self._first_latent = latent.latents[:, :, :1].clone()
        return [replace(chunk, spans=spans + chunk.spans) for chunk in self.showing.take(latent, made.given.frames)]

    def _denoised(self, inputs: Iterable[BlockInput]) -> Iterator[_Denoised]:
        """Each block after the first rollout's steps."""
        for given in inputs:
            with torch.inference_mode(), self._undivided(given.block):
                text = self.prompts(given.block)
                latent = _steps(self.rollout, given, self._noise, text)
            yield _Denoised(latent, given, text)

    def _adapted_sink(self) -> Tensor:
        """AAS where steps are shared: block 0 is finished before the next begins, so nobody waits."""
        assert self._first_latent is not None
        return self._first_latent if self._recode is None else self._recode(self._first_latent)

    def _undivided(self, block: int) -> contextlib.AbstractContextManager[None]:
        """Until the first block is out there is nothing to overlap: it may have all of the process's threads."""
        return all_threads() if self.thread is not None and block == 0 else contextlib.nullcontext()

    def _noise(self, block: int) -> Tensor:
        return noise_of(self.options, self.noise_key, block, self.latent_shape).to(self._device)


def _steps(rollout: Rollout, given: BlockInput, noise: Noise, text: Sequence[Seen] | None) -> LatentBlock:
    """A rollout's steps of one block."""
    (latent,) = stream_blocks(rollout, [given.voice], noise, lambda _: text)
    return latent


def first_block_from(from_s: float, profile: ProfileConfig, options: RolloutOptions) -> int:
    """The first block that begins at `from_s` seconds of the stream or later; raises ValueError for no time at all."""
    if not math.isfinite(from_s) or from_s < 0:
        raise ValueError(f"from_s={from_s}: give seconds from the stream's start, 0 or more")
    # A time written with few digits must still mean the block that begins there.
    frames = from_s * profile.fps + lead_frames(profile, options)
    return 0 if from_s == 0 else math.ceil(frames / profile.block_frames - 1e-6)
