"""Stage 1: block-wise diffusion forcing (paper section 4.2), and its sibling that trains the bidirectional teacher.

Every block of a clip is noised to its own level, or all to one; one masked pass gives all velocities. Positions, the
sink's distance and what the sink shows are drawn as the stream will meet them. The teacher differs in two options: it
sees the whole clip, and all of a clip has one level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.config import ProfileConfig
from liveavatar.streaming.flow import add_noise, level_grid, shift_level
from liveavatar.training import parallel
from liveavatar.training.clips import ClipDraws, ClipStage, Generator, mouth_weights
from liveavatar.training.data import LatentBatch, step_generator
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


class ForcingStage(ClipStage):
    """Loss of one step of stage 1 (or of the teacher) over a batch of latent clips."""

    def __init__(
        self, profile: ProfileConfig, model: Generator, shards: Path, seed: int, batch: int, options: ForcingOptions
    ) -> None:
        super().__init__(profile, shards, seed, batch, options)
        self.model, self.options = model, options
        self.rollout_levels = torch.tensor(level_grid(profile.rollout.steps, profile.rollout.shift)[:-1])

    def fit_residual(self, model: Generator, batches: int = 32) -> None:
        """Fit the transformer's `SinkResidual`, where it has one, to clips and sinks as training draws them."""
        if model.transformer.residual is None:
            return
        drawn = [self.data.batch(self.batch, step_generator(self.seed, "residual", i)) for i in range(batches)]
        sinks = [self._draw_sinks(batch, step_generator(self.seed, "sinks", i)) for i, batch in enumerate(drawn)]
        model.transformer.residual.fit(torch.cat([batch.latents for batch in drawn]), torch.cat(sinks))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted mean square of velocity errors."""
        batch = self.data.batch(self.batch, step_generator(self.seed, "data", step))
        draws = self._draw(batch, step_generator(self.seed, "draws", step))
        own = parallel.own_rows(self.batch)
        batch, draws = batch.rows(own), draws.rows(own)
        error = self._errors(self.model, batch, draws)
        weights = self.loss_weights(batch, self._of_frames(draws.levels))
        return (error * weights).mean(), {"plain": error.mean().item()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out loss per level, and how much worse it gets with another clip's voice (the voice is used if > 0)."""
        assert isinstance(model, Generator)
        figures = {}
        batch = self.held.take(torch.arange(min(16, len(self.held))))
        near = mouth_weights(batch, 1.0) - 1
        for level in self.rollout_levels.tolist():
            draws = self._draw(batch, step_generator(self.seed, "held-out", 0))
            draws = _Draws(torch.full_like(draws.levels, level), draws.noise, self.plain_conditions(batch))
            error = self._errors(model, batch, draws)
            swapped = replace(batch, samples=batch.samples.roll(1, 0))
            wrong = self._errors(model, swapped, draws)
            counted = near * batch.channels[:, :, None, None, None]
            figures[f"loss_{level:.2f}"] = error.mean().item()
            figures[f"mouth_{level:.2f}"] = ((error * counted).sum() / counted.expand_as(error).sum()).item()
            figures[f"voice_gap_{level:.2f}"] = (((wrong - error) * counted).sum() / counted.expand_as(error).sum()).item()
        return figures

    def _of_frames(self, levels: Tensor) -> Tensor:
        """Levels of blocks [B, blocks] -> of latent frames [B, F]."""
        return levels.repeat_interleave(self.profile.block_latents, dim=1)

    def _errors(self, model: Generator, batch: LatentBatch, draws: _Draws) -> Tensor:
        """Squared velocity errors [B, z, F, h, w]."""
        levels = self._of_frames(draws.levels)
        noisy = add_noise(batch.latents, draws.noise, levels[:, None, :, None, None])
        conditions = self.encode(model, batch, draws.conditions)
        velocity = self.velocity(model, noisy, levels, conditions, draws.conditions.distance, self.options.attention)
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
