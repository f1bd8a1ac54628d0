"""What a run looks like now: counts, rate, time left and failing records, from its files alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalkit.definition import load_definition
from evalkit.lock import FILE, age_text, held_shards, is_held, read_lock
from evalkit.plan import Plan, make_plan
from evalkit.progress import duration_text
from evalkit.records import FAILED, GENERATE, SCORE, SPEED
from evalkit.store import Store

RECENT_S = 600.0


def run_status(run: Path) -> dict[str, Any]:
    """Counts by kind and state, recent rate, and failures with the last line of their log."""
    definition = load_definition(run)
    store = Store(run)
    plan = make_plan(store, definition)
    held = is_held(run)
    driver = read_lock(run / FILE)
    return {
        "run": str(run),
        "experiment": definition.name,
        "suite": definition.suite,
        "partial": definition.partial,
        "complete": plan.is_complete(),
        "counts": {kind: plan.counts(kind) for kind in (GENERATE, SPEED, SCORE) if plan.of(kind)},
        "shards": held_shards(run),
        "driver": {"running": held, "pid": driver.get("pid"), "last_seen": age_text(driver) if driver else None},
        **_rate(store, plan),
        "failures": [_failure(store, item.key) for item in plan.items if item.state == FAILED],
    }


def status_lines(status: dict[str, Any]) -> list[str]:
    """The same for a reader."""
    lines = [f"{status['experiment']} ({status['suite']}) in {status['run']}"]
    for kind, counts in status["counts"].items():
        shown = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        lines.append(f"  {kind:9} {shown}")
    driver = status["driver"]
    if driver["running"] and not status["shards"]:
        lines.append(f"  running: process {driver['pid']}, last seen {driver['last_seen']}")
    elif driver["pid"]:
        lines.append(f"  stopped without finishing: process {driver['pid']}, last seen {driver['last_seen']}")
    if status["shards"]:
        lines.append(f"  running: shards {', '.join(status['shards'])}")
    if status["records_per_minute"]:
        lines.append(f"  {status['records_per_minute']:.1f} records/min, about {duration_text(status['left_s'])} left")
    lines += [
        f"  failed: {one['record']}: {one['error']}" + (f" | {one['log_line']}" if one["log_line"] else "")
        for one in status["failures"]
    ]
    lines.append(
        "complete" if status["complete"] else f"next: python -m evalkit run {status['experiment']} --out {status['run']}"
    )
    return lines


def _rate(store: Store, plan: Plan) -> dict[str, float | None]:
    """Records finished in the last minutes, and what that means for those left; nothing when no work is left."""
    now = datetime.now(UTC)
    ages = []
    for record in store.records():
        try:
            ages.append((now - datetime.fromisoformat(record.finished)).total_seconds())
        except ValueError:
            continue
    recent = [age for age in ages if age <= RECENT_S]
    left = len([item for item in plan.items if item.state in ("missing", "stale")])
    if not recent or not left or max(recent) <= 0:
        return {"records_per_minute": None, "left_s": None}
    per_second = len(recent) / max(recent)
    return {"records_per_minute": 60 * per_second, "left_s": left / per_second}


def _failure(store: Store, key: Any) -> dict[str, str]:
    record = store.read(key)
    error = record.error if record else None
    if error is None:
        return {"record": key.label(), "error": "", "log": "", "log_line": ""}
    lines = error.tail.splitlines() or _log_lines(store, error.log)
    return {
        "record": key.label(),
        "error": f"{error.kind}: {error.message}",
        "log": error.log,
        "log_line": lines[-1] if lines else "",
    }


def _log_lines(store: Store, log: str) -> list[str]:
    try:
        return store.path(log).read_text(encoding="utf-8", errors="replace").splitlines() if log else []
    except OSError:
        return []
