"""The shared teacher: a bidirectional network over latent clips, guided, with a codec and the sound of a whole file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from liveavatar.components import Components
from liveavatar.config import FRAMES_PER_LATENT
from liveavatar.model.attention import FullContext, Seen
from liveavatar.model.audio import HISTORY_ROWS
from liveavatar.model.light_decoder import LightStreamDecoder
from liveavatar.model.positions import TokenGrid
from liveavatar.model.transformer import S2VTransformer, Voice

LEAD_BLOCKS = 8  # of silence before the voice: what a first clip's context "hears"
MOST_AT_ONCE = 16  # windows in one evaluation


@dataclass(frozen=True)
class Guidance:
    """Branches, each (hears the voice, reads the text), and how far to go from each to the next.

    velocity = v0 + scales[0] (v1 - v0) + scales[1] (v2 - v1) ...
    """

    branches: tuple[tuple[bool, bool], ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.branches) - 1:
            raise ValueError(f"{len(self.branches)} branches need {len(self.branches) - 1} scales, not {len(self.scales)}")


NEITHER, VOICE, BOTH = (False, False), (True, False), (True, True)


def two_branches(scale: float) -> Guidance:
    """Nothing, and everything."""
    return Guidance((NEITHER, BOTH), (scale,))


def three_branches(voice: float, text: float) -> Guidance:
    """Nothing, the voice, and both."""
    return Guidance((NEITHER, VOICE, BOTH), (voice, text))


@dataclass(frozen=True)
class Material:
    """What a clip is made from: the picture's latent [1, z, 1, h, w], the picture [1, 3, 1, H, W], voice, text, length.

    voice: of latent frames -LEAD ... and on, see `Teacher.heard`. key: (seed, sample), what noise depends on.
    """

    reference: Tensor
    picture: Tensor
    voice: Voice
    silent: Voice
    words: Tensor
    latents: int
    key: tuple[int, str]
    texts: dict[tuple[int, tuple[tuple[bool, bool], ...]], Sequence[Seen]] = field(default_factory=dict)


class Teacher:
    """Networks of one kind, ready to be asked. dtype: what matrix products run in."""

    def __init__(
        self,
        components: Components,
        no_voice: Tensor,
        transformer: S2VTransformer | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """no_voice [audio_dim]: the learned row for no voice. transformer: a tuned one, in place of the components' own."""
        if components.light is None:
            raise ValueError("paradigms decode with the light decoder; this profile has none")
        self.components, self.config, self.codec = components, components.config, components.codec
        self.light = components.light
        self.transformer = transformer or components.transformer
        self.no_voice, self.dtype = no_voice, dtype
        self.grid = TokenGrid(self.transformer.config, *self.config.latent_size)

    # ------------------------------------------------------------------------------------------------------ material

    @torch.inference_mode()
    def prepare(self, picture: np.ndarray, samples: np.ndarray, prompt: str, key: tuple[int, str]) -> Material:
        """From a picture uint8 [H, W, 3], a whole voice (float32, 16 kHz) and a prompt."""
        config = self.config
        frames = -(-len(samples) // config.samples_per_frame)
        latents = -(-frames // FRAMES_PER_LATENT)
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
        return Material(
            reference=self.codec.encode(pixels),
            picture=pixels,
            voice=self._whole_voice(samples, latents),
            silent=self._no_voice(),
            words=self.components.prompt_rows(prompt),
            latents=latents,
            key=key,
        )

    def _whole_voice(self, samples: np.ndarray, latents: int) -> Voice:
        """The voice of all latent frames, silence before it, by the front end that streams use."""
        config = self.config
        lead = np.zeros(LEAD_BLOCKS * config.block_frames * config.samples_per_frame, np.float32)
        # A clip may reach beyond the end of the voice by its own length.
        blocks = LEAD_BLOCKS + -(-latents // config.block_latents) + LEAD_BLOCKS
        front = self.components.conditions(config.rollout)
        found = [*front.push(np.concatenate([lead, samples])), *front.finish(blocks)]
        local, pooled = (torch.cat([getattr(one, name) for one in found], dim=1) for name in ("local", "pooled"))
        return Voice(local, pooled)

    def _no_voice(self) -> Voice:
        rows = self.no_voice[None, None, :, None].to(self.transformer.casual_audio_encoder.weights)
        rows = rows.expand(1, self.transformer.config.audio_layers, -1, HISTORY_ROWS + FRAMES_PER_LATENT)
        return self.transformer.encode_audio(rows[..., HISTORY_ROWS:], rows[..., :HISTORY_ROWS])

    # ------------------------------------------------------------------------------------------------------ velocity

    @torch.inference_mode()
    def velocity(
        self,
        x: Tensor,
        level: Tensor | float,
        at: Tensor,
        material: Material,
        guidance: Guidance,
        motion: Tensor | None = None,
        times: Tensor | None = None,
        anchor_time: float | None = None,
    ) -> Tensor:
        """Guided velocities of W windows x [W, z, F, h, w].

        level: one, or [F]. at [W, F]: which latent frame of the clip each is, for its voice. motion [1, z, T, h, w]: context
        for networks that take it. times [F]: positions, 0 ... F - 1 unless told. anchor_time: the reference's position,
        as far ahead as in training unless told.
        """
        parts = [
            self._velocity(some, level, where, material, guidance, motion, times, anchor_time)
            for some, where in zip(x.split(MOST_AT_ONCE), at.split(MOST_AT_ONCE), strict=True)
        ]
        return torch.cat(parts)

    def _velocity(
        self, x: Tensor, level: Tensor | float, at: Tensor, material: Material, guidance: Guidance,
        motion: Tensor | None, times: Tensor | None, anchor_time: float | None,
    ) -> Tensor:  # fmt: skip
        windows, _, frames = x.shape[:3]
        count = len(guidance.branches)
        repeated = x.repeat(count, 1, 1, 1, 1)
        levels = torch.as_tensor(level, dtype=torch.float32).expand(frames)
        sink = material.reference.expand(count * windows, -1, -1, -1, -1)
        with self._products():
            out = self.transformer(
                repeated,
                1000 * levels.expand(count * windows, -1),
                sink,
                self._heard(material, at, guidance),
                self._read(material, windows, guidance),
                FullContext(self._table(frames, times, anchor_time, motion is not None)),
                sink if self.transformer.config.cond_source == "sink" else None,
                None if motion is None else motion.expand(count * windows, -1, -1, -1, -1),
            )
        first, *others = out.float().chunk(count)
        velocity, before = first, first
        for scale, other in zip(guidance.scales, others, strict=True):
            velocity, before = velocity + scale * (other - before), other
        return velocity

    def _products(self) -> AbstractContextManager[None]:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype is torch.bfloat16)

    def _table(self, frames: int, times: Tensor | None, anchor_time: float | None, has_motion: bool) -> Tensor:
        own = torch.arange(frames, dtype=torch.float64) if times is None else times.double()
        anchor = float(own[-1]) + self.config.rollout.sink_distance if anchor_time is None else anchor_time
        table = self.grid.frames(torch.cat([own, torch.tensor([anchor], dtype=torch.float64)]))
        return torch.cat([table, self.grid.motion()]) if has_motion else table

    def _heard(self, material: Material, at: Tensor, guidance: Guidance) -> Voice:
        """The voices of all branches for latent frames `at` [W, F]."""
        index = (at + LEAD_BLOCKS * self.config.block_latents).clamp(0, material.voice.local.shape[1] - 1)
        local, pooled = material.voice.local[0][index], material.voice.pooled[0][index]
        quiet = (material.silent.local.expand_as(local), material.silent.pooled.expand_as(pooled))
        parts = [(local, pooled) if hears else quiet for hears, _ in guidance.branches]
        return Voice(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))

    def _read(self, material: Material, windows: int, guidance: Guidance) -> Sequence[Seen]:
        """What each layer sees of the texts of all branches; made once per clip and number of windows."""
        key = (windows, guidance.branches)
        if key not in material.texts:
            rows = [material.words if reads else torch.zeros_like(material.words) for _, reads in guidance.branches]
            material.texts[key] = self.transformer.encode_text(
                torch.cat([row.expand(windows, -1, -1) for row in rows]).to(torch.float32)
            )
        return material.texts[key]

    # ------------------------------------------------------------------------------------------------------- pictures

    @torch.inference_mode()
    def decode(self, latents: Tensor, before: Tensor) -> Tensor:
        """Latents [1, z, F, h, w] to pixels [1, 3, 4F, H, W] in [-1, 1]; before [1, z, k, h, w]: what came before them."""
        decoder = LightStreamDecoder(self.light)
        decoder.prime(before)
        return decoder.decode(latents)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [1, 3, 1 + 4k, H, W] to latents [1, z, 1 + k, h, w], the first frame coded alone."""
        return self.codec.encode(pixels)
