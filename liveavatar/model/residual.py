"""Velocity from a prediction of what the clean latents have beyond the sink: how the nano model reads its own output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ResidualAt:
    """`SinkResidual` with one sink and at one noise level: a product and a sum each way."""

    enter_factor: Tensor
    enter_offset: Tensor
    out_factor: Tensor
    x_factor: Tensor
    velocity_offset: Tensor

    def enter(self, x: Tensor) -> Tensor:
        """As `SinkResidual.enter`."""
        return torch.addcmul(self.enter_offset, x, self.enter_factor)

    def velocity(self, out: Tensor, x: Tensor) -> Tensor:
        """As `SinkResidual.velocity`."""
        wide = out.to(torch.promote_types(out.dtype, torch.float32))
        return torch.addcmul(self.velocity_offset, x, self.x_factor).addcmul(wide, self.out_factor)


class SinkResidual(nn.Module):
    """Velocity from a prediction of what the clean latents have beyond the sink (EDM-style preconditioning).

    A token of nano has as many noise values as the model is wide, so a velocity, which contains the noise, does not fit
    through it; the residual is small and smooth. `gain` [C] is each channel's regression on the sink's latent, `scale`
    [C] the spread of what remains; both are fitted to data before training and fixed.
    """

    gain: Tensor
    scale: Tensor
    LOWEST_LEVEL = 0.05  # velocity divides by the level; below this the clean estimate hardly moves x any more

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(channels))
        self.register_buffer("scale", torch.ones(channels))

    def fit(self, latents: Tensor, sinks: Tensor) -> None:
        """From clean latents [B, C, F, H, W] and the sinks they were drawn with [B, C, 1, H, W]."""
        over = (0, 2, 3, 4)
        gain = (latents * sinks).mean(over) / sinks.square().mean(over)
        self.gain.copy_(gain)
        self.scale.copy_((latents - gain.view(-1, 1, 1, 1) * sinks).square().mean(over).sqrt())

    def enter(self, x: Tensor, sink: Tensor, level: Tensor) -> Tensor:
        """The residual in noisy x, at unit spread for every level; level broadcasts against x [B, C, F, H, W]."""
        gain, scale, level = self.gain.view(-1, 1, 1, 1), self.scale.view(-1, 1, 1, 1), level.to(self.gain.dtype)
        spread = torch.sqrt(((1 - level) * scale).square() + level.square())
        return (x - (1 - level) * gain * sink) / spread

    def velocity(self, out: Tensor, x: Tensor, sink: Tensor, level: Tensor) -> Tensor:
        """(x - clean estimate) / level."""
        wide = out.to(torch.promote_types(out.dtype, torch.float32))
        clean = self.gain.view(-1, 1, 1, 1) * sink + self.scale.view(-1, 1, 1, 1) * wide
        return (x - clean) / level.to(self.gain.dtype).clamp(min=self.LOWEST_LEVEL)

    def at(self, sink: Tensor, level: Tensor) -> ResidualAt:
        """Both ways with this sink [B, C, 1, H, W] and level, for many evaluations that share them."""
        gain, scale, level = self.gain.view(-1, 1, 1, 1), self.scale.view(-1, 1, 1, 1), level.to(self.gain.dtype)
        spread = torch.sqrt(((1 - level) * scale).square() + level.square())
        divisor, mean = level.clamp(min=self.LOWEST_LEVEL), gain * sink
        return ResidualAt(
            enter_factor=1 / spread,
            enter_offset=(level - 1) * mean / spread,
            out_factor=-scale / divisor,
            x_factor=1 / divisor,
            velocity_offset=-mean / divisor,
        )
