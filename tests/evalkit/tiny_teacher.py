"""A teacher of the real classes at sizes that run in milliseconds, and one whose velocity is known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evalkit.methods.paradigms.teacher import Guidance, Material, Teacher
from liveavatar import components
from liveavatar.components import Components, build, placement
from liveavatar.model.transformer import S2VTransformer
from tests.liveavatar.tiny import tiny_model, tiny_profile

LATENT_S = 4 / 25


def tiny_components(monkeypatch: pytest.MonkeyPatch) -> Components:
    """32x32 px, 2 layers, random weights, by the builder that all weights come through."""
    monkeypatch.setattr(components, "profile_named", lambda name: tiny_profile())
    return build("nano", "random", placement("cpu", "float32"))


def tiny_teacher(monkeypatch: pytest.MonkeyPatch, **motion: Any) -> Teacher:
    """motion: changes to the transformer's configuration, for a network that takes a context."""
    from dataclasses import replace

    made = tiny_components(monkeypatch)
    transformer: S2VTransformer | None = None
    if motion:
        profile = replace(made.config, transformer=replace(made.config.transformer, **motion))
        transformer = tiny_model(profile)
    return Teacher(made, torch.full((made.config.transformer.audio_dim,), 0.1), transformer)


def material_of(teacher: Teacher, latents: int, seed: int = 0) -> Material:
    """A grey picture under a voice that lasts `latents` latent frames."""
    config, draw = teacher.config, np.random.default_rng(0)
    picture = draw.integers(0, 255, (config.height, config.width, 3), dtype=np.uint8)
    samples = draw.normal(0, 0.1, round(latents * LATENT_S * config.sample_rate)).astype(np.float32)
    return teacher.prepare(picture, samples, "a person speaks", (seed, "s0"))


class Linear(Teacher):
    """Velocity c x, whatever stands around: every way of windowing must give what one long window gives."""

    def __init__(self, real: Teacher, factor: float) -> None:
        self.__dict__.update(real.__dict__)
        self.factor = factor
        self.calls: list[dict[str, Any]] = []

    def velocity(
        self, x: Tensor, level: Tensor | float, at: Tensor, material: Material, guidance: Guidance,
        motion: Tensor | None = None, times: Tensor | None = None, anchor_time: float | None = None,
    ) -> Tensor:  # fmt: skip
        self.calls.append(
            {"x": x.clone(), "level": level, "at": at, "motion": motion, "times": times, "anchor_time": anchor_time}
        )
        return self.factor * x
