"""The light streaming decoder: latents to pixels at a fraction of the VAE decoder's cost, trained on the same latents.

Three-dimensional convolutions at full resolution are what a CPU cannot afford, so time is handled once, at latent
resolution, with two latent frames of causal memory; the rest is two-dimensional and ends in pixel shuffles.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.config import FRAMES_PER_LATENT, CodecConfig

_MEMORY = 2  # latent frames kept before the current one


class _Residual(nn.Module):
    """Two 3x3 convolutions beside a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class LightDecoder(nn.Module):
    """Causal in time: frame codes of up to two earlier latents and the current one give 4 frames."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        wide, mid, fine = config.light_width, config.light_mid_width, config.light_fine_width
        self.mid, self.out_patch = mid, config.pixel_patch
        # What the latents say linearly; the rest of the network only adds to it.
        self.linear = nn.Conv2d(config.z_dim, FRAMES_PER_LATENT * 3 * config.spatial_factor**2, 1)
        self.spatial_factor = config.spatial_factor
        self.stem = nn.Conv3d(config.z_dim, wide, 3, padding=(0, 1, 1))
        self.coarse = nn.Sequential(_Residual(wide), _Residual(wide), _Residual(wide))
        self.unfold = nn.Conv2d(wide, FRAMES_PER_LATENT * mid * 4, 1)
        self.middle = nn.Sequential(_Residual(mid), nn.Conv2d(mid, fine * 4, 1))
        self.fine = nn.Sequential(_Residual(fine), nn.SiLU(), nn.Conv2d(fine, 3 * config.pixel_patch**2, 3, padding=1))

    @property
    def is_half(self) -> bool:
        """Whether the costly layers have 16-bit weights."""
        return self.fine[-1].weight.dtype == torch.bfloat16  # type: ignore[union-attr]

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [B, z, 2+F, h, w], the first two being memory -> pixels [B, 3, 4F, H, W], not clamped."""
        batch, frames = latents.shape[0], latents.shape[2] - _MEMORY
        current = latents[:, :, _MEMORY:].transpose(1, 2).flatten(0, 1)
        patches = self.linear(current).unflatten(1, (FRAMES_PER_LATENT, -1)).flatten(0, 1)
        linear = F.pixel_shuffle(patches, self.spatial_factor)
        x = self.stem(latents)
        x = self.coarse(x.transpose(1, 2).flatten(0, 1))
        x = self.unfold(F.silu(x)).unflatten(1, (FRAMES_PER_LATENT, -1)).flatten(0, 1)
        # The costly layers, which only add to what the latents say linearly, may have 16-bit weights (`hold_for_cpu`).
        x = F.pixel_shuffle(x, 2).to(self.fine[-1].weight.dtype)  # type: ignore[union-attr,arg-type]
        x = self.fine(F.pixel_shuffle(self.middle(x), 2)).to(linear.dtype)
        pixels = linear + F.pixel_shuffle(x, self.out_patch)
        return pixels.unflatten(0, (batch, frames * FRAMES_PER_LATENT)).transpose(1, 2)


class LightStreamDecoder:
    """A stream through `LightDecoder`: keeps the last two latents between blocks."""

    def __init__(self, decoder: LightDecoder) -> None:
        self.decoder = decoder
        self.memory: Tensor | None = None

    def prime(self, latents: Tensor) -> None:
        """Start the stream with latents [1, z, F, h, w]: the reference's, or a still history."""
        nothing = torch.zeros_like(latents[:, :, :1])
        self.memory = torch.cat([nothing] * (_MEMORY - 1) + [latents], dim=2)[:, :, -_MEMORY:]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [1, z, F, h, w] -> pixels [1, 3, 4F, H, W] in [-1, 1]."""
        if self.memory is None:
            raise RuntimeError("prime the decoder with the reference's latent before decoding")
        context = torch.cat([self.memory, latents], dim=2)
        self.memory = context[:, :, -_MEMORY:]
        return self.decoder(context).clamp(-1, 1)


def hold_for_cpu(decoder: LightDecoder) -> LightDecoder:
    """The form that is fastest on this CPU; in place, names and shapes stay.

    Channels innermost, as 2D convolutions want their pictures: a fifth of the time, results the same but for rounding. On
    processors with matrix units for bfloat16 (AMX) the finer layers compute in it: half of the rest, for one of 255 levels
    in one of 100 values (docs/performance.md).
    """
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    if has_matrix_units():
        decoder.middle.to(torch.bfloat16)
        decoder.fine.to(torch.bfloat16)
    return decoder


def has_matrix_units() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware."""
    return bool(torch.cpu._is_amx_tile_supported())


def start_from_linear(decoder: LightDecoder, components: Tensor, offset: Tensor) -> None:
    """Make a fresh decoder exactly linear: components [3*4*p*p, z] and offset [3*4*p*p] map latents to patches."""
    p = decoder.spatial_factor
    order = torch.arange(components.shape[0]).view(3, FRAMES_PER_LATENT, p * p).transpose(0, 1).flatten()
    with torch.no_grad():
        decoder.linear.weight.copy_(components[order][:, :, None, None])
        decoder.linear.bias.copy_(offset[order])  # type: ignore[union-attr]
        decoder.fine[-1].weight.zero_()  # type: ignore[union-attr,operator]
        decoder.fine[-1].bias.zero_()  # type: ignore[union-attr,operator]
