"""Seeds by name: every random choice draws from a stream named by what it is for, so order never matters.

`derive_seed("train", 0, "clip", 17)` is the same number on every machine, process and day. Benchmark sets and training
shards start from different first words, which keeps their identities and their speech apart.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BENCHMARK_NAMESPACE = "benchmark"
TRAINING_NAMESPACE = "training"
HELD_OUT_NAMESPACE = "held out"
_SEPARATOR = "\x1f"


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed that depends on every part and on their order."""
    if not parts:
        raise ValueError("derive_seed() was given no parts; name what the seed is for, e.g. derive_seed('training', 0)")
    text = _SEPARATOR.join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(*parts: str | int) -> torch.Generator:
    """A CPU generator seeded by name, so results do not depend on the device."""
    import torch

    return torch.Generator().manual_seed(derive_seed(*parts))


def python_random(*parts: str | int) -> random.Random:
    """A standard-library source seeded by name; callers use `.random()` only, which Python keeps stable."""
    return random.Random(derive_seed(*parts))
