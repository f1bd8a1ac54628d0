"""The published TorchScript of I3D: its call contract, checked on every call.

Pictures go in as 0..255 with both flags on: the file itself maps them to -1..1 and resizes to 224 x 224. What it returns
without `resize` for another size is a silent map of scores, which is why nothing but [n, 400] is accepted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from evalkit.metrics.official.i3d import CLASSES, MIN_FRAMES
from evalkit.metrics.protocols import check_range
from evalkit.metrics.weights import WeightsError

WIDTH = CLASSES


class ScriptedI3D:
    """Class scores of clips, by the published file."""

    def __init__(self, path: Path, device: torch.device | str = "cpu"):
        try:
            self._script = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            advice = "get it again: evalkit weights get i3d"
            raise WeightsError(f"{path.name} is no TorchScript file ({reason}); {advice}") from error
        self._device = torch.device(device)

    @torch.inference_mode()
    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Features float32 [400] of pictures [T, H, W, 3] on the 0..255 scale, T >= 9."""
        check_range(clip)
        if len(clip) < MIN_FRAMES:
            raise ValueError(f"{len(clip)} pictures; I3D takes at least {MIN_FRAMES}")
        given = torch.as_tensor(np.ascontiguousarray(clip)).permute(3, 0, 1, 2)[None].contiguous()
        out = self._script(given.to(self._device), rescale=True, resize=True, return_features=True)
        if out.shape != (1, CLASSES):
            raise WeightsError(f"the file returns {tuple(out.shape)} instead of (1, {CLASSES}); it is another network's")
        return out[0].float().cpu().numpy()
