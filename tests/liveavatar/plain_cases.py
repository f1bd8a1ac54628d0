"""Streams at nano and at golden size, twice each: as users run them, and in the plain form that they must equal."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from liveavatar.config import RolloutOptions, nano, official_transformer, released_rollout
from liveavatar.model.audio import Voice
from liveavatar.model.prepared import for_inference
from liveavatar.model.transformer import S2VTransformer, initialise
from liveavatar.streaming.rollout import Rollout
from tests.liveavatar import golden
from tests.liveavatar.plain_stream import PlainStream

CASES = ("nano", "golden")
NAME = "s2v_causal"  # whose configuration "golden" takes
BLOCK_LATENTS = 3


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Case:
    """A model with random weights, none of them zero, and what a stream of it is opened with.

    model: as loaded; prepared: the same weights, as the pipeline holds them for inference.
    """

    model: S2VTransformer
    prepared: S2VTransformer
    options: RolloutOptions
    text_rows: Tensor
    sink: Tensor
    motion: Tensor | None

    def rollout(self, model: S2VTransformer, kind: type[Rollout] = Rollout, **changed: object) -> Rollout:
        """A fresh stream; the same every time."""
        options = replace(self.options, **changed)  # type: ignore[arg-type]
        text = model.encode_text(self.text_rows)
        return kind(model, options, text, self.sink, BLOCK_LATENTS, self.motion)

    def fast(self, **changed: object) -> Callable[[Tensor, Voice], Tensor]:
        """A stream as users run it: noise and voice of the next block -> its clean latents."""
        return self.rollout(self.prepared, **changed).denoise

    def plain(self, **changed: object) -> Callable[[Tensor, Voice], Tensor]:
        """The same stream, written for reading."""
        return PlainStream(self.rollout(self.model, **changed), self.text_rows).denoise

    def noise(self, block: int) -> Tensor:
        _, channels, _, height, width = self.sink.shape
        return random(1, channels, BLOCK_LATENTS, height, width, seed=100 + block)

    def voice(self, block: int) -> Voice:
        c = self.model.config
        return self.model.encode_audio(random(1, c.audio_layers, c.audio_dim, 4 * BLOCK_LATENTS, seed=200 + block))


@torch.no_grad()
@cache
def case(name: str) -> Case:
    """The named case, prepared for inference as the pipeline does."""
    if name == "nano":
        profile = nano()
        config, options, (height, width) = profile.transformer, profile.rollout, profile.latent_size
    else:
        facts = golden.facts(NAME)
        config, (height, width) = official_transformer(facts["config"]), facts["latent_hw"]
        options = replace(released_rollout(), aas_after_blocks=2)  # so that a short test sees it
    model, generator = S2VTransformer(config), torch.Generator().manual_seed(0)
    initialise(model, generator)
    for parameter in model.parameters():
        spread = 0.5 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.1
        parameter.data += spread * torch.randn(parameter.shape, generator=generator)
    model.eval().requires_grad_(False)
    sink = random(1, config.in_dim, 1, height, width, seed=1)
    motion = None if config.motion == "none" else random(1, config.in_dim, config.motion_latents, height, width, seed=2)
    text = random(1, config.text_len, config.text_dim, seed=3)
    return Case(model, for_inference(deepcopy(model)), options, text, sink, motion)
