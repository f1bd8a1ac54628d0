"""Reference outputs for the parity tests: any folder of the same form, named by GOLDEN_DIR."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[3] / "shared" / "golden"))


def golden(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and configuration of one golden file; the test is skipped only where the whole folder is absent."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden folder at {GOLDEN}; set GOLDEN_DIR")
    return load_file(GOLDEN / f"{name}.safetensors"), json.loads((GOLDEN / f"{name}.json").read_text())


def with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
