"""The streaming loop (Algorithm 3): a condition per block in, a clean latent block out, for ever.

One function for all variants; what differs between them is a value in `RolloutOptions`. Where a block's steps are made in
several places, each has a rollout of the same stream for its own of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.config import FRAMES_PER_LATENT, RolloutOptions
from liveavatar.model.attention import Context, Seen
from liveavatar.model.positions import TokenGrid
from liveavatar.model.rope import Rotate, half_precision, rotated
from liveavatar.model.transformer import Levels, S2VTransformer, StepConstants, Voice
from liveavatar.streaming.cache import RollingCache
from liveavatar.streaming.flow import euler_step, level_grid, model_time
from liveavatar.streaming.history import disturb
from liveavatar.streaming.noise import keyed_integer
from liveavatar.streaming.sink import Offset, Prefilled, RollingSink, first_switch, switch_block

Noise = Callable[[int], Tensor]
Recode = Callable[[Tensor], Tensor]  # a latent frame [1, C, 1, H, W] -> its first frame, decoded and coded alone
Text = Callable[[int], Sequence[Seen] | None]
SinkSource = Callable[[], Tensor]  # the adapted sink's latent [1, C, 1, H, W], once it is there
REBASE_BLOCKS = 4096  # with bounded positions, time starts anew after so many blocks (half an hour at 25 fps)


@dataclass(frozen=True)
class LatentBlock:
    """One finished block: clean latents [B, C, F, H, W], its number, and when its denoising ran (monotonic seconds).

    F is the profile's block, or less for a stream's first block.
    """

    latents: Tensor
    block: int
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class StepInputs:
    """All that one evaluation reads beside the cache and the weights; names as in `S2VTransformer.step`.

    table: rotations of the block's tokens.
    """

    x: Tensor
    time: float
    voice: Voice
    text: Sequence[Seen]
    table: Tensor
    cond: Tensor | None
    levels: Levels | None
    constants: StepConstants | None


class StreamContext:
    """Attention of one block to itself, its past at one level, and the sink: all of it lies rotated in the cache."""

    def __init__(self, cache: RollingCache, block: int, table: Tensor, rotate: Rotate) -> None:
        self.cache, self.block, self.table, self.rotate = cache, block, table, rotate

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.cache.write(layer, self.block, k, v, self.table, self.rotate)
        queries = rotated(q, self.table, self.rotate)
        return F.scaled_dot_product_attention(queries, *self.cache.read(layer, self.block))


class Rollout:
    """State of one stream: caches, sink and the number of the next block. Its size never changes."""

    cache_type: type[RollingCache] = RollingCache
    sink_type: type[RollingSink] = RollingSink

    def __init__(
        self,
        model: S2VTransformer,
        options: RolloutOptions,
        text: Sequence[Seen],
        sink_latent: Tensor,
        block_latents: int,
        motion: Tensor | None = None,
        sink_offset: Offset | None = None,
        key: tuple[int, str] = (0, ""),
        recode: Recode | None = None,
        prefilled: Prefilled | None = None,
        negative: Sequence[Seen] | None = None,
        own: range | None = None,
        adapted: SinkSource | None = None,
    ) -> None:
        """sink_latent: [1, C, 1, H, W], the reference picture's latent; motion: latents before the stream [1, C, T, H, W].

        sink_offset: the release's random sink distance of (block, step); None: drawn from `key` = (seed, sample id).
        recode: for aas_content="recoded". prefilled: the sink of another stream with the same picture, motion latents and
        prompt, in place of an evaluation of its own. negative: what guidance leads away from, as `text`.
        own: the steps that are made here; the others are made by rollouts of the same stream elsewhere. adapted: where the
        new sink comes from, if block 0 is finished elsewhere; called when a step first needs it, and may wait.
        Raises ValueError where options and arguments do not fit.
        """
        self.own = range(options.steps) if own is None else own
        _check(options, motion, recode, negative, self.own, adapted)
        self.model, self.options, self.text = model, options, text
        self.levels = level_grid(options.steps, options.shift, options.grid)
        self.grid = TokenGrid(model.config, *sink_latent.shape[-2:])
        self.block_latents = block_latents
        low, high = options.sink_random
        drawn = sink_offset or (lambda block, step: keyed_integer(low, high, *key, "sink", block, step))
        self.sink = self.sink_type(options, self.grid, block_latents, drawn, self.own)
        if prefilled is None:
            self.sink.set(model, sink_latent, text, motion)
        else:
            self.sink.use(prefilled)
        self.key, self.recode = key, recode
        self.caches = [self._new_cache() for _ in (self.own if options.cache == "timestep" else range(1))]
        self.next_block = 0
        self._embedded: dict[float, Tensor] = {}  # time -> [B, 1, D]
        self._levels: tuple[Voice | None, dict[float, Levels]] = (None, {})
        self._constants: dict[float, tuple[Tensor | None, StepConstants]] = {}
        self._newest_table: tuple[int, Tensor] | None = None
        self._new_sink: SinkSource | None = adapted  # until it is the sink
        self._new_sink_text: Sequence[Seen] | None = None
        self._away: tuple[Rollout, Voice] | None = None  # guidance: the stream that the velocity is led away from
        if negative is not None and options.guidance != 1:
            plain = replace(options, guidance=1.0, aas=False)
            away = type(self)(model, plain, negative, sink_latent, block_latents, motion, sink_offset, key, own=self.own)
            self._away = (away, self.silence())

    def denoise(
        self, noise: Tensor, voice: Voice, pose: Tensor | None = None, text: Sequence[Seen] | None = None
    ) -> Tensor:
        """The next block's clean latents from its noise [1, C, F, H, W] and its voice; moves the stream on.

        Where only some steps are made here: x after the last of them from x before the first.
        pose: pose latents of this block; text: another prompt from this block on (the sink keeps what it was set with).
        """
        self.begin_block(text)
        x, voice = noise, self.model.audio_injector.prepare(voice)
        for step in self.own:
            level, next_level = self.levels[step : step + 2]
            x = euler_step(x, self.velocity(x, step, voice, pose), level, next_level)
        if self.options.cache == "clean":
            # The extra evaluation of clean-KV caching: what later blocks see is this block without noise.
            self.velocity(x, len(self.levels) - 1, voice, pose)
        self._finish(x)
        return x

    def begin_block(self, text: Sequence[Seen] | None = None) -> None:
        """What the block in hand needs before its first evaluation: another prompt, a new sink. Again: nothing more."""
        self.text = text or self.text
        if self.next_block == first_switch(self.options):  # the same prompt for the new sink wherever steps are made
            self._new_sink_text = self.text
        self._adapt_sink()

    def velocity(self, x: Tensor, step: int, voice: Voice, pose: Tensor | None = None) -> Tensor:
        """One evaluation of the block in hand, x [1, C, F, H, W] at the level of step `step`; its keys enter the cache.

        Two with guidance: without voice and with the negative prompt, led away from.
        """
        wanted = self._at_step(x, step, voice, pose)
        if self._away is None:
            return wanted
        away, silence = self._away
        away.next_block = self.next_block
        unwanted = away.velocity(x, step, _newest_frames(silence, x.shape[2]), pose)
        return unwanted + self.options.guidance * (wanted - unwanted)

    def _at_step(self, x: Tensor, step: int, voice: Voice, pose: Tensor | None) -> Tensor:
        """One evaluation of this stream, without guidance."""
        block = self.next_block
        cache = self.caches[step - self.own.start if self.options.cache == "timestep" else 0]
        self._adapt_sink()
        cache.rebase(self._origin(block))
        self.sink.place(cache, block, step)
        cond = self.sink.held(block, step).latent if self.model.config.cond_source == "sink" else pose
        time = model_time(self.levels[step])
        table, levels = self._table(block, x.device), self._levels_at(time, x, voice)
        inputs = StepInputs(x, time, voice, self.text, table, cond, levels, self._constants_at(time, cond))
        return self._call_model(cache, block, inputs)

    def _call_model(self, cache: RollingCache, block: int, i: StepInputs) -> Tensor:
        """Keys and values of block `block` enter the cache."""
        context = self._context(cache, block, i.table)
        return self.model.step(i.x, i.time, i.voice, i.text, context, i.cond, i.levels, i.constants)

    def set_sink(self, latent: Tensor, motion: Tensor | None = None, from_block: int = 0) -> None:
        """Let blocks from `from_block` on attend to another picture [1, C, 1, H, W]; motion None: the same."""
        motion = self.sink.newest.motion if motion is None else motion
        self._set_sink(latent, motion, self.text, lambda step: from_block)

    def _set_sink(
        self, latent: Tensor, motion: Tensor | None, text: Sequence[Seen], from_block: Callable[[int], int]
    ) -> None:
        self.sink.set(self.model, latent, text, motion, from_block)
        if self._away is not None:
            self._away[0].sink.set(self.model, latent, self._away[0].text, motion, from_block)

    def _adapt_sink(self) -> None:
        """AAS: replace the sink once a step of the block in hand needs it, and not before.

        So the first block is out before the prefill runs.
        """
        if self._new_sink is None or self.next_block < first_switch(self.options, self.own):
            return
        content, self._new_sink = self._new_sink(), None
        text = self._new_sink_text or self.text
        self._set_sink(content, self.sink.newest.motion, text, partial(switch_block, self.options))

    def _finish(self, x: Tensor) -> None:
        """Block done: remember what may become the sink, disturb what others will see."""
        if self.options.aas and self.next_block == 0 and self._new_sink is None:
            first, recode = x[:, :, :1].clone(), self.recode if self.options.aas_content == "recoded" else None
            self._new_sink = lambda: first if recode is None else recode(first)
        for rollout in (self, self._away[0]) if self._away is not None else (self,):
            rollout._disturb_history()
        self.next_block += 1

    def _disturb_history(self) -> None:
        if self.options.history_noise:
            for step, cache in enumerate(self.caches, self.own.start):
                disturb(cache, self.next_block, self.options.history_noise, *self.key, "history", self.next_block, step)

    def silence(self) -> Voice:
        """What a block without sound sounds like, prepared."""
        c = self.model.config
        rows = self.sink.newest.latent.new_zeros(1, c.audio_layers, c.audio_dim, FRAMES_PER_LATENT * self.block_latents)
        return self.model.audio_injector.prepare(self.model.encode_audio(rows.to(self.model.casual_audio_encoder.weights)))

    def _missing_latents(self, block: int) -> int:
        """Latent frames that a block lacks at its beginning: a short first block has only its last."""
        return self.block_latents - 1 if block == 0 and self.options.first_block == "short" else 0

    def _origin(self, block: int) -> int:
        """The latent frame that is time 0 for block `block`. Only differences of positions matter."""
        return block // REBASE_BLOCKS * REBASE_BLOCKS * self.block_latents if self.options.positions == "bounded" else 0

    def _table(self, block: int, device: torch.device) -> Tensor:
        """Rotations of a block's tokens, made once for all its evaluations."""
        if self._newest_table is None or self._newest_table[0] != block:
            start = block * self.block_latents - self._origin(block)
            table = self.grid.frames(torch.arange(start + self._missing_latents(block), start + self.block_latents))
            table = half_precision(table) if self.options.rope_factors == "half" else table
            self._newest_table = (block, table.to(device))
        return self._newest_table[1]

    def _levels_at(self, time: float, x: Tensor, voice: Voice) -> Levels | None:
        """What the model makes of a time: kept for the whole stream, or for a block where the voice is heard there too."""
        if torch.is_grad_enabled():
            return None
        # One time at a time, whoever makes which steps: more of them in one product would round otherwise.
        of_voice = voice if self.model.config.voice_in_time else None
        if self._levels[0] is not of_voice:
            self._levels = (of_voice, {})
        levels = self._levels[1]
        if time not in levels:
            levels[time] = self.model.levels(self._embedded_time(time, x), None if of_voice is None else of_voice.pooled)
        return levels[time]

    def _embedded_time(self, time: float, x: Tensor) -> Tensor:
        """A block's time through the model's embedding [B, 1, D]; made once."""
        if time not in self._embedded:
            given = torch.tensor(time, dtype=torch.float64, device=x.device)
            self._embedded[time] = self.model.embed_times(given.expand(x.shape[0], 1))
        return self._embedded[time]

    def _constants_at(self, time: float, cond: Tensor | None) -> StepConstants | None:
        """What the model makes of a time and of the latents beside the noisy ones: kept while those are the same."""
        if torch.is_grad_enabled():
            return None
        if time not in self._constants or self._constants[time][0] is not cond:
            self._constants[time] = (cond, self.model.constants(time, cond))
        return self._constants[time][1]

    def _context(self, cache: RollingCache, block: int, table: Tensor) -> Context:
        return StreamContext(cache, block, table, self.model.rotate)

    def _new_cache(self) -> RollingCache:
        keys, per_frame = self.sink.keys, self.grid.frame_tokens
        return self.cache_type(
            self.model.config,
            self.options.window_past + 1,
            self.block_latents * per_frame,
            beside=self.sink.tokens,
            like=keys,
            missing=self._missing_latents(0) * per_frame,
            heads=keys.shape[2],
        )


def _newest_frames(voice: Voice, frames: int) -> Voice:
    """The last `frames` latent frames of a voice."""
    if voice.local.shape[1] == frames:
        return voice
    return Voice(voice.local[:, -frames:], voice.pooled[:, -frames:])


def _check(
    options: RolloutOptions,
    motion: Tensor | None,
    recode: Recode | None,
    negative: Sequence[Seen] | None,
    own: range,
    adapted: SinkSource | None,
) -> None:
    """Raise ValueError where an option lacks what it works on, or is given what it leaves out."""
    is_whole = own == range(options.steps)
    if not own or own.step != 1 or own.start < 0 or own.stop > options.steps:
        raise ValueError(f"own={own}: give some of the {options.steps} steps, in order and without gaps")
    if options.cache == "clean" and not is_whole:
        raise ValueError("cache='clean' finishes a block before the next begins: all its steps must be made in one place")
    if options.aas and not is_whole and adapted is None:
        raise ValueError("where only some steps are made, AAS needs adapted: where the new sink comes from")
    if options.guidance != 1 and negative is None:
        raise ValueError(f"guidance={options.guidance} needs negative, the prompt to be led away from; an empty one will do")
    if options.motion == "still" and motion is None:
        raise ValueError("motion='still' needs the motion latents of the picture; give motion, or set motion='none'")
    if options.motion == "none" and motion is not None:
        raise ValueError("motion='none' takes no motion latents; give none, or set motion='still'")
    if options.aas and options.aas_content == "recoded" and recode is None and adapted is None:
        raise ValueError("aas_content='recoded' needs recode, a codec's way there and back; or set aas_content='latent'")


@torch.inference_mode()
def stream_blocks(
    rollout: Rollout, voices: Iterable[Voice], noise: Noise, text: Text = lambda block: None
) -> Iterator[LatentBlock]:
    """Yield one clean latent block per voice, oldest first; ends only when `voices` does.

    text: the prompt from a block on, None where it stays what it was.
    """
    for voice in voices:
        block, begin_s = rollout.next_block, time.perf_counter()
        latents = rollout.denoise(noise(block), voice, text=text(block))
        yield LatentBlock(latents, block, begin_s, time.perf_counter())
