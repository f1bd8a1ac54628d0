"""Did the machine slow itself down while something was timed? Throttle counters and clocks, where the system shows them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

CPU = Path("/sys/devices/system/cpu")
REASONS = ("clocks_throttle_reasons.hw_slowdown", "clocks_throttle_reasons.sw_thermal_slowdown")
QUERY = ",".join(("clocks.sm", *REASONS, "power.draw", "temperature.gpu"))
LIMIT_S = 20.0


class Throttling:
    """Counters before and after a `with` block. reason: why the timing does not count; seen: what the system showed."""

    def __init__(self, cpu: Path = CPU) -> None:
        self.cpu = cpu
        self.reason = ""
        self.seen: dict[str, Any] = {}

    def __enter__(self) -> Throttling:
        self._before = cpu_throttles(self.cpu)
        return self

    def __exit__(self, *_: object) -> None:
        after = cpu_throttles(self.cpu)
        clocks = cpu_clocks_mhz(self.cpu)
        devices = gpu_state()
        if clocks:
            self.seen["cpu_mhz"] = [min(clocks), max(clocks)]
        if devices:
            self.seen["gpus"] = devices
        if self._before is not None and after is not None and after > self._before:
            self.reason = f"the processor throttled itself {after - self._before} times (heat); cool it and measure again"
        slowed = [str(place) for place, one in enumerate(devices) if "Active" in one[1:3]]
        if slowed:
            self.reason = f"GPU {', '.join(slowed)} slowed itself down (heat or power); cool it and measure again"


def cpu_throttles(cpu: Path = CPU) -> int | None:
    """How often cores were throttled for heat since the system started; None where it does not tell."""
    found = [_number(path) for path in cpu.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    numbers = [one for one in found if one is not None]
    return sum(numbers) if numbers else None


def cpu_clocks_mhz(cpu: Path = CPU) -> list[int]:
    """Present clock of each core that tells it."""
    found = [_number(path) for path in sorted(cpu.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))]
    return [one // 1000 for one in found if one is not None]


def gpu_state() -> list[list[str]]:
    """Per device: clock, slow-down by hardware, by heat, power, temperature; empty where no tool lists them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    words = [tool, f"--query-gpu={QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
