"""Golden files of the reference implementations: where they are, how they are read, and the model they describe."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from liveavatar.config import official_transformer
from liveavatar.model.transformer import S2VTransformer

FOLDER = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[3] / "shared" / "golden"))
TOLERANCE = 2e-5  # float32 on one thread; real mistakes show as 1e-3 or more


def tensors(name: str) -> dict[str, torch.Tensor]:
    """One golden file; the test is skipped only where the whole folder is absent."""
    if not FOLDER.is_dir():
        pytest.skip(f"no golden folder at {FOLDER}; set GOLDEN_DIR")
    return load_file(FOLDER / f"{name}.safetensors")


def facts(name: str) -> dict[str, Any]:
    """The configuration and notes beside a golden file."""
    if not FOLDER.is_dir():
        pytest.skip(f"no golden folder at {FOLDER}; set GOLDEN_DIR")
    return json.loads((FOLDER / f"{name}.json").read_text())


def golden(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and configuration of one golden file."""
    return tensors(name), facts(name)


def with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def model(name: str) -> S2VTransformer:
    """The transformer of a golden file: built from its configuration, every tensor loaded by its official name."""
    made = S2VTransformer(official_transformer(facts(name)["config"]))
    made.load_state_dict({key.removeprefix("sd."): t for key, t in tensors(name).items() if key.startswith("sd.")})
    return made.eval().requires_grad_(False)


def assert_same(given: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    """Same shape and, to the tolerance, the same values."""
    torch.testing.assert_close(given, expected, atol=tolerance, rtol=0)
