"""The Python door: load an avatar once, then stream frames with their times from a picture and a voice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liveavatar.components import Size
from liveavatar.config import ProfileConfig, RolloutOptions
from liveavatar.inputs import read_picture, stream_voice
from liveavatar.pipeline import GenerationResult, Pipeline, TimedPrompt, load
from liveavatar.streaming.session import Session, VideoChunk

Voice = Path | str | np.ndarray | Iterable[np.ndarray]


@dataclass(frozen=True)
class Frame:
    """One picture of the video: uint8 [H, W, 3], RGB, shown at `time_s` of the voice; made in block number `block`."""

    pixels: np.ndarray
    time_s: float
    block: int


class Avatar:
    """A loaded profile. `stream` is the short way; `session` gives the pieces to those who push sound themselves."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    @classmethod
    def load(
        cls,
        profile: str = "nano",
        weights: Path | str | None = None,
        *,
        device: str = "cpu",
        dtype: str | None = None,
        fp8: bool = False,
        offload: bool = False,
        size: Size | None = None,
        host_caches: bool = False,
        graphs: bool = False,
        compiled: bool = False,
        variant: str | None = None,
    ) -> Avatar:
        """ "nano" with its shipped weights, or "s2v-14b" from a checkpoint folder; options as in `pipeline.load`."""
        how = {"host_caches": host_caches, "graphs": graphs, "compiled": compiled}
        return cls(load(profile, device, weights, dtype, fp8, offload, size, variant=variant, **how))

    @property
    def config(self) -> ProfileConfig:
        """Sizes, playback rate and the rollout's defaults."""
        return self.pipeline.config

    def stream(
        self,
        reference: Path | str | np.ndarray,
        voice: Voice,
        prompt: str = "",
        *,
        prompts: Iterable[TimedPrompt] = (),
        seed: int = 0,
        options: RolloutOptions | None = None,
    ) -> Iterator[Frame]:
        """Yield frames as they are made, as long as the voice lasts, which may be for ever.

        reference: a picture file, or uint8 [H, W, 3] of the profile's size. voice: a sound file, float samples [n] in
        [-1, 1] at `config.sample_rate`, or any iterable of such pieces; how it is cut does not matter. prompts: (seconds,
        prompt) pairs that take over in mid-stream. Raises InputError for files that cannot be used.
        """
        session = self.session(reference, prompt, prompts=prompts, seed=seed, options=options)
        for samples in _pieces(voice):
            yield from _frames(session.push(samples), self.config.fps)
        yield from _frames(session.flush(), self.config.fps)

    def session(
        self,
        reference: Path | str | np.ndarray,
        prompt: str = "",
        *,
        prompts: Iterable[TimedPrompt] = (),
        seed: int = 0,
        options: RolloutOptions | None = None,
    ) -> Session:
        """An open stream: `push` samples into it, `set_prompt` at any time, `flush` at the end."""
        if not isinstance(reference, np.ndarray):
            reference = read_picture(reference, self.config.height, self.config.width)
        return self.pipeline.open(reference, prompt, seed, options=options, prompts=prompts)

    def generate(self, reference: Path | str, voice: Path | str, out: Path | str, prompt: str = "") -> GenerationResult:
        """A video file; more options at `Pipeline.generate`."""
        return self.pipeline.generate(Path(reference), Path(voice), Path(out), prompt)


def _pieces(voice: Voice) -> Iterable[np.ndarray]:
    if isinstance(voice, np.ndarray):
        return [voice]
    return stream_voice(voice) if isinstance(voice, Path | str) else voice


def _frames(chunks: Iterable[VideoChunk], fps: int) -> Iterator[Frame]:
    for chunk in chunks:
        for number, pixels in enumerate(chunk.frames):
            yield Frame(pixels, chunk.begin_s + number / fps, chunk.block)
