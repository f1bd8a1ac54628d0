"""Distribution matching on problems whose scores are known: the gradient is the KL's, and students reach the target."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from liveavatar.training.dmd import Velocity, clean, distribution_gradient, draw_levels, flow_errors, guided

LOW, HIGH = 0.02, 0.98
WIDE = 32  # independent numbers per sample: the normaliser is an average over a sample, never one number's own error


def mixture_velocity(means: Tensor, spread: Tensor, weights: Tensor) -> Velocity:
    """The exact velocity where each number of z [B, n] has the mixture's distribution: by components' responsibilities."""

    def velocity(z: Tensor, levels: Tensor) -> Tensor:
        level = levels.view(-1, 1, 1).to(z.dtype)
        around = (1 - level) ** 2 * spread**2 + level**2
        centred = z.unsqueeze(-1) - (1 - level) * means
        share = torch.softmax(weights.log() - 0.5 * (centred**2 / around + around.log()), dim=-1)
        estimates = means + (1 - level) * spread**2 / around * centred
        return (z - (share * estimates).sum(-1)) / level[..., 0]

    return velocity


def gaussian_velocity(mean: float, spread: float) -> Velocity:
    return mixture_velocity(*(torch.tensor([value], dtype=torch.float64) for value in (mean, spread, 1.0)))


def test_mixture_velocity_of_a_single_gaussian_is_the_closed_form() -> None:
    z, levels = torch.tensor([[0.7], [-1.0]], dtype=torch.float64), torch.tensor([0.4, 0.9], dtype=torch.float64)
    level = levels[:, None]
    posterior = 2 + (1 - level) * 0.25 / ((1 - level) ** 2 * 0.25 + level**2) * (z - (1 - level) * 2)
    assert torch.allclose(clean(gaussian_velocity(2.0, 0.5), z, levels), posterior)


def _draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    levels = draw_levels(count, 1.0, LOW, HIGH, generator).double()
    return levels, torch.randn(count, WIDE, generator=generator, dtype=torch.float64)


def test_equal_scores_give_no_gradient_to_the_bit() -> None:
    score, (levels, noise) = gaussian_velocity(0.0, 1.0), _draw(64, 0)
    assert not distribution_gradient(noise * 3, score, score, levels, noise).any()


@pytest.mark.parametrize(("mean", "spread"), [(1.0, 0.5), (-2.0, 0.5), (0.0, 0.2), (0.0, 1.5)])
def test_gradient_points_where_the_divergence_of_gaussians_falls(mean: float, spread: float) -> None:
    """Student N(mean, spread^2), teacher N(0, 0.5^2): d KL / d mean and d KL / d spread have known signs."""
    start = torch.randn(512, WIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    levels, noise = _draw(512, 2)
    gradient = distribution_gradient(
        mean + spread * start, gaussian_velocity(0.0, 0.5), gaussian_velocity(mean, spread), levels, noise
    )
    by_mean, by_spread = gradient.mean().item(), (gradient * start).mean().item()
    assert math.copysign(1, by_mean) == math.copysign(1, mean) if mean else abs(by_mean) < 0.03
    if mean == 0:
        assert math.copysign(1, by_spread) == math.copysign(1, spread - 0.5)


def test_normaliser_takes_out_the_size_of_the_difference() -> None:
    """Clip, real and fake estimates scaled about the real one alike: G stays."""
    clip = torch.tensor([[1.0, -2.0, 0.5]])
    levels, noise = torch.tensor([0.5]), torch.zeros(1, 3)

    def constant(estimate: Tensor) -> Velocity:
        return lambda z, level: (z - estimate) / level.view(-1, 1)

    def gradient(scale: float) -> Tensor:
        real = torch.zeros(1, 3)
        fake = torch.tensor([[0.3, 0.1, -0.2]])
        return distribution_gradient(scale * clip, constant(real), constant(scale * fake), levels, noise)

    assert torch.allclose(gradient(1.0), gradient(7.0), atol=1e-6)
    assert torch.allclose(gradient(1.0), torch.tensor([[0.3, 0.1, -0.2]]) / (3.5 / 3), atol=1e-6)


def test_broken_samples_move_nothing() -> None:
    levels, noise = _draw(2, 0)
    real = gaussian_velocity(0.0, 1.0)
    gradient = distribution_gradient(noise, real, lambda z, level: z * float("nan"), levels, noise)
    assert not gradient.any()


def test_guidance_of_one_is_the_conditional_score_and_two_goes_beyond() -> None:
    z, levels = torch.ones(1, 1), torch.tensor([0.5])
    counted = []

    def constant(value: float) -> Velocity:
        return lambda z, level: counted.append(value) or torch.full_like(z, value)  # type: ignore[func-returns-value]

    assert guided(constant(3.0), constant(1.0), 1.0)(z, levels).item() == 3.0
    assert counted == [3.0]
    assert guided(constant(3.0), constant(1.0), 2.0)(z, levels).item() == 5.0


def test_levels_stay_in_their_range_and_follow_the_shift() -> None:
    levels = draw_levels(20_000, 3.0, 0.1, 0.9, torch.Generator().manual_seed(0))
    assert levels.min() == pytest.approx(0.1)
    assert levels.max() == pytest.approx(0.9)
    assert levels.median() == pytest.approx(0.75, abs=0.01)  # 3 u / (1 + 2 u) at u = 1/2


class _Affine(nn.Module):
    """A student that makes N(mean, spread^2) from noise."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_spread = nn.Parameter(torch.tensor([2.0]).double()), nn.Parameter(torch.zeros(1).double())

    def forward(self, noise: Tensor) -> Tensor:
        return self.mean + self.log_spread.exp() * noise


def _descend(student: nn.Module, real: Velocity, fake: Callable[[], Velocity], steps: int, rate: float) -> None:
    optimiser = torch.optim.Adam(student.parameters(), lr=rate, betas=(0.0, 0.999))
    for step in range(steps):
        generator = torch.Generator().manual_seed(1000 + step)
        clip = student(torch.randn(64, WIDE, generator=generator, dtype=torch.float64))
        levels, noise = _draw(64, step)
        gradient = distribution_gradient(clip.detach(), real, fake(), levels, noise)
        optimiser.zero_grad()
        (clip * gradient).mean().backward()
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimiser.step()


def test_an_affine_student_with_exact_scores_becomes_the_target() -> None:
    """Known answer: mean -1, spread 0.4."""
    student = _Affine()
    _descend(
        student,
        gaussian_velocity(-1.0, 0.4),
        lambda: gaussian_velocity(student.mean.item(), student.log_spread.exp().item()),
        steps=300,
        rate=0.05,
    )
    assert student.mean.item() == pytest.approx(-1.0, abs=0.02)
    assert student.log_spread.exp().item() == pytest.approx(0.4, abs=0.02)


class _Mixture(nn.Module):
    """A student with two modes, picked in fixed shares 0.3 and 0.7: its own score is known as well."""

    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)

    def __init__(self, means: tuple[float, float], spread: float) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.tensor(means, dtype=torch.float64))
        self.log_spread = nn.Parameter(torch.full((2,), math.log(spread), dtype=torch.float64))

    def forward(self, generator: torch.Generator, count: int) -> Tensor:
        mode = torch.multinomial(self.weights, count * WIDE, replacement=True, generator=generator).view(count, WIDE)
        noise = torch.randn(count, WIDE, generator=generator, dtype=torch.float64)
        return self.means[mode] + self.log_spread.exp()[mode] * noise

    def velocity(self) -> Velocity:
        return mixture_velocity(self.means, self.log_spread.exp(), self.weights)


def _quantile_distance(samples: Tensor, target: Tensor) -> float:
    """Wasserstein-1 distance of two equally large sets of numbers."""
    return (samples.flatten().sort().values - target.flatten().sort().values).abs().mean().item()


@pytest.mark.parametrize("is_learned", [False, True])
def test_distillation_reaches_a_gaussian_mixture(is_learned: bool) -> None:
    """Target: modes -1.5 and 1 with spread 0.3, whose score is exact; the fake score is exact or learned on the way.

    The learned one is a mixture that sees nothing of the student but clips.
    """
    target, student, critic = _Mixture((-1.5, 1.0), 0.3), _Mixture((-0.2, 0.2), 1.0), _Mixture((-0.5, 0.5), 0.5)
    steps = 1000 if is_learned else 200
    makers = torch.optim.Adam(student.parameters(), lr=0.03, betas=(0.0, 0.999))
    critics = torch.optim.Adam(critic.parameters(), lr=0.03, betas=(0.0, 0.999))
    generator = torch.Generator().manual_seed(5)

    @torch.no_grad()
    def distance() -> float:
        same = (torch.Generator().manual_seed(7) for _ in range(2))
        return _quantile_distance(*(model(next(same), 200) for model in (student, target)))

    before = distance()
    for step in range(steps):
        if is_learned:
            critics.zero_grad()
            levels, noise = _draw(16, step)
            errors = flow_errors(critic.velocity(), student(generator, 16).detach(), levels, noise)
            (errors * levels.view(-1, 1) ** 2).mean().backward()
            critics.step()
            if step % 5 or step < 100:
                continue
        clip = student(generator, 32)
        fake = (critic if is_learned else student).velocity()
        gradient = distribution_gradient(clip.detach(), target.velocity(), fake, *_draw(32, 10_000 + step))
        makers.zero_grad()
        (clip * gradient).mean().backward()
        makers.param_groups[0]["lr"] = 0.03 * (1 - step / steps)
        makers.step()
    assert before > 0.5
    assert distance() < 0.1 * before
