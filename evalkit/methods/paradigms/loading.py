"""From a weights folder to a teacher, tuned or not, in the type that suits the processor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from evalkit.methods.paradigms.teacher import Teacher
from evalkit.methods.paradigms.weights import tuned_tensors, with_teacher
from liveavatar.checkpoints.store import VARIED
from liveavatar.components import build, finish_transformer, placement
from liveavatar.config import TransformerConfig, nano
from liveavatar.model.transformer import S2VTransformer

PREFIX = "transformer."
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def tuned_config(name: str) -> TransformerConfig:
    """The transformer that takes a context as the tuned network `name` does."""
    config = nano().transformer
    return {
        "packed": replace(config, motion="packed", motion_latents=19),
        "pixel_context": replace(config, motion="plain", motion_latents=1),
    }[name]


def load_teacher(folder: Path, tuned: str = "", dtype: str = "") -> Teacher:
    """The teacher of a weights folder; tuned: the name of a network made from it."""
    opened = with_teacher(folder)
    components = build("nano", opened, placement("cpu", "float32"))
    no_voice, transformer = opened.tensors(VARIED)["no_voice"], None
    if tuned:
        tensors = tuned_tensors(opened, tuned)
        transformer = S2VTransformer(tuned_config(tuned))
        own = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
        transformer.load_state_dict(own)
        transformer = finish_transformer(transformer, placement("cpu", "float32"))
    return Teacher(components, no_voice, transformer, TYPES[dtype or fast_type()])


def fast_type() -> str:
    """bfloat16 where the processor multiplies it in hardware, else float32."""
    has_it = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bfloat16" if has_it else "float32"
