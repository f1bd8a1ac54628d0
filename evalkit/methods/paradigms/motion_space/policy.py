"""Windows of motion that overlap and are cross-faded, smoothed and rendered: no picture is ever fed back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evalkit.methods.base import TIMELINE, VIDEO, Generation, Inputs, Session
from evalkit.methods.paradigms import Scheme
from evalkit.methods.paradigms.motion_space.networks import MotionCodec, MotionDenoiser, Source, voice_rows
from evalkit.methods.paradigms.notes import notes
from evalkit.methods.paradigms.sampling import Sampler, clip_noise
from evalkit.methods.timelines import Stopwatch

if TYPE_CHECKING:
    from liveavatar.components import Components

RENDERED_AT_ONCE = 16


@dataclass(frozen=True)
class MotionSpace:
    """80 frames a window, 10 of them shared; two branches; a 3-frame mean in the end."""

    sampler: Sampler = field(default_factory=lambda: Sampler(shift=1.0))
    guidance_scale: float = 2.0
    window: int = 80
    overlap: int = 10

    def open(self, folder: Path, scheme: Scheme) -> MotionSession:
        """A session with the networks of a weights folder."""
        from evalkit.methods.paradigms.weights import with_teacher
        from liveavatar.components import build, placement

        opened = with_teacher(folder)
        codec, denoiser = load_networks(opened.own.tensors("motion_codec"), opened.own.tensors("motion_diffusion"))
        return MotionSession(self, build("nano", opened, placement("cpu", "float32")), codec, denoiser, scheme)

    @torch.inference_mode()
    def denoise(self, denoiser: MotionDenoiser, heard: Tensor, initial: Tensor, still: Tensor, noise: Tensor) -> Tensor:
        """One window's motion [n, M] at unit spread, from its noise; heard [n, width], initial and still [M]."""

        def velocity(x: Tensor, level: float) -> Tensor:
            levels = torch.tensor([level])
            told = (initial[None], still[None])
            without = denoiser(x[None], levels, None, *told)[0]
            return torch.lerp(without, denoiser(x[None], levels, heard[None], *told)[0], self.guidance_scale)

        return self.sampler.run(noise, velocity)


class MotionStream:
    """Motion of a stream: rows of voice in, finished motion out, as soon as a window is full."""

    def __init__(self, policy: MotionSpace, denoiser: MotionDenoiser, still: Tensor, key: tuple[int, str]) -> None:
        """still [M]: the picture's own motion, at unit spread; the first window's initial motion as well."""
        self.policy, self.denoiser, self.still, self.key = policy, denoiser, still, key
        self.heard = torch.zeros(0, denoiser.width)
        self.initial, self.tail = still, torch.zeros(0, len(still))
        self.number = 0
        self._unsmoothed: Tensor | None = None

    def push(self, rows: Tensor) -> Iterator[Tensor]:
        """Take voice rows [L, voice_dim]; yield finished motion [n, M]."""
        with torch.inference_mode():
            self.heard = torch.cat([self.heard, self.denoiser.heard(rows[None])[0]])
        while len(self.heard) >= self.policy.window:
            yield from self._window(self.policy.window, is_last=False)

    def finish(self) -> Iterator[Tensor]:
        """The voice has ended: what is left of it, and the motion that was held back."""
        if len(self.heard) > len(self.tail):
            yield from self._window(len(self.heard), is_last=True)
        elif len(self.tail):
            yield self._smoothed(self.tail)
        if self._unsmoothed is not None:
            yield self._smoothed(self._unsmoothed[:0], is_last=True)

    def _window(self, frames: int, is_last: bool) -> Iterator[Tensor]:
        policy = self.policy
        noise = clip_noise(self.key, self.number, (policy.window, len(self.still)))[:frames]
        made = policy.denoise(self.denoiser, self.heard[:frames], self.initial, self.still, noise)
        shared = len(self.tail)
        if shared:
            weight = torch.linspace(0, 1, shared + 2)[1:-1, None]
            made = torch.cat([torch.lerp(self.tail, made[:shared], weight), made[shared:]])
        kept = frames if is_last else frames - policy.overlap
        done, self.tail = made[:kept], made[kept:]
        self.heard, self.initial, self.number = self.heard[kept:], done[-1], self.number + 1
        yield self._smoothed(done)

    def _smoothed(self, motion: Tensor, is_last: bool = False) -> Tensor:
        """A mean of three over the stream, one frame late; the ends count twice."""
        before = motion[:1] if self._unsmoothed is None else self._unsmoothed
        whole = torch.cat([before, motion])
        padded = torch.cat([whole, whole[-1:]]) if is_last else whole
        self._unsmoothed = whole[-2:]
        return F.avg_pool1d(padded.T[None], 3, 1)[0].T if len(padded) >= 3 else padded[:0]


class MotionFrames:
    """Frames of one stream: samples in, pictures uint8 [n, H, W, 3] out, as soon as a window is full."""

    def __init__(self, session: MotionSession, inputs: Inputs, seed: int, watch: Stopwatch) -> None:
        from liveavatar.inputs import read_picture

        self.session, self.watch, config = session, watch, session.components.config
        pixels = torch.from_numpy(read_picture(inputs.image, config.height, config.width).copy())
        with torch.inference_mode():
            self.source = session.codec.source(pixels.permute(2, 0, 1)[None].float() / 127.5 - 1)
        still = session.denoiser.normed(self.source.motion[0])
        self.motion = MotionStream(session.policy, session.denoiser, still, (seed, inputs.id))
        self.front = session.components.conditions(config.rollout)
        self.samples = self.frames = self.windows = 0

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Take float samples; yield the frames of each window that is full now."""
        self.samples += len(samples)
        yield from self._rendered(self._moved(self.front.push(samples)))

    def flush(self) -> Iterator[np.ndarray]:
        """The sound has ended: its last frames, as many as it has."""
        config = self.session.components.config
        frames = -(-self.samples // config.samples_per_frame)
        rest = self.front.finish(-(-frames // config.block_frames))
        yield from self._rendered(chain(self._moved(rest), self.motion.finish()), frames)

    def _moved(self, voices: Iterator[Any]) -> Iterator[Tensor]:
        for one in voices:
            yield from self.motion.push(voice_rows(one.local, one.pooled)[0])

    def _rendered(self, motion: Iterator[Tensor], most: int | None = None) -> Iterator[np.ndarray]:
        begin_s = self.watch.now_s()
        for made in motion:
            left = len(made) if most is None else min(len(made), most - self.frames)
            if left <= 0:
                continue
            self.watch.span("denoise", self.windows, begin_s)
            begin_s = self.watch.now_s()
            shown = self.session.render(self.source, made[:left])
            self.watch.span("decode", self.windows, begin_s)
            self.frames += left
            yield shown
            self.windows += 1
            begin_s = self.watch.now_s()


class MotionListening:
    """Frames that are made and handed over, and then dropped."""

    def __init__(self, frames: MotionFrames) -> None:
        self.frames = frames

    def push(self, samples: np.ndarray) -> Iterator[int]:
        """Frames of each chunk that these samples complete."""
        yield from map(len, self.frames.push(samples))

    def flush(self) -> Iterator[int]:
        """Frames of what is left when the sound has ended."""
        yield from map(len, self.frames.flush())


class MotionSession(Session):
    """The networks, loaded; frames are made as the voice arrives."""

    def __init__(
        self, policy: MotionSpace, components: Components, codec: MotionCodec, denoiser: MotionDenoiser, scheme: Scheme
    ) -> None:
        self.policy, self.components, self.scheme = policy, components, scheme
        self.codec, self.denoiser = codec.eval().requires_grad_(False), denoiser.eval().requires_grad_(False)

    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        """The whole voice at once."""
        from liveavatar.inputs import read_voice
        from liveavatar.output import VideoWriter

        config, watch = self.components.config, Stopwatch()
        voice = read_voice(inputs.audio)
        frames = MotionFrames(self, inputs, seed, watch)
        writer = VideoWriter(
            out_dir / VIDEO, config.width, config.height, config.fps, voice, config.sample_rate, audio_codec="flac"
        )
        with writer:
            for made in chain(frames.push(voice), frames.flush()):
                begin_s = watch.now_s()
                writer.write(made)
                watch.span("output", frames.windows, begin_s, len(made))
        wall_s = watch.write(out_dir / TIMELINE)
        details: dict[str, Any] = {
            "width": config.width,
            "height": config.height,
            "wall_s": wall_s,
            **notes(self.scheme, self.policy),
            "branches": 2,
        }
        return Generation(out_dir / VIDEO, out_dir / TIMELINE, writer.frames_written, float(config.fps), details)

    def listen(self, inputs: Inputs, seed: int) -> MotionListening:
        """Piece by piece: a window begins when the voice of all its frames is there."""
        return MotionListening(MotionFrames(self, inputs, seed, Stopwatch()))

    @torch.inference_mode()
    def render(self, source: Source, motion: Tensor) -> np.ndarray:
        """Motion [n, M] at unit spread to frames uint8 [n, H, W, 3]."""
        parts = [self.codec.render(source, self.denoiser.plain(part)) for part in motion.split(RENDERED_AT_ONCE)]
        pixels = torch.cat(parts).permute(0, 2, 3, 1)
        return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()


def load_networks(codec: dict[str, Tensor], denoiser: dict[str, Tensor]) -> tuple[MotionCodec, MotionDenoiser]:
    """Both networks at the sizes that their weights have."""
    width, (motion_dim, flat) = codec["mix.weight"].shape[0], codec["to_motion.weight"].shape
    made = MotionCodec(width, motion_dim, flat // width)
    made.load_state_dict(codec)
    width = denoiser["enter.weight"].shape[0]  # the heads do not show in the weights: they are the default's
    layers = 1 + max(int(name.split(".")[2]) for name in denoiser if name.startswith("layers.layers."))
    network = MotionDenoiser(
        denoiser["voice.weight"].shape[1], width, layers, motion_dim=denoiser["mean"].shape[0]
    )
    network.load_state_dict(denoiser)
    return made, network
