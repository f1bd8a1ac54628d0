"""Stage 1: block-wise diffusion forcing (paper section 4.2; training design 2.1 to 2.6).

Every block of a clip is noised to its own level, or all to one; one masked pass gives all velocities. Positions, the
sink's distance and what the sink shows are drawn as the stream will meet them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.config import ProfileConfig
from liveavatar.model.attention import BlockCausalContext
from liveavatar.model.rope import rope_table
from liveavatar.model.text import HashedWords
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.flow import add_noise, level_grid, shift_level
from liveavatar.training import parallel
from liveavatar.training.data import LatentBatch, LatentShards, clip_voice, random_gain, shard_files, split, step_generator
from liveavatar.training.recipes import ForcingOptions


class Generator(nn.Module):
    """All trainable parts of the student: the transformer, its text rows and the learned "no voice" row."""

    def __init__(self, profile: ProfileConfig) -> None:
        super().__init__()
        c = profile.transformer
        self.transformer = S2VTransformer(c)
        self.words = HashedWords(c.text_dim, c.text_len)
        self.no_voice = nn.Parameter(torch.zeros(c.audio_dim))


@dataclass(frozen=True)
class _Draws:
    """The random choices of one step."""

    levels: Tensor  # [B, blocks]
    noise: Tensor
    sink: Tensor  # [B, z, 1, h, w]
    distance: int
    gain: Tensor  # [B, 1]
    drop_voice: Tensor  # [B] bool
    drop_text: Tensor  # [B] bool

    def rows(self, index: slice) -> _Draws:
        """Those of some clips."""
        parts = {name: part[index] for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **parts)  # type: ignore[arg-type]


class ForcingStage:
    """Loss of one step of stage 1 over a batch of latent clips."""

    def __init__(
        self, profile: ProfileConfig, model: Generator, shards: Path, seed: int, batch: int, options: ForcingOptions
    ) -> None:
        train_files, held_files = split(shard_files(shards))
        self.profile, self.model, self.options, self.seed, self.batch = profile, model, options, seed, batch
        self.data, self.held = LatentShards(train_files), LatentShards(held_files)
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
        weights = mouth_weights(batch, self.options.mouth_weight) * batch.channels[:, :, None, None, None]
        soft = (draws.levels / self.options.soft_level).clamp(max=1).square()
        weights = weights * soft.repeat_interleave(self.profile.block_latents, dim=1)[:, None, :, None, None]
        return (error * weights).mean(), {"plain": error.mean().item()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out loss per level, and how much worse it gets with another clip's voice (the voice is used if > 0)."""
        figures = {}
        batch = self.held.take(torch.arange(min(16, len(self.held))))
        near = mouth_weights(batch, 1.0) - 1
        for level in self.rollout_levels.tolist():
            draws = self._draw(batch, step_generator(self.seed, "held-out", 0))
            draws = _Draws(
                torch.full_like(draws.levels, level), draws.noise, batch.references[:, 0].unsqueeze(2), 9,
                torch.ones_like(draws.gain), torch.zeros_like(draws.drop_voice), torch.zeros_like(draws.drop_text),
            )  # fmt: skip
            error = self._errors(model, batch, draws)
            swapped = LatentBatch(**{**vars(batch), "samples": batch.samples.roll(1, 0)})
            wrong = self._errors(model, swapped, draws)
            counted = near * batch.channels[:, :, None, None, None]
            figures[f"loss_{level:.2f}"] = error.mean().item()
            figures[f"mouth_{level:.2f}"] = ((error * counted).sum() / counted.expand_as(error).sum()).item()
            figures[f"voice_gap_{level:.2f}"] = (((wrong - error) * counted).sum() / counted.expand_as(error).sum()).item()
        return figures

    def _errors(self, model: nn.Module, batch: LatentBatch, draws: _Draws) -> Tensor:
        """Squared velocity errors [B, z, F, h, w]."""
        per_block, frames = self.profile.block_latents, batch.latents.shape[2]
        levels = draws.levels.repeat_interleave(per_block, dim=1)
        noisy = add_noise(batch.latents, draws.noise, levels[:, None, :, None, None])
        transformer: S2VTransformer = model.transformer  # type: ignore[assignment]
        features, history = self._voice(model, batch, draws)
        words = torch.where(draws.drop_text[:, None], -1, batch.words)
        text = transformer.encode_text(model.words(words))  # type: ignore[operator]
        velocity = transformer(
            noisy, 1000 * levels, draws.sink, transformer.encode_audio(features, history), text,
            self._context(frames, draws.distance, noisy.shape[-2:]), draws.sink,
        )  # fmt: skip
        return (velocity.float() - (draws.noise - batch.latents)).square()

    def _context(self, frames: int, distance: int, size: torch.Size) -> BlockCausalContext:
        c = self.profile.transformer
        grid = size[0] // c.patch_size[1], size[1] // c.patch_size[2]
        times = torch.cat([torch.arange(frames), torch.tensor([frames - 1 + distance])])
        block_tokens = self.profile.block_latents * grid[0] * grid[1]
        blocks = frames // self.profile.block_latents
        return BlockCausalContext(rope_table(times, *grid, c.head_dim), blocks, block_tokens, self.options.window_past)

    def _voice(self, model: nn.Module, batch: LatentBatch, draws: _Draws) -> tuple[Tensor, Tensor]:
        """Feature rows [B, 1, C, F] of the clip and the rows before it, from samples."""
        rows, history = clip_voice(self.profile, batch.samples * draws.gain, 4 * batch.latents.shape[2])
        drop = draws.drop_voice[:, None, None]
        history, rows = (torch.where(drop, model.no_voice, part) for part in (history, rows))  # type: ignore[arg-type]
        return rows.transpose(1, 2)[:, None], history.transpose(1, 2)[:, None]

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
        low, high = o.sink_distance
        return _Draws(
            levels,
            torch.randn(batch.latents.shape, generator=generator),
            self._draw_sinks(batch, generator),
            int(torch.randint(low, high + 1, (1,), generator=generator)),
            random_gain(count, generator),
            torch.rand(count, generator=generator) < o.audio_drop,
            torch.rand(count, generator=generator) < o.text_drop,
        )

    def _draw_sinks(self, batch: LatentBatch, generator: torch.Generator) -> Tensor:
        """Per clip: a 4-frame code of its own (as AAS makes), or a picture coded alone: calm, any, or just before."""
        count, _, frames = batch.latents.shape[:3]
        kind = torch.rand(count, generator=generator)
        own = torch.randint(frames, (count,), generator=generator)
        sinks = []
        for i in range(count):
            if kind[i] < self.options.own_latent_sink:
                sinks.append(batch.latents[i, :, own[i]])
            elif kind[i] < self.options.own_latent_sink + 0.1:
                sinks.append(batch.before[i, :, 0])
            else:
                sinks.append(batch.references[i, 0 if kind[i] < 0.75 else 1])
        return torch.stack(sinks).unsqueeze(2)


def mouth_weights(batch: LatentBatch, peak: float) -> Tensor:
    """1 + peak * nearness to the mouth [B, 1, F, h, w]; small mouths weigh more per cell, so that all sum alike."""
    height, width = batch.latents.shape[-2:]
    x0, y0, x1, y1 = batch.mouth.unbind(-1)
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width
    spread_x, spread_y = (x1 - x0) / 2 + 0.5 / width, (y1 - y0) / 2 + 0.5 / height
    dy = (rows[None, None, :, None] - ((y0 + y1) / 2)[:, :, None, None]) / spread_y[:, :, None, None]
    dx = (columns[None, None, None] - ((x0 + x1) / 2)[:, :, None, None]) / spread_x[:, :, None, None]
    near = torch.exp(-0.5 * (dx.square() + dy.square()))
    share = near.mean((2, 3), keepdim=True)
    return (1 + peak * near * (0.06 / share).clamp(0.7, 5.0)).unsqueeze(1)
