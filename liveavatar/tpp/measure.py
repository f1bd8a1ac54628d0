"""Times of a pipeline's parts on this machine, for the simulator: each part as a stage runs it, one after another.

Random weights; the sink does not switch meanwhile, and the window is full. One device is enough, whatever the layout.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liveavatar.bench import Stopwatch, machine
from liveavatar.components import build, placement
from liveavatar.config import ProfileConfig, RolloutOptions
from liveavatar.pipeline import Pipeline
from liveavatar.streaming.intake import BlockInput, Intake
from liveavatar.streaming.noise import noise_of
from liveavatar.streaming.rollout import LatentBlock, Rollout
from liveavatar.streaming.showing import Showing
from liveavatar.tpp.message import Block, MessageForm
from liveavatar.tpp.parts import block_shape

START_TIMEOUT_S = 600


@dataclass(frozen=True)
class MeasureOptions:
    """How to measure. one_step: one step stands for all. beside: so many processes do it at once, and slow each other."""

    weights: str = "random"
    device: str = "cpu"
    dtype: str | None = None
    fp8: bool = False
    threads: int = 1
    blocks: int = 20
    one_step: bool = False
    beside: int = 1


def measure(profile: ProfileConfig, options: MeasureOptions) -> dict[str, Any]:
    """Means over blocks, in seconds, under the names that `Times` has, and what they were measured with."""
    with _others(profile, options):
        parts = _Parts(profile, options)
        seconds = parts.run(options.blocks)
    steps = [statistics.fmean(seconds[f"step {step}"]) for step in parts.steps]
    return {
        "t_dit": steps[0] if options.one_step else steps,
        "t_vae": statistics.fmean(seconds["decode"]),
        "t_voice": statistics.fmean(seconds["voice"]),
        "t_hand": statistics.fmean(seconds["hand"]),
        "t_prefill": statistics.fmean(seconds["prefill"]),
        "look_ahead_s": parts.intake.conditions.look_ahead_samples / parts.config.sample_rate,
        "block_frames": parts.config.block_frames,
        "playback_fps": parts.config.fps,
        "profile": profile.name,
        "picture": f"{parts.config.width}x{parts.config.height}",
        "options": {name: getattr(options, name) for name in options.__dataclass_fields__},
        "least_s": {name: min(each) for name, each in seconds.items()},
        "machine": machine(parts.watch.device),
    }


class _Parts:
    """Everything that the stages of a pipeline have, side by side."""

    def __init__(self, profile: ProfileConfig, options: MeasureOptions) -> None:
        torch.set_num_threads(options.threads)
        place = placement(options.device, options.dtype, options.fp8)
        size = (profile.width, profile.height)
        self.pipeline = Pipeline(build(profile.name, options.weights, place, size))
        self.config = self.pipeline.config
        self.rollout_options: RolloutOptions = replace(profile.rollout, aas=False)
        self.watch = Stopwatch(place.device)
        self.steps = range(1) if options.one_step else range(self.rollout_options.steps)

    @torch.inference_mode()
    def run(self, blocks: int) -> dict[str, list[float]]:
        """Seconds of every part, block by block, once all have warmed up."""
        self._open()
        warm = self.rollout_options.window_past + 2
        seconds: dict[str, list[float]] = {}
        for block in range(warm + blocks):
            for name, spent in self._block(block):
                seconds.setdefault(name, []).extend([spent] if block >= warm else [])
        return seconds

    def _open(self) -> None:
        c, options, pipeline = self.config, self.rollout_options, self.pipeline
        picture = np.random.default_rng(0).integers(0, 256, (c.height, c.width, 3), dtype=np.uint8)
        coded, text = pipeline.code(picture, options), pipeline.texts_of(options)("")
        self.intake = Intake(pipeline.components.conditions(options), c, options)
        given = (pipeline.transformer, options, text, coded.sink, c.block_latents, coded.motion)
        self.rollouts = [Rollout(*given, own=range(step, step + 1)) for step in self.steps]
        self.showing = Showing(pipeline.decoder(picture, options, coded), c, options)
        dtype = pipeline.transformer.casual_audio_encoder.weights.dtype
        self.form = MessageForm(c, c.transformer, dtype)
        self.buffers = [self.form.buffer(self.watch.device) for _ in range(2)]
        self.prefill: Callable[[], object] = lambda: self.rollouts[0].sink.prefill(
            pipeline.transformer, coded.sink, text, coded.motion
        )

    def _block(self, number: int) -> Iterator[tuple[str, float]]:
        """One block through all stages."""
        given: list[BlockInput] = []
        sound = np.random.default_rng(number).standard_normal(self.intake.profile.samples_per_frame).astype(np.float32)
        while not given:  # a block's look-ahead comes with the next block's sound
            spent = self.watch.seconds(lambda: given.extend(self.intake.push(0.1 * sound)))
        yield "voice", spent
        noise = noise_of(self.rollout_options, (0, "measure"), number, block_shape(self.config)).to(self.watch.device)
        x: list[Tensor] = [noise]
        for step, rollout in zip(self.steps, self.rollouts, strict=True):
            yield f"step {step}", self.watch.seconds(lambda one=rollout: x.append(one.denoise(x[-1], given[0].voice)))  # type: ignore[misc]
        block = Block(number, given[0].frames, 0, x[-1], given[0].voice, np.zeros(16, dtype=np.int16))
        yield "hand", self.watch.seconds(lambda: self._hand(block))
        latents = LatentBlock(x[-1], number, 0.0, 0.0)
        yield "decode", self.watch.seconds(lambda: list(self.showing.take(latents, given[0].frames)))
        yield "prefill", self.watch.seconds(self.prefill)

    def _hand(self, block: Block) -> None:
        """Packed, moved once, and read."""
        self.form.pack(block, self.buffers[0])
        self.buffers[1].copy_(self.buffers[0])
        self.form.unpack(self.buffers[1])


@contextmanager
def _others(profile: ProfileConfig, options: MeasureOptions) -> Iterator[None]:
    """Other processes at the same work, from before the measurement until after it."""
    context = multiprocessing.get_context("spawn")
    over, ready = context.Event(), [context.Event() for _ in range(options.beside - 1)]
    others = [context.Process(target=_keep_busy, args=(profile, options, each, over), daemon=True) for each in ready]
    for other in others:
        other.start()
    try:
        if not all(each.wait(START_TIMEOUT_S) for each in ready):
            raise RuntimeError(f"the other {len(others)} processes did not begin within {START_TIMEOUT_S} s")
        yield
    finally:
        over.set()
        for other in others:
            other.join(START_TIMEOUT_S)


def _keep_busy(profile: ProfileConfig, options: MeasureOptions, ready: Event, over: Event) -> None:
    parts = _Parts(profile, options)
    with torch.inference_mode():
        parts._open()
        number = 0
        while not over.is_set():
            for _ in parts._block(number):
                pass
            number += 1
            ready.set()
