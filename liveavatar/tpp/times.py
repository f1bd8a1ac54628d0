"""How long the parts of a block take: given, or read from a file that `tpp measure` or a person wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from liveavatar.config import RolloutOptions


class TimesError(ValueError):
    """Times that cannot be used; the message says where and what is expected."""


@dataclass(frozen=True)
class Times:
    """Seconds per block of `block_frames` frames.

    t_dit: one evaluation, or one value per step. t_vae: decoding. t_voice: sound to voice, on the first stage. t_output:
    frames to the consumer. t_hand: what a stage spends on passing a block on. t_prefill: the sink's own evaluation.
    look_ahead_s: sound behind a block that it waits for.
    """

    t_dit: float | tuple[float, ...]
    t_vae: float
    t_voice: float = 0.0
    t_output: float = 0.0
    t_hand: float = 0.0
    t_prefill: float = 0.0
    look_ahead_s: float = 0.0
    block_frames: int = 12
    playback_fps: float = 25.0

    @property
    def block_s(self) -> float:
        """How long a block plays."""
        return self.block_frames / self.playback_fps

    def step(self, step: int, steps: int) -> float:
        """Seconds of one evaluation at a step; a list for another number of steps counts with its mean."""
        if not isinstance(self.t_dit, tuple):
            return self.t_dit
        return self.t_dit[step] if len(self.t_dit) == steps else sum(self.t_dit) / len(self.t_dit)

    def evaluations(self, steps: range, options: RolloutOptions) -> float:
        """Seconds of all evaluations of some steps of a block, guidance and the clean pass included."""
        branches = 1 if options.guidance == 1 else 2
        seconds = sum(self.step(step, options.steps) for step in steps)
        if options.cache == "clean" and steps:
            seconds += self.step(options.steps - 1, options.steps)
        return branches * seconds


@dataclass(frozen=True)
class TimesFile:
    """Common times, and those of single layouts where these have their own."""

    common: Mapping[str, Any]
    layouts: Mapping[str, Mapping[str, Any]]

    def of(self, layout: str) -> Times:
        """Times of a layout by name; raises TimesError where t_dit or t_vae is missing."""
        values = {**self.common, **self.layouts.get(layout, {})}
        missing = [name for name in ("t_dit", "t_vae") if name not in values]
        if missing:
            lacking = " and ".join(missing)
            raise TimesError(f"no {lacking} for layout {layout!r}: give --t-dit and --t-vae, or a file of times")
        return Times(**values)

    def has_own(self, layout: str) -> bool:
        """Whether the file gives this layout times of its own."""
        return bool(self.layouts.get(layout))


_NAMES = tuple(field.name for field in fields(Times))


def read_times(path: Path | None, **given: float | None) -> TimesFile:
    """A file {"t_dit": s, "t_vae": s, ..., "layouts": {NAME: {"t_dit": s}}}; `given` values replace the common ones.

    Other keys (where times were measured, and how) are ignored. Raises TimesError for what is not a positive number.
    """
    common = {name: value for name, value in given.items() if value is not None}
    if path is None:
        return TimesFile(_checked(common, "the command line"), {})
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TimesError(f"times {path}: {error.strerror}") from error
    except ValueError as error:
        raise TimesError(f"times {path} is not JSON: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("layouts", {}), dict):
        raise TimesError(f'times {path}: expected an object such as {{"t_dit": 0.5, "t_vae": 0.5, "layouts": {{}}}}')
    own = {name: _checked(part, f"{path}, layout {name}") for name, part in values.get("layouts", {}).items()}
    return TimesFile({**_checked(values, str(path)), **_checked(common, "the command line")}, own)


def _checked(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The known times among `values`."""
    if not isinstance(values, Mapping):
        raise TimesError(f"{where}: expected an object of times, not {values!r}")
    known: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in _NAMES}
    for name, value in known.items():
        each = value if isinstance(value, tuple) and value else (value,)
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and v >= 0 for v in each):
            raise TimesError(f"{where}: {name}={value!r}; give seconds, 0 or more")
    if "block_frames" in known and (known["block_frames"] < 1 or known.get("playback_fps", 1) <= 0):
        raise TimesError(f"{where}: block_frames and playback_fps must be above 0")
    return known


def with_changes(times: Times, **changes: float) -> Times:
    """The same times but for what is named."""
    return replace(times, **changes)  # type: ignore[arg-type]
