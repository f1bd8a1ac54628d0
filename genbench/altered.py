"""A set whose pictures lie outside the world that made it: other light, other colours, another crop.

The words, voices and truth of mouths stay, so what a method makes of a strange picture is measured as any other. The
truth cannot be drawn for such a picture, so there are no control rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from genbench.atomic import write_bytes, write_json
from genbench.manifest import MANIFEST_NAME, FileEntry, Manifest, load_manifest
from genbench.picture import png_bytes, read_pixels

ALTERED = "altered"
"""Key of a sample's `source`."""
Alteration = Callable[[np.ndarray], np.ndarray]
EXPOSURE_STOPS = 0.8
HUE_TURN_DEG = 40.0
CROP_SHARE = 0.85


def brighter(pixels: np.ndarray) -> np.ndarray:
    """Pixels uint8 [H, W, 3] exposed by EXPOSURE_STOPS more, in linear light, with a soft shoulder instead of clipping."""
    linear = (pixels / 255.0) ** 2.2 * 2.0**EXPOSURE_STOPS
    return _bytes((linear / (1 + linear**4) ** 0.25) ** (1 / 2.2))


def recoloured(pixels: np.ndarray) -> np.ndarray:
    """Colours turned by HUE_TURN_DEG around the grey axis and drawn in fewer tones: another hand's palette."""
    angle = np.deg2rad(HUE_TURN_DEG)
    third, across = (1 - np.cos(angle)) / 3, np.sin(angle) / np.sqrt(3)
    turn = np.full((3, 3), third) + np.cos(angle) * np.eye(3)
    turn += across * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    toned = np.round(pixels / 255.0 * 11) / 11
    return _bytes(toned @ turn.T)


def cropped(pixels: np.ndarray) -> np.ndarray:
    """The middle CROP_SHARE of the picture at its full size: a face nearer than the world shows any."""
    from PIL import Image

    height, width = pixels.shape[:2]
    dx, dy = width * (1 - CROP_SHARE) / 2, height * (1 - CROP_SHARE) / 2
    box = (dx, dy, width - dx, height - dy)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box=box))


ALTERATIONS: dict[str, Alteration] = {"exposure": brighter, "palette": recoloured, "crop": cropped}


def alter(source: Path, folder: Path, name: str) -> Manifest:
    """A copy of a built set in `folder`, called `name`, each sample's picture altered by the next of ALTERATIONS.

    The manifest comes last, so a copy cut short is none. Which alteration a sample had stands in its `source`; the face's
    box is cropped with the picture. Raises DamagedSetError where the source is not as it was built.
    """
    manifest = load_manifest(source)
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST_NAME))
    samples = []
    for index, sample in enumerate(manifest.samples):
        kind = list(ALTERATIONS)[index % len(ALTERATIONS)]
        path = folder / sample.image.path
        write_bytes(path, png_bytes(ALTERATIONS[kind](read_pixels(source / sample.image.path))))
        box = _cropped_box(sample.face_box) if kind == "crop" else sample.face_box
        origin = {**sample.source, ALTERED: kind}
        samples.append(replace(sample, folder=folder, image=FileEntry.of(folder, path), face_box=box, source=origin))
    altered = replace(manifest, folder=folder, name=name, samples=tuple(samples), known_digest="")
    write_json(folder / MANIFEST_NAME, altered.to_record())
    return altered


def _cropped_box(box: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    x0, y0, x1, y1 = (min(1.0, max(0.0, (edge - 0.5) / CROP_SHARE + 0.5)) for edge in box)
    return x0, y0, x1, y1


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.round(picture.clip(0, 1) * 255).astype(np.uint8)
