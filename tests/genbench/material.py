"""A user's own pictures and recordings for tests: distinct, sharp pictures and loud enough speech-like sound."""

from __future__ import annotations

import csv
import wave
from pathlib import Path

import numpy as np
from PIL import Image


def draw_picture(path: Path, seed: int, size: tuple[int, int] = (288, 384)) -> None:
    """Blocks of random colour with a fine pattern: sharp, and unlike any other seed's."""
    source = np.random.default_rng(seed)
    blocks = source.integers(0, 256, (8, 6, 3), dtype=np.uint8).repeat(48, 0).repeat(48, 1)
    blocks[::4, ::4] = 255 - blocks[::4, ::4]
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(path)


def record_voice(path: Path, seconds: float, rate_hz: int = 16_000, level: float = 0.2) -> None:
    """A tone that swells five times a second, as syllables do."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = level * np.sin(2 * np.pi * 220 * t) * (0.5 + 0.5 * np.sin(2 * np.pi * 5 * t))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def own_folder(folder: Path, count: int = 3, seconds: float = 2.0) -> Path:
    """A folder of pictures one, two .. with recordings and transcripts of the same names."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        draw_picture(folder / f"person{index}.png", index)
        record_voice(folder / f"person{index}.wav", seconds)
        (folder / f"person{index}.txt").write_text(f"This is what person {index} says.")
    return folder


def write_table(folder: Path, rows: list[dict[str, str]]) -> None:
    """samples.csv with the columns of the first row."""
    with (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
