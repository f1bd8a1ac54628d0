"""Stage 1: block-wise diffusion forcing (paper section 4.2), and its sibling that trains the bidirectional teacher.

Every block of a clip is noised to its own level, or all to one; one masked pass gives all velocities. Positions, the
sink's distance and what the sink shows are drawn as the stream will meet them. The teacher differs in two options: it
sees the whole clip, and all of a clip has one level.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.config import ProfileConfig
from liveavatar.streaming.flow import add_noise, level_grid, shift_level
from liveavatar.training import parallel
from liveavatar.training.adapters import Adapters
from liveavatar.training.clips import ClipDraws, ClipStage, Generator, mouth_weights
from liveavatar.training.data import LatentBatch, step_generator
from liveavatar.training.networks import STUDENT
from liveavatar.training.recipes import ForcingOptions

__all__ = ["ForcingStage", "Generator", "mouth_weights"]


@dataclass(frozen=True)
class _Draws:
    """The random choices of one step."""

    levels: Tensor  # [B, blocks]
    noise: Tensor
    conditions: ClipDraws

    def rows(self, index: slice) -> _Draws:
        """Those of some clips."""
        return _Draws(self.levels[index], self.noise[index], self.conditions.rows(index))

    def to(self, device: torch.device) -> _Draws:
        """All of it on a device."""
        return _Draws(self.levels.to(device), self.noise.to(device), self.conditions.to(device))


class ForcingStage(ClipStage):
    """Loss of one step of stage 1 (or of the teacher) over a batch of latent clips."""

    def __init__(
        self,
        profile: ProfileConfig,
        network: Generator,
        shards: Path,
        seed: int,
        batch: int,
        options: ForcingOptions,
        adapters: Adapters | None = None,
    ) -> None:
        """adapters: on `network`, whose student is then what is trained; None: all of `network` is."""
        super().__init__(profile, shards, seed, batch, options)
        self.network, self.adapters, self.options = network, adapters, options
        self.made_from: dict[str, str] = {}
        self.model: nn.Module = adapters.trained[STUDENT] if adapters else network
        self.rollout_levels = torch.tensor(level_grid(profile.rollout.steps, profile.rollout.shift)[:-1])

    def fit_residual(self, model: Generator, batches: int = 32) -> None:
        """Fit the transformer's `SinkResidual`, where it has one, to clips and sinks as training draws them."""
        if model.transformer.residual is None:
            return
        drawn = [self.data.batch(self.batch, step_generator(self.seed, "residual", i)) for i in range(batches)]
        sinks = [self._draw_sinks(batch, step_generator(self.seed, "sinks", i)) for i, batch in enumerate(drawn)]
        model.transformer.residual.fit(torch.cat([batch.latents for batch in drawn]), torch.cat(sinks))

    def loss(self, step: int, part: int = 0, parts: int = 1) -> tuple[Tensor, dict[str, float]]:
        """Weighted mean square of velocity errors, of one micro-batch of `parts`."""
        batch = self.data.batch(self.batch, step_generator(self.seed, "data", step))
        draws = self._draw(batch, step_generator(self.seed, "draws", step))
        own = parallel.own_rows(self.batch, part, parts)
        batch, draws = batch.rows(own).to(self.device), draws.rows(own).to(self.device)
        error = self._errors(batch, draws)
        weights = self.loss_weights(batch, self._of_frames(draws.levels))
        return (error * weights).mean(), {"plain": error.mean().item()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out loss per level, and how much worse it gets with another clip's voice (the voice is used if > 0)."""
        del model  # its weights are in the network already
        # A base in 16 bits needs autocast; networks of float32 masters are measured in float32.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.adapters is not None, cache_enabled=False):
            return self._held_out()

    def sample(self, count: int) -> tuple[LatentBatch, Tensor]:
        """Held-out clips and the network's own for their voices, in the rollout's few steps."""
        with self.adapters.use(STUDENT) if self.adapters else nullcontext(self.network) as network:
            return self.sampled(network, count)

    def _held_out(self) -> dict[str, float]:
        figures = {}
        batch = self.held.take(torch.arange(min(16, len(self.held))))
        near = mouth_weights(batch, 1.0) - 1
        for level in self.rollout_levels.tolist():
            draws = self._draw(batch, step_generator(self.seed, "held-out", 0))
            draws = _Draws(torch.full_like(draws.levels, level), draws.noise, self.plain_conditions(batch))
            here, draws = batch.to(self.device), draws.to(self.device)
            error = self._errors(here, draws)
            wrong = self._errors(here.with_voices_swapped(), draws)
            counted = (near * batch.channels[:, :, None, None, None]).to(self.device)
            figures[f"loss_{level:.2f}"] = error.mean().item()
            figures[f"mouth_{level:.2f}"] = ((error * counted).sum() / counted.expand_as(error).sum()).item()
            figures[f"voice_gap_{level:.2f}"] = (((wrong - error) * counted).sum() / counted.expand_as(error).sum()).item()
        return figures

    def _of_frames(self, levels: Tensor) -> Tensor:
        """Levels of blocks [B, blocks] -> of latent frames [B, F]."""
        return levels.repeat_interleave(self.profile.block_latents, dim=1)

    def _errors(self, batch: LatentBatch, draws: _Draws) -> Tensor:
        """Squared velocity errors [B, z, F, h, w]."""
        levels = self._of_frames(draws.levels)
        noisy = add_noise(batch.latents, draws.noise, levels[:, None, :, None, None])
        with self.adapters.use(STUDENT) if self.adapters else nullcontext(self.network) as network:
            conditions = self.encode(network, batch, draws.conditions)
            velocity = self.velocity(network, noisy, levels, conditions, draws.conditions.distance, self.options.attention)
        return (velocity.float() - (draws.noise - batch.latents)).square()

    def _draw(self, batch: LatentBatch, generator: torch.Generator) -> _Draws:
        o, count = self.options, batch.latents.shape[0]
        blocks = batch.latents.shape[2] // self.profile.block_latents
        uniform = torch.rand(count, blocks, generator=generator)
        equal = torch.rand(count, 1, generator=generator) < o.equal_level_prob
        levels = shift_level(torch.where(equal, uniform[:, :1], uniform), self.profile.rollout.shift)
        # The first level weighs most: there nothing but the voice says what the mouth does.
        chances = torch.linspace(2, 1, len(self.rollout_levels))
        met = self.rollout_levels[torch.multinomial(chances, count, replacement=True, generator=generator)][:, None]
        as_rollout = equal & (torch.rand(count, 1, generator=generator) < o.rollout_level_prob)
        levels = torch.where(as_rollout, met, levels)
        noise = torch.randn(batch.latents.shape, generator=generator)
        return _Draws(levels, noise, self.draw_conditions(batch, generator))
