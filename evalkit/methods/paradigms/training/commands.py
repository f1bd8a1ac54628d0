"""The bodies of the verbs: recipes, stages, and the way of what was trained into the weights folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from evalkit.methods.paradigms.files import TEACHER
from evalkit.methods.paradigms.loading import load_teacher
from evalkit.methods.paradigms.motion_space.networks import MotionCodec
from evalkit.methods.paradigms.training.context_stage import KINDS, ContextStage
from evalkit.methods.paradigms.training.motion_stages import MotionCodecStage, MotionDenoiserStage, prepare_motion
from evalkit.methods.paradigms.weights import add_weights, teacher_parts, tuned_parts, with_teacher
from liveavatar.checkpoints.store import VARIED
from liveavatar.config import nano
from liveavatar.model.codec import Codec
from liveavatar.training import checkpoint
from liveavatar.training.loop import train
from liveavatar.training.recipes import Recipe

RECIPES = {
    "packed": Recipe(
        "packed", steps=900, batch=4, rate=4e-4, final_rate=2e-5, warmup=30, ema=0.99, optimiser="muon", evaluate_every=300
    ),
    "pixel_context": Recipe(
        "pixel_context", steps=900, batch=6, rate=4e-4, final_rate=2e-5, warmup=30, ema=0.99, optimiser="muon",
        evaluate_every=300,
    ),
    "motion_codec": Recipe("motion_codec", steps=4000, batch=12, rate=1.5e-3, final_rate=5e-5, ema=0.998),
    "motion_diffusion": Recipe("motion_diffusion", steps=4000, batch=32, rate=1e-3, final_rate=2e-5, ema=0.998),
}  # fmt: skip
"""Each at most about an hour on two cores; what they took is in their folders' curves."""


def recipe_named(name: str) -> Recipe:
    """The recipe of a verb."""
    return RECIPES[name]


def run(recipe: Recipe, weights: Path | None, data: Path, out: Path, max_minutes: float) -> None:
    """Train a recipe's stage into `out`, resuming what is there."""
    stage: Any
    if recipe.stage in KINDS:
        assert weights is not None
        opened = with_teacher(weights)
        codec = Codec(nano().codec)
        opened.load_into("codec", codec)
        stage = ContextStage(KINDS[recipe.stage], opened.tensors(VARIED), codec, data, recipe.seed, recipe.batch)
    elif recipe.stage == "motion_codec":
        stage = MotionCodecStage(data, recipe.seed, recipe.batch)
    else:
        stage = MotionDenoiserStage(data, recipe.seed, recipe.batch)
    train(stage, recipe, out, max_minutes)


def prepare(weights: Path, codec: Path, data: Path, out: Path) -> None:
    """Motion vectors and voice rows of shards of frames."""
    network = MotionCodec()
    network.load_state_dict(load_file(averaged(codec)))
    prepare_motion(network, load_teacher(weights, dtype="float32").components, data, out)


def export(weights: Path, parts: dict[str, str]) -> None:
    """Averaged weights of training folders into a weights folder, the teacher's before those of networks made from it.

    Raises ValueError for a name that no paradigm uses.
    """
    for name, folder in parts.items():
        if name not in (TEACHER, *RECIPES):
            raise ValueError(f"{name!r} is no network of the paradigms; those are {', '.join((TEACHER, *RECIPES))}")
        tensors = load_file(averaged(Path(folder)))
        if name == TEACHER:
            tensors = teacher_parts(tensors)
        elif name in KINDS:
            tensors = tuned_parts(with_teacher(weights).tensors(VARIED), tensors)
        add_weights(weights, name, tensors, record(Path(folder)))


def averaged(folder: Path) -> Path:
    """The averaged weights of a training folder's newest checkpoint; raises FileNotFoundError when it has none."""
    found = checkpoint.latest(folder)
    if found is None:
        raise FileNotFoundError(f"no checkpoint in {folder}; train it first")
    return found / "ema.safetensors"


def record(folder: Path) -> dict[str, Any]:
    """Recipe, steps and the last held-out figures of a training folder."""
    state = json.loads((averaged(folder).parent / "state.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text(encoding="utf-8").splitlines()]
    held_out = [line["held_out"] for line in lines if "held_out" in line and line["step"] <= state["step"]]
    return {**state, "held_out": held_out[-1] if held_out else None}
