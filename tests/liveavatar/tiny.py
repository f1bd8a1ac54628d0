"""A tiny model for tests: the real classes at sizes that run in milliseconds."""

from __future__ import annotations

from dataclasses import replace

import torch

from liveavatar.config import AudioConfig, ProfileConfig, nano
from liveavatar.model.speech_encoder import SpeechEncoder
from liveavatar.model.transformer import S2VTransformer, initialise


def tiny_profile() -> ProfileConfig:
    """32x32 px, 2 layers, width 32: everything else as in nano."""
    profile = nano()
    transformer = replace(
        profile.transformer, dim=32, ffn_dim=64, num_layers=2, num_heads=2, freq_dim=32, in_dim=16, out_dim=16, cond_dim=16,
        audio_inject_layers=(0,),
    )  # fmt: skip
    return replace(profile, transformer=transformer, codec=replace(profile.codec, z_dim=16), height=32, width=32)


def tiny_model(profile: ProfileConfig) -> S2VTransformer:
    """Random weights, none of them zero, so that every path matters."""
    model = S2VTransformer(profile.transformer)
    generator = torch.Generator().manual_seed(0)
    initialise(model, generator)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval().requires_grad_(False)


def tiny_speech(profile: ProfileConfig) -> SpeechEncoder:
    """A speech encoder of random weights."""
    assert isinstance(profile.audio, AudioConfig)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpeechEncoder(profile.audio.mel_bins, profile.audio.encoder_width).eval().requires_grad_(False)
