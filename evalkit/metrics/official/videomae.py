"""VideoMAE-v2's vision transformer (Wang et al. 2023), for the content-debiased Fréchet video distance.

The feature is the mean over all tokens after the last norm; the classification head is not used (Ge et al. 2024).
Pictures go in as 0..1 without mean or deviation, as that code does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evalkit.metrics.protocols import check_range
from evalkit.metrics.resize import bilinear


@dataclass(frozen=True)
class VideoMaeConfig:
    """Sizes; `inner` is the width of the feed-forward layers."""

    width: int
    layers: int
    heads: int
    inner: int
    size: int = 224
    patch: int = 14
    frames: int = 16
    tubelet: int = 2

    @property
    def tokens(self) -> int:
        """Tokens of a clip."""
        return (self.size // self.patch) ** 2 * (self.frames // self.tubelet)


def vit_g() -> VideoMaeConfig:
    """The published ViT-g, a billion parameters."""
    return VideoMaeConfig(width=1408, layers=40, heads=16, inner=6144)


class VideoMae(nn.Module):
    """Clips float32 [n, 3, 16, 224, 224] in 0..1 -> features [n, width]."""

    def __init__(self, config: VideoMaeConfig):
        super().__init__()
        self.config = config
        self.patch_embed = nn.Module()
        side = (config.tubelet, config.patch, config.patch)
        self.patch_embed.proj = nn.Conv3d(3, config.width, side, side)
        self.blocks = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.fc_norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, clips: Tensor) -> Tensor:
        config = self.config
        if clips.shape[1:] != (3, config.frames, config.size, config.size):
            wanted = f"[n, 3, {config.frames}, {config.size}, {config.size}]"
            raise ValueError(f"clips of shape {tuple(clips.shape)}; give {wanted}")
        x = self.patch_embed.proj(clips).flatten(2).transpose(1, 2)  # type: ignore[operator]
        x = x + positions(config.tokens, config.width).to(x)
        for block in self.blocks:
            x = block(x)
        return self.fc_norm(x.mean(1))


class Layer(nn.Module):
    """Attention and feed-forward, each after a norm and added."""

    def __init__(self, config: VideoMaeConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Linear(config.width, config.inner)
        self.mlp.fc2 = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))  # type: ignore[operator]


class Attention(nn.Module):
    """Joint projection whose keys have no bias, as in BEiT."""

    def __init__(self, config: VideoMaeConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(config.width))
        self.v_bias = nn.Parameter(torch.zeros(config.width))
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        q, k, v = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def positions(tokens: int, width: int) -> Tensor:
    """Sines at even and cosines at odd places [1, tokens, width], angles token / 10000^(2 (i // 2) / width)."""
    index = torch.arange(width)
    angles = torch.arange(tokens, dtype=torch.float64)[:, None] / 10000 ** ((2 * (index // 2)).double() / width)
    return torch.where(index % 2 == 0, angles.sin(), angles.cos()).float()[None]


def prepare(clip: np.ndarray) -> Tensor:
    """Float32 [3, 16, 224, 224] in 0..1 of pictures [16, H, W, 3] on the 0..255 scale; aspect not kept, no antialias."""
    check_range(clip)
    return (bilinear(clip, 224) / 255).transpose(0, 1)


def without_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint that the feature needs."""
    return {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
