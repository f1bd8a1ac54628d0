"""Load a profile's networks once, then open as many streams as wanted, or make files: the same code for every profile."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from liveavatar.components import SHIPPED_WEIGHTS, Components, Placement, Size, build, placement
from liveavatar.config import RolloutOptions
from liveavatar.model.codec import ClipDecoder, VaeStreamDecoder
from liveavatar.model.light_decoder import LightStreamDecoder
from liveavatar.streaming.graphs import GraphedRollout, can_record
from liveavatar.streaming.host_cache import HostCachedRollout
from liveavatar.streaming.picture import PictureLatents, picture_latents, recoder
from liveavatar.streaming.prompts import TextKeys
from liveavatar.streaming.rollout import Recode, Rollout
from liveavatar.streaming.session import Session, StreamDecoder, StreamParts, Texts, VideoChunk
from liveavatar.streaming.text import TextEachCall
from liveavatar.threads import map_beside

__all__ = ["SHIPPED_WEIGHTS", "GenerationResult", "Pipeline", "TimedPrompt", "load"]

TimedPrompt = tuple[float, str]  # seconds from the stream's start, prompt


@dataclass(frozen=True)
class GenerationResult:
    """What `Pipeline.generate` made and how long it took from the first input to the closed file."""

    frames: int
    fps: float
    width: int
    height: int
    wall_s: float

    @property
    def generation_fps(self) -> float:
        """Frames per second of wall time, everything included."""
        return self.frames / self.wall_s


class Pipeline:
    """The networks of one profile on one device, shared by all sessions."""

    def __init__(
        self,
        components: Components,
        rollout_type: type[Rollout] = Rollout,
        overlaps: bool = False,
        steps_beside: int | None = None,
    ) -> None:
        """rollout_type: how streams are held and run; all kinds compute the same. overlaps, steps_beside: see `StreamParts`.

        steps_beside None: one where decoding is light enough to leave its thread the time for it.
        """
        self.components, self.config, self.rollout_type = components, components.config, rollout_type
        self.overlaps = overlaps
        is_light = components.light is not None and components.light.is_half
        self.steps_beside = int(is_light) if steps_beside is None else steps_beside
        self.codec, self.transformer = components.codec, components.transformer
        self.texts = TextKeys(components.transformer, components.prompt_rows)

    @torch.inference_mode()
    def open(
        self,
        reference: np.ndarray,
        prompt: str = "",
        seed: int = 0,
        sample_id: str = "",
        options: RolloutOptions | None = None,
        prompts: Iterable[TimedPrompt] = (),
        negative_prompt: str = "",
    ) -> Session:
        """Start a stream from a picture (uint8 [H, W, 3] of the profile's size).

        prompts: others that begin to hold in mid-stream, see `Session.set_prompt`. negative_prompt: for guidance.
        """
        options = options or self.config.rollout
        coded, conditions = self.code(reference, options), self.components.conditions(options)
        decoder, texts = self.decoder(reference, options, coded), self.texts_of(options)
        recode, kind = self.recode(reference, options), self.rollout_type
        shared = self.overlaps, self.steps_beside if options.decoder == "light" else 0
        parts = StreamParts(
            self.transformer, conditions, decoder, texts, coded.sink, coded.motion, recode, kind, *shared
        )
        session = Session(parts, self.config, options, prompt, (seed, sample_id), negative_prompt)
        for from_s, later in prompts:
            session.set_prompt(later, from_s)
        return session

    def code(self, reference: np.ndarray, options: RolloutOptions) -> PictureLatents:
        """What a stream with these options makes of its picture (uint8 [H, W, 3] of the profile's size)."""
        expected = (self.config.height, self.config.width, 3)
        if reference.shape != expected or reference.dtype != np.uint8:
            given = f"{reference.dtype} {reference.shape}"
            raise ValueError(f"reference is {given}; give uint8 {expected}, as inputs.read_picture makes it")
        picture = self._as_video(reference)
        return picture_latents(self.codec, picture, options, self.config.transformer.motion_latents)

    def recode(self, reference: np.ndarray, options: RolloutOptions) -> Recode | None:
        """For aas_content="recoded": what makes a picture of a stream's first latent frame, and codes it again."""
        return recoder(self.codec, self.encode_picture(reference)) if options.aas_content == "recoded" else None

    def encode_picture(self, picture: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> float32 latent [1, z, 1, h, w], coded alone."""
        return self.codec.encode(self._as_video(picture))

    def _as_video(self, picture: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> [1, 3, 1, H, W] in [-1, 1] on the codec's device."""
        device = next(self.codec.parameters()).device
        return torch.from_numpy(picture.copy()).to(device).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1

    def texts_of(self, options: RolloutOptions) -> Texts:
        """A prompt's keys and values per layer: kept, or made anew in each evaluation."""
        if options.text_keys == "cached":
            return self.texts
        return lambda prompt: TextEachCall(self.transformer, self.components.prompt_rows(prompt))

    def decoder(self, reference: np.ndarray, options: RolloutOptions, coded: PictureLatents) -> StreamDecoder:
        """The decoder that the options name, which has seen the still picture: what comes out next are whole blocks."""
        if options.decode == "end":
            return ClipDecoder(self.codec, self._as_video(reference), options.still_frames)
        if options.decoder == "light" and self.components.light is None:
            raise ValueError(f"decoder='light': profile {self.config.name} has none; use decoder='vae'")
        light = self.components.light if options.decoder == "light" else None
        decoder = VaeStreamDecoder(self.codec) if light is None else LightStreamDecoder(light)
        decoder.prime(coded.priming)
        return decoder

    def generate(
        self,
        reference: Path,
        audio: Path,
        out: Path,
        prompt: str = "",
        seed: int = 0,
        sample_id: str = "",
        options: RolloutOptions | None = None,
        timeline: Path | None = None,
        audio_codec: str = "aac",
        progress: Callable[[int, int], None] | None = None,
        prompts: Iterable[TimedPrompt] = (),
    ) -> GenerationResult:
        """A video file from a picture file and a voice file; frames are written as they are made.

        progress: called with (frames written, frames in all) after each block. Raises InputError and OutputError.
        """
        from liveavatar.inputs import read_picture, read_voice
        from liveavatar.output import Timeline, VideoWriter

        c, start = self.config, time.perf_counter()
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(Timeline(timeline))
            picture, voice = read_picture(reference, c.height, c.width), read_voice(audio)
            writer = stack.enter_context(
                VideoWriter(out, c.width, c.height, c.fps, voice, audio_rate=c.sample_rate, audio_codec=audio_codec)
            )
            session = self.open(picture, prompt, seed, sample_id, options, prompts)
            log.span(*session.prefill_span)

            def written(chunk: VideoChunk) -> tuple[VideoChunk, float, float]:
                begin = time.perf_counter()
                writer.write(chunk.frames)
                return chunk, begin, time.perf_counter()

            chunks = itertools.chain(session.push(voice), session.flush())
            for chunk, begin, end in map_beside(written, chunks, session.thread):
                for span in (*chunk.spans, ("output", begin, end)):
                    log.span(*span, block=chunk.block, frames=len(chunk.frames))
                if progress is not None:
                    progress(writer.frames_written, -(-len(voice) // c.samples_per_frame))
        return GenerationResult(session.frames_out, c.fps, c.width, c.height, time.perf_counter() - start)


def load(
    profile: str = "nano",
    device: str = "cpu",
    weights: Path | str | None = None,
    dtype: str | None = None,
    fp8: bool = False,
    offload: bool = False,
    size: Size | None = None,
    *,
    host_caches: bool = False,
    graphs: bool = False,
    compiled: bool = False,
    variant: str | None = None,
    overlaps: bool = False,
) -> Pipeline:
    """The pipeline of a profile with its shipped weights, those of another folder, or random ones.

    device: a torch device. weights: a folder; "random" or "random-tiny" to measure and to test. dtype: "float32" or
    "bfloat16"; None suits the device. fp8: linear layers of the transformer in 8 bits. offload: the text encoder stays on
    the processor, and the transformer's blocks wait in its memory. size: width and height of the video in pixels, multiples
    of 16. host_caches: keys and values of the past wait in host memory. graphs: whole evaluations are recorded once and
    replayed (CUDA graphs). compiled: the transformer's blocks go through torch.compile at the first block of the first
    stream. variant: of nano's weights, trained otherwise (docs/nano.md names them). overlaps: where several blocks are
    complete at once, one is decoded in a thread while the next is denoised (`threads.share_threads` makes room for both).
    Raises ValueError for what does not exist or does not go together, WeightsError for what is wrong with a folder.
    """
    place = placement(device, dtype, fp8, offload, compiled)
    kind = rollout_type(place, host_caches, graphs)
    return Pipeline(build(profile, weights, place, size, variant=variant), kind, overlaps)


def rollout_type(place: Placement, host_caches: bool, graphs: bool) -> type[Rollout]:
    """How streams in this placement are held and run; raises ValueError for what does not go together."""
    if graphs and (host_caches or place.offload):
        raise ValueError("graphs record the work of one device; leave out graphs, or offload and host_caches")
    if graphs and not can_record(place.device):
        raise ValueError(f"device {str(place.device)!r} cannot record graphs of its work; leave out graphs")
    return GraphedRollout if graphs else HostCachedRollout if host_caches else Rollout
