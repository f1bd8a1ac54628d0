"""Tuning the teacher to take a context beside the picture: packed frames before a clip, or one latent of two frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from evalkit.methods.paradigms.loading import tuned_config
from evalkit.methods.paradigms.pixel_context import context_frames, masked
from liveavatar.config import ProfileConfig, TransformerConfig, nano
from liveavatar.model.attention import FullContext
from liveavatar.model.codec import Codec
from liveavatar.model.positions import TokenGrid
from liveavatar.model.transformer import Voice
from liveavatar.streaming.flow import add_noise
from liveavatar.training.clips import ClipDraws, ClipStage, Generator, mouth_weights
from liveavatar.training.data import LatentBatch, step_generator
from liveavatar.training.recipes import ForcingOptions

TUNED = ("blocks.", "frame_packer.", "head.", "trainable_cond_mask.")


@dataclass(frozen=True)
class ContextKind:
    """Which context: `name` of the tuned network, new latents of a clip, context latents, share of clips without any."""

    name: str
    new: int
    context: int
    none: float


KINDS = {
    "packed": ContextKind("packed", new=20, context=19, none=0.1),
    "pixel_context": ContextKind("pixel_context", new=12, context=1, none=0.0),
}


class ContextStage(ClipStage):
    """One clip, cut in two: what stands before becomes the context, what follows is denoised. All of a clip has one level.

    Everything but blocks, head and the context's own layers stays the teacher's, the audio encoder above all.
    """

    def __init__(
        self, kind: ContextKind, teacher: dict[str, Tensor], codec: Codec, shards: Path, seed: int, batch: int,
        profile: ProfileConfig | None = None,
    ) -> None:  # fmt: skip
        """teacher: its tensors; new layers begin as initialised. Raises ValueError for shards that are too short."""
        base = profile or nano()
        transformer = tuned_config(kind.name) if profile is None else _with_motion(profile, kind)
        super().__init__(replace(base, transformer=transformer), shards, seed, batch, ForcingOptions(attention="full"))
        torch.manual_seed(seed)
        self.kind, self.codec = kind, codec.eval().requires_grad_(False)
        self.network = Generator(self.profile)
        missing, unknown = self.network.load_state_dict(teacher, strict=False)
        if unknown or any(not name.startswith("transformer.frame_packer.") for name in missing):
            raise ValueError(f"these are no weights of the teacher: missing {missing[:3]}, unknown {unknown[:3]}")
        for name, parameter in self.network.transformer.named_parameters():
            parameter.requires_grad_(name.startswith(TUNED))
        for other in (self.network.words, self.network.no_voice):
            if other is not None:
                other.requires_grad_(False)
        held = self.held.take(torch.arange(1)).latents.shape[2]
        if held < kind.new:
            raise ValueError(
                f"clips of {held} latent frames are shorter than the {kind.new} that are denoised at once; make longer "
                f"shards: python -m genbench shards --frames {4 * (kind.new + kind.context) + 1}"
            )

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        return self.network

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted mean square of velocity errors of the new latents."""
        generator = step_generator(self.seed, "context", step)
        batch = self.data.batch(self.batch, step_generator(self.seed, "data", step))
        draws = self.draw_conditions(batch, step_generator(self.seed, "draws", step))
        level = float(torch.rand(1, generator=generator))
        error, weights = self._errors(batch, draws, level, generator)
        return (error * weights).mean(), {"plain": error.mean().item(), "level": level}

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out errors at some levels, with the context and with that of another clip (it is used if that is worse)."""
        del model  # its weights are in the network already
        batch = self.held.take(torch.arange(min(8, len(self.held))))
        draws = self.plain_conditions(batch)
        figures: dict[str, float] = {}
        for level in (0.9, 0.5, 0.2):
            made = [
                self._errors(batch, draws, level, step_generator(self.seed, "held-out", 0), roll)[0].mean().item()
                for roll in (False, True)
            ]
            figures |= {f"loss_{level:.1f}": made[0], f"context_gap_{level:.1f}": made[1] - made[0]}
        return figures

    def _errors(
        self, batch: LatentBatch, draws: ClipDraws, level: float, generator: torch.Generator, is_rolled: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Squared errors [B, z, new, h, w] and what each counts."""
        kind, latents = self.kind, batch.latents
        longest = min(kind.context, latents.shape[2] - kind.new) if kind.name == "packed" else latents.shape[2] - kind.new
        has_context = longest > 0 and float(torch.rand(1, generator=generator)) >= kind.none
        start = int(torch.randint(1, longest + 1, (1,), generator=generator)) if has_context else 0
        # Most clips of a long video have all of it.
        start = longest if has_context and float(torch.rand(1, generator=generator)) < 0.7 else start
        clean = latents[:, :, start : start + kind.new]
        noise = torch.randn(clean.shape, generator=generator)
        motion = self._shown(batch, start, generator)
        if is_rolled and motion is not None:
            motion = motion.roll(1, 0)
        whole = self.encode(self.network, batch, draws)
        voice = Voice(whole.voice.local[:, start : start + kind.new], whole.voice.pooled[:, start : start + kind.new])
        levels = torch.full(clean.shape[:1] + clean.shape[2:3], level)
        noisy = add_noise(clean, noise, torch.tensor(level))
        velocity = self.network.transformer(
            noisy, 1000 * levels, whole.sink, voice, whole.text, self._sees(clean, draws.distance, motion is not None),
            whole.sink if self.profile.transformer.cond_source == "sink" else None, motion,
        )  # fmt: skip
        error = (velocity.float() - (noise - clean)).square()
        near = mouth_weights(batch, self.clips.mouth_weight)[:, :, start : start + kind.new]
        soft = min(1.0, level / self.clips.soft_level) ** 2
        return error, near * batch.channels[:, :, None, None, None] * soft

    def _shown(self, batch: LatentBatch, start: int, generator: torch.Generator) -> Tensor | None:
        """What the network is shown beside the picture."""
        if self.kind.name == "packed":
            return batch.latents[:, :, :start] if start else None
        picture = self._frames(batch.references[:, 0].unsqueeze(2))[:, :, :1]
        before = picture.expand(-1, -1, 2, -1, -1)
        if start:
            before = self._frames(batch.latents[:, :, start - 1 : start])[:, :, -2:]
        return self._latent(context_frames(picture, masked(before, generator)))

    def _frames(self, latents: Tensor) -> Tensor:
        """Four frames of one latent by the codec's linear code: near enough to what a decoder shows, and cheap."""
        assert self.codec.basis is not None
        return self.codec.basis.decode(self.codec.denormalise(latents)).clamp(-1, 1)

    def _latent(self, frames: Tensor) -> Tensor:
        assert self.codec.basis is not None
        return self.codec.normalise(self.codec.basis.encode(frames))[:, :, 1:]

    def _sees(self, x: Tensor, distance: int, has_motion: bool) -> FullContext:
        frames, grid = x.shape[2], TokenGrid(self.profile.transformer, x.shape[3], x.shape[4])
        table = grid.frames(torch.cat([torch.arange(frames), torch.tensor([frames - 1 + distance])]))
        return FullContext(torch.cat([table, grid.motion()]) if has_motion else table)


def _with_motion(profile: ProfileConfig, kind: ContextKind) -> TransformerConfig:
    motion = tuned_config(kind.name)
    return replace(profile.transformer, motion=motion.motion, motion_latents=motion.motion_latents)
