"""Prompts that change in mid-stream, from a file of JSON lines: {"time": seconds, "prompt": "words"}."""

from __future__ import annotations

import json
import math
from pathlib import Path

from liveavatar.inputs import InputError, require_file


def read_prompts(path: Path) -> list[tuple[float, str]]:
    """(seconds, prompt) pairs in order of time; empty lines are skipped.

    Raises InputError naming the line that is not such an object, or whose time is negative or repeats another's.
    """
    found: dict[float, str] = {}
    for number, line in enumerate(require_file(path, "prompts").read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            time_s, prompt = float(entry["time"]), entry["prompt"]
        except (ValueError, KeyError, TypeError) as error:
            raise _wrong(path, number, line) from error
        if not isinstance(prompt, str) or not math.isfinite(time_s) or time_s < 0:
            raise _wrong(path, number, line)
        if time_s in found:
            raise InputError(f"prompts {path}, line {number}: {time_s:g} s has a prompt already; give each time once")
        found[time_s] = prompt
    return sorted(found.items())


def _wrong(path: Path, number: int, line: str) -> InputError:
    shown = line if len(line) <= 60 else line[:57] + "..."
    return InputError(f'prompts {path}, line {number} is {shown}; each line is {{"time": seconds, "prompt": "words"}}')
