"""How tests run evalkit: as a user does, with the fakes plugged in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 600  # a guard against hanging, not a measure of speed
PLUGIN = Path(__file__).with_name("fakes.py")
TIMEOUT_S = 240  # a command takes a few seconds; only a busy machine comes near


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "evalkit", *map(str, words)]


def environment(**fake: Any) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "EVALKIT_FAKE": json.dumps(fake)}


def evalkit(*words: str, **fake: Any) -> Result:
    """Run one command to its end."""
    done = subprocess.run(
        command(*words), env=environment(**fake), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def run_fakes(out: Path, *words: str, **fake: Any) -> Result:
    """`run fake_table` into `out`."""
    return evalkit("run", "fake_table", "--plugin", str(PLUGIN), "--out", str(out), *words, **fake)


def derived_bytes(run: Path) -> dict[str, bytes]:
    """All tables and statistics of a run."""
    files = [*sorted((run / "table").iterdir()), *sorted((run / "stats").iterdir())]
    return {path.name: path.read_bytes() for path in files if not path.name.startswith(".")}
