"""Latent shards for tests: still clips of two blocks that show the negative of their reference."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from liveavatar.training.voice_stage import TRACKS


def write_latent_shards(folder: Path, clips: int = 4) -> Path:
    """Two shards of a few clips: what can be learned of them is one sign."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        still = torch.randn(clips, 16, 4, 4, generator=generator).half()
        tensors = {
            "latents": -still[:, :, None].expand(-1, -1, 7, -1, -1).contiguous(),
            "references": still[:, None].expand(-1, 2, -1, -1, -1).contiguous(),
            **{name: torch.rand(clips, 25, generator=generator) for name in TRACKS},
            "audio": torch.randint(-3000, 3000, (clips, (16 + 25 + 8) * 640), generator=generator).short(),
            "channels": torch.ones(clips, 16),
            "words": torch.randint(0, 1024, (clips, 16), generator=generator),
            "mouth_box": torch.tensor([0.4, 0.5, 0.6, 0.7]).expand(clips, 25, 4).contiguous(),
        }
        save_file(tensors, folder / f"{name}.safetensors")
    return folder
