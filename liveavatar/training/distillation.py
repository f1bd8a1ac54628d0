"""Stage 2: self-forcing distribution matching distillation (paper section 4.2, Algorithms 1 and 2).

The student makes clips as the stream does; two bidirectional networks score them. The teacher (real score) is fixed; the
critic (fake score) starts as the teacher and follows the student's clips; the student moves along the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.config import ProfileConfig
from liveavatar.streaming.flow import level_grid
from liveavatar.training import parallel
from liveavatar.training.clip_measures import ClipMeasures
from liveavatar.training.clip_network import ClipNetwork
from liveavatar.training.clips import ClipDraws, ClipStage, Generator
from liveavatar.training.data import LatentBatch, step_generator
from liveavatar.training.dmd import Velocity, distribution_gradient, draw_levels, flow_errors, guided
from liveavatar.training.networks import CRITIC, STUDENT, TEACHER, Roles
from liveavatar.training.recipes import DistillOptions, Recipe
from liveavatar.training.self_forcing import RolloutPlan, roll_out, student_backward

HELD_OUT_CLIPS = 16
HELD_OUT_LEVEL = 0.4  # at which the critic is compared with the teacher


@dataclass(frozen=True)
class _Turn:
    """All random choices of one network's step."""

    batch: LatentBatch
    draws: ClipDraws
    exit_step: int
    noises: list[Tensor]  # of the rollout, [B, z, F, h, w] each
    levels: Tensor  # [B], at which the clip is scored
    noise: Tensor  # of the scoring

    def rows(self, index: slice) -> _Turn:
        """Those of some clips."""
        return _Turn(
            self.batch.rows(index), self.draws.rows(index), self.exit_step, [noise[index] for noise in self.noises],
            self.levels[index], self.noise[index],
        )  # fmt: skip

    def to(self, device: torch.device) -> _Turn:
        """All of it on a device."""
        return _Turn(
            self.batch.to(device), self.draws.to(device), self.exit_step, [noise.to(device) for noise in self.noises],
            self.levels.to(device), self.noise.to(device),
        )  # fmt: skip


class DistillStage(ClipStage):
    """Gradients of the student and of the critic over a batch of conditions; pictures of the clips are not looked at."""

    def __init__(
        self, profile: ProfileConfig, roles: Roles, shards: Path, recipe: Recipe, made_from: dict[str, str]
    ) -> None:
        assert isinstance(recipe.options, DistillOptions)
        super().__init__(profile, shards, recipe.seed, recipe.batch, recipe.options.clips)
        self.roles, self.options, self.bf16, self.made_from = roles, recipe.options, recipe.bf16, made_from
        self.parts = recipe.accumulate
        self.networks = roles.trained
        rollout = profile.rollout
        self.levels = level_grid(rollout.steps, rollout.shift, rollout.grid)[:-1]
        self.score_shift = recipe.options.score_shift or rollout.shift
        self.measures = ClipMeasures(self.data)

    def accumulate(self, name: str, step: int) -> dict[str, float]:
        """One student or critic turn; each has its own batch and its own rollout."""
        drawn, figures = self._draw(step, name), dict[str, float]()
        for part in range(self.parts):
            turn = drawn.rows(parallel.own_rows(self.batch, part, self.parts)).to(self.device)
            # Cached casts made without a graph would be reused inside one, so that weights would get no gradient.
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
                figures = self._student_turn(turn) if name == STUDENT else self._critic_turn(turn)
        return figures

    def _student_turn(self, turn: _Turn) -> dict[str, float]:
        figures: dict[str, float] = {}

        def gradient(clip: Tensor) -> Tensor:
            wanted = self._gradient(turn, clip)
            figures.update(loss=0.5 * wanted.square().mean().item(), pull=wanted.abs().mean().item())
            if self.options.weighted:
                wanted = wanted * self.loss_weights(turn.batch, torch.ones_like(clip[:, 0, :, 0, 0]))
            return wanted / self.parts

        with self.roles.use(STUDENT) as model:
            network = self._network(model, turn)
            student_backward(network, lambda: self.encode(model, turn.batch, turn.draws), self._plan(turn), gradient)
        return {**figures, "exit_step": turn.exit_step}

    def _critic_turn(self, turn: _Turn) -> dict[str, float]:
        with torch.no_grad():
            clip = self._clip(turn)
        errors = flow_errors(self._score(CRITIC, turn), clip, turn.levels, turn.noise)
        weights = self.loss_weights(turn.batch, turn.levels[:, None].expand(-1, clip.shape[2]))
        loss = (errors * weights).mean()
        with torch.autocast(clip.device.type, enabled=False):
            (loss / self.parts).backward()
        return {"loss": loss.item()}

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out clips of the student beside the truth, and how far ahead of the teacher the critic is on them.

        excess: the teacher's loss less the critic's; above 0 while the critic keeps up.
        """
        del model  # the student's role holds it
        batch = self.held.take(torch.arange(min(HELD_OUT_CLIPS, len(self.held))))
        noises = self._noises(batch.latents.shape, step_generator(self.seed, "held-out-rollout", 0))
        levels = torch.full((len(batch.latents),), HELD_OUT_LEVEL)
        noise = torch.randn(batch.latents.shape, generator=step_generator(self.seed, "held-out-score", 0))
        turn = _Turn(batch, self.plain_conditions(batch), len(self.levels) - 1, noises, levels, noise).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            clip = self._clip(turn)
            some = slice(0, HELD_OUT_CLIPS // 2)  # two more evaluations a clip
            scored, clips = turn.rows(some), clip[some]
            real, fake = (
                flow_errors(self._score(role, scored), clips, scored.levels, scored.noise) for role in (TEACHER, CRITIC)
            )
        return {
            **self.measures.compare(batch, clip.cpu()),
            "excess": (real.mean() - fake.mean()).item(),
            "critic": fake.mean().item(),
        }

    def sample(self, count: int) -> tuple[LatentBatch, Tensor]:
        """Held-out clips and the student's own for their voices."""
        with self.roles.use(STUDENT) as model:
            return self.sampled(model, count)

    def _clip(self, turn: _Turn) -> Tensor:
        with self.roles.use(STUDENT) as model:
            conditions = self.encode(model, turn.batch, turn.draws)
            return roll_out(self._network(model, turn), conditions, self._plan(turn))

    def _network(self, model: Generator, turn: _Turn) -> ClipNetwork:
        _, _, frames, height, width = turn.noise.shape
        return ClipNetwork(
            model.transformer, (height, width), frames, self.profile.block_latents, self.clips.window_past,
            turn.draws.distance,
        )  # fmt: skip

    def _plan(self, turn: _Turn) -> RolloutPlan:
        return RolloutPlan(self.levels, turn.exit_step, turn.noises, self.options.self_forcing)

    def _gradient(self, turn: _Turn, clip: Tensor) -> Tensor:
        real = guided(self._score(TEACHER, turn), self._score(TEACHER, turn, dropped=True), self.options.guidance)
        fake = self._score(CRITIC, turn)
        return distribution_gradient(clip, real, fake, turn.levels, turn.noise, self.options.floor)

    def _score(self, role: str, turn: _Turn, dropped: bool = False) -> Velocity:
        """A bidirectional network's velocity under the turn's conditions; the sink stands where the rollout has it."""
        draws = turn.draws.dropped() if dropped else turn.draws

        def velocity(z: Tensor, levels: Tensor) -> Tensor:
            with self.roles.use(role) as model:
                conditions = self.encode(model, turn.batch, draws)
                of_frames = levels[:, None].expand(-1, z.shape[2])
                return self.velocity(model, z, of_frames, conditions, self.profile.rollout.sink_distance, "full").float()

        return velocity

    def _draw(self, step: int, name: str) -> _Turn:
        batch = self.data.batch(self.batch, step_generator(self.seed, f"{name}-data", step))
        generator = step_generator(self.seed, f"{name}-draws", step)
        # One exit for the whole batch and all processes: the number of evaluations must be the same everywhere.
        exit_step = int(torch.randint(len(self.levels), (1,), generator=generator))
        draws = self.draw_conditions(batch, generator)
        noises = self._noises(batch.latents.shape, generator)
        levels = draw_levels(self.batch, self.score_shift, *self.options.score_range, generator)
        return _Turn(batch, draws, exit_step, noises, levels, torch.randn(batch.latents.shape, generator=generator))

    def _noises(self, shape: torch.Size, generator: torch.Generator) -> list[Tensor]:
        """Noise of every level; all are drawn whatever the exit, so that one choice does not shift the next."""
        return [torch.randn(shape, generator=generator) for _ in self.levels]
