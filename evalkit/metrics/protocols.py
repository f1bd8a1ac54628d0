"""Named input protocols of FID and FVD: how pixels become what a network sees. Values of two protocols never mix.

`fid_pytorch` is what most papers ran, `fid_clean` the recommended one, `fid_tf` the original; `fid_torchmetrics` is the
default of that library. For FVD, `fvd_styleganv` squashes to a square, `fvd_crop` keeps the aspect and crops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from evalkit.metrics import resize

FID_SIZE, FVD_SIZE = 299, 224


@dataclass(frozen=True)
class Protocol:
    """A resize, the map of 0..255 to the network's range, and the words for a table's footnote."""

    name: str
    size: int
    resize: resize.Resize
    scale: Callable[[Tensor], Tensor]
    about: str

    def __call__(self, pictures: np.ndarray | Tensor) -> Tensor:
        """Network input float32 [n, 3, size, size] of RGB pictures [n, H, W, 3] on the 0..255 scale.

        Raises ValueError where pictures are not on that scale: 0..1 is the commonest mistake of all.
        """
        check_range(pictures)
        return self.scale(self.resize(pictures, self.size))


def check_range(pictures: np.ndarray | Tensor) -> None:
    """Refuse floats that look like 0..1 or -1..1; uint8 is always right."""
    if "uint8" in str(pictures.dtype) or not len(pictures):
        return
    low, high = float(pictures.min()), float(pictures.max())
    if low < -1e-3 or high > 255.001 or 0 < high <= 1:
        raise ValueError(f"pictures lie in {low:g}..{high:g}; give uint8, or floats on the 0..255 scale")


def unit_to_signed(x: Tensor) -> Tensor:
    """2 x / 255 - 1: 255 becomes +1 exactly."""
    return 2 * (x / 255) - 1


def minus_128(x: Tensor) -> Tensor:
    """(x - 128) / 128, as the TensorFlow graph does."""
    return (x - 128) / 128


PROTOCOLS: dict[str, Protocol] = {
    one.name: one
    for one in (
        Protocol("fid_pytorch", FID_SIZE, resize.bilinear, unit_to_signed, "bilinear, no antialias, 2x - 1"),
        Protocol("fid_clean", FID_SIZE, resize.bicubic_clean, minus_128, "Pillow bicubic, float, (x - 128)/128"),
        Protocol("fid_tf", FID_SIZE, resize.bilinear_tf1, minus_128, "TF1 bilinear, (x - 128)/128"),
        Protocol(
            "fid_torchmetrics", FID_SIZE, resize.bilinear_antialias, minus_128, "bilinear, antialias, (x - 128)/128"
        ),
        Protocol("fvd_styleganv", FVD_SIZE, resize.bilinear, unit_to_signed, "squashed to 224 x 224, no antialias, 2x - 1"),
        Protocol(
            "fvd_crop", FVD_SIZE, resize.short_side_crop, unit_to_signed, "short side 224, centre crop, no antialias, 2x - 1"
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name."""
    from evalkit.names import unknown

    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
