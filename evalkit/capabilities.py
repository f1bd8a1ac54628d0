"""Table 1 from runs: streaming, real time and unlimited length are what was measured, beside the paper's ticks.

Streaming: a frame leaves before the input ends. Real time: generation is at least as fast as playback. Unlimited length:
no cap on the voice, and memory that does not grow with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.definition import Definition, MethodInfo
from evalkit.records import DONE, GENERATE, INVALID, SPEED, Key, Record
from evalkit.speed import VALID
from evalkit.store import Store

STREAMING, REAL_TIME, UNLIMITED = "streaming", "real_time", "unlimited"
COLUMNS = (STREAMING, REAL_TIME, UNLIMITED)
PROBE, CLIPS = "streaming", "clips"
"""Scenarios of records that are read from what is there: whether a method streams, and the speed of its clips."""

FLAT_MIB_PER_MINUTE = 10.0
"""Memory that grows slower than this counts as flat: a minute of nano's latents alone is 14 MiB."""


@dataclass(frozen=True)
class Finding:
    """Whether a method can, and how that was seen; None: not known, and why."""

    can: bool | None
    evidence: str


def finding(store: Store, definition: Definition, method: MethodInfo, column: str, speed: Record | None) -> Finding:
    """One cell of Table 1."""
    if column == STREAMING:
        return streaming(store.read(probe_key(definition, method)) if definition.speed else None)
    if column == REAL_TIME:
        return real_time(speed)
    return unlimited(method, list(_clips(store, definition, method)))


def probe_key(definition: Definition, method: MethodInfo) -> Key:
    """Where the streaming probe of a method is recorded."""
    assert definition.speed is not None
    return Key(SPEED, method.name, definition.speed.dataset, scenario=PROBE)


def streaming(probe: Record | None) -> Finding:
    """From the record of the probe."""
    if probe is None or probe.status != DONE:
        return Finding(None, "not probed yet" if probe is None else f"the probe failed: {_error(probe)}")
    heard_s, voice_s = probe.outputs["heard_s"], probe.outputs["voice_s"]
    if heard_s is not None:
        return Finding(True, f"its first frame was there when {heard_s:.1f} of {voice_s:.1f} s had been heard")
    return Finding(False, probe.outputs["reason"] or f"no frame before all {voice_s:.1f} s had been heard")


def real_time(speed: Record | None) -> Finding:
    """From the speed record."""
    if speed is None:
        return Finding(None, "its speed is not measured")
    if speed.outputs.get("verdict") != VALID:
        return Finding(None, f"speed INVALID: {speed.outputs.get('reason')}")
    made, played = speed.outputs["fps_end_to_end"], speed.outputs["playback_fps"]
    text = f"{made:.2f} frames/s generated, {played:g} played: {made / played:.2f} times real time"
    return Finding(made >= played, text)


def unlimited(method: MethodInfo, clips: list[tuple[float, float]]) -> Finding:
    """From a cap on the voice, or the slope of memory over clips (seconds, MiB) of at least two lengths."""
    if method.longest_s:
        return Finding(False, method.longest_reason or f"voices of at most {method.longest_s:g} s")
    if not clips or max(clips)[0] < 2 * min(clips)[0]:
        return Finding(None, "memory is known for clips of one length only")
    slope = memory_slope(clips)
    lengths = f"clips of {min(clips)[0]:.0f} to {max(clips)[0]:.0f} s"
    return Finding(slope < FLAT_MIB_PER_MINUTE, f"memory grows by {slope:.1f} MiB per minute over {lengths}")


def memory_slope(clips: list[tuple[float, float]]) -> float:
    """Least-squares slope in MiB per minute."""
    mean_s, mean_mib = (sum(values) / len(clips) for values in zip(*clips, strict=True))
    above = sum((seconds - mean_s) * (mib - mean_mib) for seconds, mib in clips)
    return 60 * above / sum((seconds - mean_s) ** 2 for seconds, _ in clips)


def _clips(store: Store, definition: Definition, method: MethodInfo) -> list[tuple[float, float]]:
    """(seconds, MiB held) of the method's finished clips."""
    found = []
    for dataset in definition.datasets:
        for sample in dataset.samples:
            for seed in definition.seeds:
                record = store.read(Key(GENERATE, method.name, dataset.name, sample.id, seed))
                mib = held_mib(record) if record is not None and record.status in (DONE, INVALID) else None
                if mib is not None:
                    found.append((sample.duration_s, mib))
    return found


def held_mib(record: Record) -> float | None:
    """What a clip took: of a program all of its memory, of a method in our worker what was added to it."""
    whole = (record.outputs.get("details") or {}).get("peak_host_bytes")
    if whole:
        return float(whole) / 2**20
    added = record.cost.get("memory_mib")
    return float(added) if added is not None else None


def _error(record: Record) -> str:
    return record.error.message if record.error else record.status
