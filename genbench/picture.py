"""Pictures as bytes: PNG out, any common format in, damage named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np


def png_bytes(pixels: np.ndarray) -> bytes:
    """PNG file of pixels uint8 [H, W, 3]; the same pixels give the same bytes with the same Pillow."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def read_pixels(source: Path | bytes, name: str = "") -> np.ndarray:
    """Pixels uint8 [H, W, 3] of a picture, turned as its EXIF says. Raises ValueError, naming it, where it is broken."""
    from PIL import Image, ImageOps

    name = name or (str(source) if isinstance(source, Path) else "the picture")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            opened.load()
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is no readable picture ({error}); give a whole PNG, JPEG or WebP file") from error
