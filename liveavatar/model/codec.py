"""The causal video codec: diffusers' Wan VAE with its latent statistics, and its decoder as a stream.

Latents are normalised per channel. The codec codes its first frame alone (1 + 4k frames, 1 + k latents). Pixels are
[-1, 1] here; files and uint8 live elsewhere.
"""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, unpatchify
from torch import Tensor, nn

from liveavatar.config import FRAMES_PER_LATENT, CodecConfig


class PatchBasis(nn.Module):
    """A fixed linear code of patches of 4 frames x 8 x 8 pixels: the strongest principal components, at unit variance.

    A first frame, coded alone, counts as four equal frames.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, z_dim: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        size = 3 * FRAMES_PER_LATENT * patch**2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.zeros(size, z_dim))

    def fit(self, patches: Tensor, weights: Tensor) -> None:
        """Set the basis from patches [n, 3 * 4 * patch * patch], each counting `weights` [n] times."""
        self.mean.copy_(patches.mean(0))
        scaled = (patches - self.mean) * (weights / weights.sum()).sqrt()[:, None]
        variances, directions = torch.linalg.eigh(scaled.T @ scaled)
        strongest = slice(-self.components.shape[1], None)
        self.components.copy_((directions[:, strongest] * variances[strongest].sqrt()).flip(1))

    def patches(self, video: Tensor) -> Tensor:
        """[B, 3, 4k, H, W] -> [B, k, h, w, 3 * 4 * patch * patch]."""
        p = self.patch
        grid = video.unflatten(2, (-1, FRAMES_PER_LATENT)).unflatten(4, (-1, p)).unflatten(6, (-1, p))
        return grid.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, 1+4k, H, W] -> [B, z, 1+k, h, w]."""
        first = video[:, :, :1].expand(-1, -1, FRAMES_PER_LATENT, -1, -1)
        patches = self.patches(torch.cat([first, video[:, :, 1:]], dim=2))
        inverse = self.components / self.components.square().sum(0)
        return ((patches - self.mean) @ inverse).movedim(-1, 1)

    def decode(self, raw: Tensor) -> Tensor:
        """[B, z, k, h, w] -> [B, 3, 4k, H, W]; a first latent gives four equal frames."""
        p = self.patch
        patches = (raw.movedim(1, -1) @ self.components.T + self.mean).unflatten(-1, (3, FRAMES_PER_LATENT, p, p))
        return patches.permute(0, 4, 1, 5, 2, 6, 3, 7).flatten(6).flatten(4, 5).flatten(2, 3)


class Codec(nn.Module):
    """Video [B, 3, 1+4k, H, W] in [-1, 1] to and from normalised latents [B, z, 1+k, H/8, W/8]."""

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        pixel_channels = 3 * config.pixel_patch**2
        self.vae = AutoencoderKLWan(
            base_dim=config.base_dim,
            z_dim=config.z_dim,
            dim_mult=list(config.dim_mult),
            num_res_blocks=config.num_res_blocks,
            temperal_downsample=list(config.temporal_downsample),
            in_channels=pixel_channels,
            out_channels=pixel_channels,
            patch_size=config.pixel_patch,
            is_residual=config.is_residual,
            scale_factor_spatial=config.spatial_factor,
            latents_mean=[0.0] * config.z_dim,
            latents_std=[1.0] * config.z_dim,
        )
        self.basis = PatchBasis(config.z_dim, config.spatial_factor) if config.linear_skip else None
        self.register_buffer("latents_mean", torch.zeros(config.z_dim))
        self.register_buffer("latents_std", torch.ones(config.z_dim))

    def encode(self, video: Tensor) -> Tensor:
        """Normalised posterior means; the posterior is never sampled."""
        frames = video.shape[2]
        if (frames - 1) % 4:
            raise ValueError(f"{frames} frames: the codec takes 1 + 4k frames; drop or repeat {(1 - frames) % 4} of them")
        return self.normalise(self.encode_raw(video))

    def encode_raw(self, video: Tensor) -> Tensor:
        """Posterior means before normalisation, the linear code included."""
        if self.basis is None:
            return self.vae.encode(video).latent_dist.mode()
        linear = self.basis.encode(video)
        # An untrained encoder ends in zeros: its convolutions need not run to add nothing.
        return linear + self.vae.encode(video).latent_dist.mode() if self.vae.quant_conv.weight.any() else linear

    def decode(self, latents: Tensor) -> Tensor:
        """Whole-clip decode, clamped to [-1, 1]."""
        return self.decode_raw(self.denormalise(latents)).clamp(-1, 1)

    def decode_raw(self, raw: Tensor) -> Tensor:
        """Whole-clip decode of latents that are not normalised, not clamped where the codec is linear plus learned."""
        learned = self.vae.decode(raw).sample
        return learned if self.basis is None else learned + self._linear_frames(raw, is_start=True)

    def channel_weights(self) -> Tensor:
        """How much each latent channel shows in pixels [z], mean 1: the length of its component; 1 without linear code."""
        if self.basis is None:
            return torch.ones(self.config.z_dim)
        lengths = self.basis.components.norm(dim=0)
        return lengths / lengths.mean()

    def _linear_frames(self, raw: Tensor, *, is_start: bool) -> Tensor:
        """The linear part's frames; at the start of a stream the first latent gives one frame."""
        assert self.basis is not None
        frames = self.basis.decode(raw)
        if not is_start:
            return frames
        first = frames[:, :, :FRAMES_PER_LATENT].mean(2, keepdim=True)
        return torch.cat([first, frames[:, :, FRAMES_PER_LATENT:]], dim=2)

    def normalise(self, raw: Tensor) -> Tensor:
        """Raw latents to zero mean and unit variance per channel."""
        return (raw - _per_channel(self.latents_mean)) / _per_channel(self.latents_std)

    def denormalise(self, latents: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return latents * _per_channel(self.latents_std) + _per_channel(self.latents_mean)


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)


def silence_learned_parts(codec: Codec) -> None:
    """Make a fresh codec exactly its linear code: encoder and decoder begin by adding nothing."""
    for layer in (codec.vae.quant_conv, codec.vae.decoder.conv_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


class VaeStreamDecoder:
    """The VAE's own decoder with a feature cache that persists between blocks: exact, and slow on a CPU."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        codec.vae.clear_cache()
        self.features = [None] * len(codec.vae._feat_map)
        self.started = False

    def prime(self, latents: Tensor) -> None:
        """Start the stream with latents [1, z, F, h, w] whose frames are dropped: the reference's, or a still history."""
        self.decode_unclamped(latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [1, z, F, h, w] -> pixels [1, 3, 4F, H, W] in [-1, 1] (1 frame for the very first latent)."""
        return self.decode_unclamped(latents).clamp(-1, 1)

    def decode_unclamped(self, latents: Tensor) -> Tensor:
        """As `decode`, with whatever lies beyond [-1, 1]."""
        raw, is_start = self.codec.denormalise(latents), not self.started
        pixels = self._learned(raw)
        if self.codec.basis is None:
            return pixels
        # As whole-clip decode does: the learned part is clamped by diffusers before the linear part is added.
        return pixels.clamp(-1, 1) + self.codec._linear_frames(raw, is_start=is_start)

    def _learned(self, raw: Tensor) -> Tensor:
        """What the convolutions make of raw latents, fed one at a time: each keeps its last inputs for the next."""
        vae = self.codec.vae
        z = vae.post_quant_conv(raw)
        frames = []
        for latent in z.split(1, dim=2):
            frames.append(vae.decoder(latent, feat_cache=self.features, feat_idx=[0], first_chunk=not self.started))
            self.started = True
        return unpatchify(torch.cat(frames, dim=2), self.codec.config.pixel_patch)
