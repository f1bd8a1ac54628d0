"""Load a profile's weights once, then open as many streams as wanted, or make files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liveavatar.checkpoints.store import WeightsFolder, open_weights
from liveavatar.config import ProfileConfig, RolloutOptions
from liveavatar.config import profile as profile_named
from liveavatar.model.codec import Codec, VaeStreamDecoder
from liveavatar.model.light_decoder import LightDecoder, LightStreamDecoder
from liveavatar.model.prepared import for_inference
from liveavatar.model.text import HashedWords
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.session import Session

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


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

    def __init__(self, config: ProfileConfig, weights: WeightsFolder) -> None:
        self.config, self.weights = config, weights
        self.codec, self.light = Codec(config.codec), LightDecoder(config.codec)
        weights.load_into("codec", self.codec)
        weights.load_into("light_decoder", self.light)
        c, tensors = config.transformer, weights.tensors("generator")
        self.transformer, self.words = S2VTransformer(c), HashedWords(c.text_dim, c.text_len)
        networks: dict[str, nn.Module] = {"transformer.": self.transformer, "words.": self.words}
        for prefix, network in networks.items():
            network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        for network in (self.codec, self.light, self.transformer, self.words):
            network.eval().requires_grad_(False)
        for_inference(self.transformer)

    @torch.inference_mode()
    def open(
        self,
        reference: np.ndarray,
        prompt: str = "",
        seed: int = 0,
        sample_id: str = "",
        options: RolloutOptions | None = None,
    ) -> Session:
        """Start a stream from a picture (uint8 [H, W, 3] of the profile's size)."""
        expected = (self.config.height, self.config.width, 3)
        if reference.shape != expected or reference.dtype != np.uint8:
            given = f"{reference.dtype} {reference.shape}"
            raise ValueError(f"reference is {given}; give uint8 {expected}, as inputs.read_picture makes it")
        options = options or self.config.rollout
        latent = self.encode_picture(reference)
        decoder = LightStreamDecoder(self.light) if options.decoder == "light" else VaeStreamDecoder(self.codec)
        decoder.prime(latent)
        text = self.words(self.words.word_ids(prompt)[None])
        return Session(self.transformer, self.config, options, decoder, text, latent, (seed, sample_id))

    def encode_picture(self, picture: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> latent [1, z, 1, h, w], coded alone."""
        video = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
        return self.codec.encode(video)

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
            session = self.open(picture, prompt, seed, sample_id, options)
            log.span(*session.prefill_span)
            for chunks in (session.push(voice), session.flush()):
                for chunk in chunks:
                    for span in chunk.spans:
                        log.span(*span, block=chunk.block, frames=len(chunk.frames))
                    begin = time.perf_counter()
                    writer.write(chunk.frames)
                    log.span("output", begin, time.perf_counter(), block=chunk.block, frames=len(chunk.frames))
                    if progress is not None:
                        progress(session.frames_out, -(-len(voice) // c.samples_per_frame))
        return GenerationResult(session.frames_out, c.fps, c.width, c.height, time.perf_counter() - start)


def load(profile: str = "nano", device: str = "cpu", weights: Path | None = None) -> Pipeline:
    """The pipeline of a profile with its shipped weights, or those of another folder."""
    if device != "cpu":
        raise ValueError(f"device={device!r}: the nano profile runs on 'cpu'")
    config = profile_named(profile)
    return Pipeline(config, open_weights(weights or SHIPPED_WEIGHTS / profile))
