"""A folder of talking videos to training windows: constant 25 frames per second, long enough, and by scores if given.

Shots are taken as they come: cut the source at its shots and at AVSpeech's times beforehand. Scores of clips come from a
file that the evaluation tools wrote; nothing is imported from there.
"""

from __future__ import annotations

import csv
import json
import logging
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from liveavatar.inputs import crop_box, read_voice

logger = logging.getLogger(__name__)
SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi")
FPS = 25
_RULE = re.compile(r"^\s*(?P<name>[\w.]+)\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>-?[\d.]+)\s*$")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


@dataclass(frozen=True)
class ClipOptions:
    """Which videos are taken and how. stride_s: between the starts of windows; rules: such as "sync_c>=3"."""

    height: int
    width: int
    window_frames: int = 84
    min_seconds: float = 10.0
    stride_s: float = 2.0
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """One video: frames uint8 [n, H, W, 3] at 25 per second, samples [n * 640] of 16 kHz, its name and prompt."""

    name: str
    frames: np.ndarray
    samples: np.ndarray
    prompt: str = ""


@dataclass
class Filter:
    """Keeps clips whose scores satisfy every rule. left_out: the names it refused, with the reason."""

    scores: dict[str, dict[str, float]]
    rules: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    def keeps(self, name: str) -> bool:
        """Whether a clip passes; one without a score that a rule asks for does not."""
        for rule in self.rules:
            match = _RULE.match(rule)
            if match is None:
                raise ValueError(f"rule {rule!r}: write NAME>=NUMBER, with >=, <=, > or <")
            value = self.scores.get(name, {}).get(match["name"])
            if value is None or not _SIGNS[match["sign"]](value, float(match["bound"])):
                self.left_out[name] = f"{match['name']} is {value}, wanted {rule}"
                return False
        return True


def read_scores(file: Path) -> dict[str, dict[str, float]]:
    """Scores by clip name from a table with a `clip` column: .csv, or JSON lines. Raises ValueError without that column."""
    if file.suffix == ".csv":
        with file.open(newline="") as opened:
            rows: list[dict[str, object]] = list(csv.DictReader(opened))
    else:
        rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    if any("clip" not in row for row in rows):
        raise ValueError(f"{file} has rows without a `clip` column; it names the video without its suffix")
    return {
        str(row["clip"]): {key: number for key, value in row.items() if (number := _number(value)) is not None}
        for row in rows
    }


def video_files(folder: Path) -> list[Path]:
    """Videos of a folder and its folders, in name order; raises FileNotFoundError where there are none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no videos ({', '.join(SUFFIXES)}) in {folder}")
    return files


def read_clip(path: Path, options: ClipOptions, prompt: str = "") -> Clip | None:
    """The whole video, or None, logged, where it is shorter than wanted."""
    frames = np.stack(list(_constant_rate(path, options)))
    samples = read_voice(path)
    seconds = min(len(frames) / FPS, len(samples) / 16_000)
    if seconds < options.min_seconds:
        logger.info("left out %s: %.1f s, wanted %.1f", path.name, seconds, options.min_seconds)
        return None
    count = int(seconds * FPS)
    return Clip(path.stem, frames[:count], samples[: count * 640], prompt)


def window_starts(frames: int, options: ClipOptions) -> list[int]:
    """First frames of a clip's windows: whole ones, with one frame before each."""
    stride = round(options.stride_s * FPS)
    return list(range(1, frames - options.window_frames + 1, stride))


def _constant_rate(path: Path, options: ClipOptions) -> Iterator[np.ndarray]:
    """Frames at multiples of 1/25 s: each the last one shown by then, cropped and resized."""
    import av

    shown: np.ndarray | None = None
    due, first = 0, None
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            first = frame.time if first is None else first
            # Half a tick early: times of a video that has 25 frames per second are rounded by its container.
            while shown is not None and due / FPS < frame.time - first - 0.5 / FPS:
                yield shown
                due += 1
            shown = _fitted(frame.to_image(), options)
    if shown is not None:
        yield shown


def _fitted(image: Image.Image, options: ClipOptions) -> np.ndarray:
    target = options.width, options.height
    return np.asarray(image.resize(target, Image.Resampling.LANCZOS, crop_box(image.size, target)))


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
