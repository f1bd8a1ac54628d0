"""What stages are made of: sound to blocks, blocks one or more steps further, latents to frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from liveavatar.components import Components
from liveavatar.config import ProfileConfig
from liveavatar.streaming.intake import BlockInput, Intake
from liveavatar.streaming.noise import noise_of
from liveavatar.streaming.prompts import PromptSchedule
from liveavatar.streaming.rollout import LatentBlock, Rollout
from liveavatar.streaming.session import Texts, first_block_from
from liveavatar.streaming.showing import Showing, VideoChunk
from liveavatar.tpp.links import synchronise
from liveavatar.tpp.message import Block
from liveavatar.tpp.order import StreamOrder
from liveavatar.tpp.sources import Source
from liveavatar.tpp.trace import Trace

LOOK_S = 0.02


class Credits:
    """How many blocks may be between sound and viewer: the first stage waits for one to be shown."""

    def __init__(self, in_flight: int | None) -> None:
        """in_flight: None: no limit."""
        if in_flight is not None and in_flight < 1:
            raise ValueError(f"in_flight={in_flight}: at least 1 block must be on its way")
        self.in_flight, self._shown = in_flight, -1
        self._changed = threading.Condition()

    def shown(self, block: int) -> None:
        """The viewer has taken this block."""
        with self._changed:
            self._shown = max(self._shown, block)
            self._changed.notify_all()

    def wait(self, block: int, check: Callable[[], bool]) -> bool:
        """Until this block may enter; False when `check`, which may raise, says that none will."""
        with self._changed:
            while self.in_flight is not None and block - self._shown > self.in_flight:
                if not check():
                    return False
                self._changed.wait(LOOK_S)
        return True


class Front:
    """Sound to blocks: their voice, their noise and the number of their prompt."""

    def __init__(
        self,
        order: StreamOrder,
        source: Source,
        components: Components,
        device: torch.device,
        trace: Trace,
        new_prompt: Callable[[int, str], None],
    ) -> None:
        """new_prompt: told each prompt that takes over, by number, before a block names it."""
        self.order, self.source, self.profile, self.trace = order, source, components.config, trace
        self.device, self.new_prompt = device, new_prompt
        self.intake = Intake(components.conditions(order.options), self.profile, order.options)
        self.look_ahead_s = self.intake.conditions.look_ahead_samples / self.profile.sample_rate
        self.prompts: PromptSchedule[str] = PromptSchedule(lambda prompt: prompt)
        for from_s, prompt in order.prompts:
            self.prompts.set(first_block_from(from_s, self.profile, order.options), prompt)
        self.prompt = 0
        self.emitted = 0
        self.shape = block_shape(self.profile)

    def blocks(self, credits: Credits, check: Callable[[], bool]) -> Iterator[Block]:
        """Blocks until the sound ends, or `check`, which may raise, gives False."""
        while True:
            with self.trace.waiting("viewer", self.emitted):
                if not credits.wait(self.emitted, check):
                    return
            try:
                with self.trace.waiting("sound", self.emitted):
                    piece = self.source.next(lambda: _stop_unless(check()))
            except _StopError:
                return
            if piece is None:
                break
            yield from self._made(self.intake.push(piece.samples), piece.arrived)
        if check():
            yield from self._made(self.intake.flush(), time.perf_counter())

    def _made(self, inputs: Iterator[BlockInput], arrived: float) -> Iterator[Block]:
        while True:
            begin = time.perf_counter()
            given = next(inputs, None)
            if given is None:
                return
            synchronise(self.device)
            self.trace.work("voice", begin, time.perf_counter(), given.block)
            self.trace.add("sound", arrived, arrived, given.block, look_ahead_s=self.look_ahead_s)
            self.emitted = given.block + 1
            yield self._block(given)

    def _block(self, given: BlockInput) -> Block:
        prompt = self.prompts(given.block)
        if prompt is not None:
            self.prompt += 1
            self.new_prompt(self.prompt, prompt)
        noise = noise_of(self.order.options, (self.order.seed, self.order.sample_id), given.block, self.shape)
        sound = np.clip(np.round(given.samples * 32768.0), -32768, 32767).astype(np.int16)
        return Block(given.block, given.frames, self.prompt, noise.to(self.device), given.voice, sound)


class _StopError(Exception):
    """Nobody wants the rest of the sound."""


def _stop_unless(wanted: bool) -> None:
    if not wanted:
        raise _StopError


class Denoiser:
    """Blocks a few steps further: those of one stage."""

    def __init__(self, rollout: Rollout, texts: Texts, prompt_of: Callable[[int], str], device: torch.device) -> None:
        """prompt_of: a prompt's words by its number."""
        self.rollout, self.texts, self.prompt_of, self.device = rollout, texts, prompt_of, device
        self.prompt = 0
        self.sink_wait_end: float | None = None

    def __call__(self, block: Block, trace: Trace) -> Block:
        """The block after this stage's steps. Its latents are new memory."""
        assert block.voice is not None
        text = None
        if block.prompt != self.prompt:
            self.prompt, text = block.prompt, self.texts(self.prompt_of(block.prompt))
        begin, sink = time.perf_counter(), self.rollout.sink.newest
        self.rollout.begin_block(text)
        if self.rollout.sink.newest is not sink:
            synchronise(self.device)
            trace.work("prefill", self.sink_wait_end or begin, time.perf_counter(), block.number)
            begin = time.perf_counter()
        latents = self.rollout.denoise(block.latents, block.voice)
        synchronise(self.device)
        trace.work("denoise", begin, time.perf_counter(), block.number, steps=list(self.rollout.own))
        return block.with_latents(latents)


class Presenter:
    """Latents to frames."""

    def __init__(self, showing: Showing) -> None:
        self.showing = showing

    def __call__(self, block: Block, trace: Trace) -> VideoChunk:
        """The frames that are shown of a block."""
        begin = time.perf_counter()
        (chunk,) = self.showing.take(LatentBlock(block.latents, block.number, begin, begin), block.frames)
        trace.work("decode", begin, time.perf_counter(), block.number, frames=len(chunk.frames))
        return chunk


def block_shape(profile: ProfileConfig) -> tuple[int, ...]:
    """Latents [1, C, F, H, W] of a whole block."""
    return (1, profile.transformer.in_dim, profile.block_latents, *profile.latent_size)


def first_latent(block: Block) -> Tensor:
    """What AAS makes the sink: the first latent frame of a finished block, apart from the rest."""
    return block.latents[:, :, :1].clone()
