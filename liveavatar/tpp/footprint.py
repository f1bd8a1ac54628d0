"""Bytes on each device of a layout, counted from sizes: weights, caches of the past, the codec, encoders of the front.

Activations and the allocator's waste are not counted. Nothing is allocated.
"""

from __future__ import annotations

import math

import torch

from liveavatar.checkpoints.layout import (
    S2V_14B,
    UMT5_XXL,
    WAV2VEC_LARGE,
    s2v_layout,
    umt5_layout,
    vae_layout,
    wav2vec_layout,
)
from liveavatar.config import ProfileConfig, RolloutOptions, SpeechConfig
from liveavatar.cost import BlockSizes, cache_bytes
from liveavatar.tpp.layout import Layout, Role

Shapes = dict[str, tuple[int, ...]]


def device_bytes(
    profile: ProfileConfig, layout: Layout, options: RolloutOptions, element_bytes: int
) -> list[dict[str, int]]:
    """Per device, by rank: "transformer", "caches", "codec" and "encoders", where they stand there."""
    networks = network_bytes(profile, element_bytes)
    return [_of_role(role, profile, options, networks, element_bytes) for role in layout.roles]


def network_bytes(profile: ProfileConfig, element_bytes: int) -> dict[str, int]:
    """Bytes of a profile's networks. The voice encoder of the official profile stays in 4 bytes a number."""
    if isinstance(profile.audio, SpeechConfig):
        return {
            "transformer": element_bytes * _count(s2v_layout(S2V_14B)),
            "codec": element_bytes * _count(vae_layout()),
            "encoders": element_bytes * _count(umt5_layout(UMT5_XXL)) + 4 * _count(wav2vec_layout(WAV2VEC_LARGE)),
        }
    from liveavatar.model.codec import Codec
    from liveavatar.model.transformer import S2VTransformer

    with torch.device("meta"):
        transformer, codec = S2VTransformer(profile.transformer), Codec(profile.codec)
    sizes = {"transformer": transformer, "codec": codec}
    return {name: element_bytes * sum(t.numel() for t in network.parameters()) for name, network in sizes.items()}


def _of_role(
    role: Role, profile: ProfileConfig, options: RolloutOptions, networks: dict[str, int], element_bytes: int
) -> dict[str, int]:
    held = {"codec": networks["codec"]}  # every stage codes the picture itself
    if role.stage.steps:
        sizes = BlockSizes(profile.block_latents, *profile.latent_size, options.window_past + 1)
        caches = len(role.stage.steps) if options.cache == "timestep" else 1
        branches = 1 if options.guidance == 1 else 2
        whole = branches * cache_bytes(profile.transformer, sizes, caches, element_bytes)
        held |= {"transformer": networks["transformer"], "caches": whole // len(role.members)}
    if role.is_front and "encoders" in networks:
        held["encoders"] = networks["encoders"]
    return held


def _count(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
