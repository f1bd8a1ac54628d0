"""What a reader may believe: the checks of the trust box and the one-sentence verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reports import format as fmt
from reports.data import Json, Method, Metric, Run, number
from reports.speed import playback_rate, speed_row
from reports.tables import title

PASS, NOTE, WARN, FAIL = "pass", "note", "warn", "fail"
WORDS = {PASS: "holds", NOTE: "note", WARN: "caution", FAIL: "problem"}
MOST_GROWTH = 0.01
EXPECTED_OFFSET_FRAMES, OFFSET_TOLERANCE = -5, 1  # a late voice reads negative


@dataclass(frozen=True)
class Check:
    """One line of the trust box."""

    level: str
    title: str
    text: str

    @property
    def word(self) -> str:
        """The level in a word, so that colour never speaks alone."""
        return WORDS[self.level]


def checks(run: Run) -> list[Check]:
    """All lines of the trust box, in reading order."""
    made = [_completeness(run), _failures(run), _environments(run)]
    made += _swapped(run)
    made += _shifted(run)
    made += _speed(run)
    made += _streams(run)
    made += _backbones(run)
    if run.missing:
        made.append(Check(NOTE, "Files not found", "; ".join(run.missing) + "."))
    return made


def _completeness(run: Run) -> Check:
    limit = run.experiment.get("limit")
    if run.experiment.get("partial") or limit:
        why = f"only the first {limit} samples of each set were run" if limit else "not everything defined was run"
        return Check(WARN, "Partial run", f"{why[0].upper()}{why[1:]}; figures describe that part and no more.")
    return Check(PASS, "Complete run", "Every sample of the definition was meant to be run.")


def _failures(run: Run) -> Check:
    states = [str(record.get("status")) for _, record in run.records()]
    bad = [state for state in states if state != "done"]
    if not states:
        return Check(FAIL, "No records", "This folder holds a definition but no result yet.")
    if bad:
        count = f"{len(bad)} of {fmt.plural(len(states), 'record')}"
        return Check(FAIL, "Failed records", f"{count} did not finish or are invalid; see Failures.")
    return Check(PASS, "No failures", f"All {fmt.plural(len(states), 'record')} finished.")


def _but_threads(block: Json) -> Json:
    return {name: value for name, value in block.items() if name != "torch_threads"}


def _environments(run: Run) -> Check:
    origins = [record.get("origin") or {} for _, record in run.records()]
    used = sorted({str(origin["env_id"]) for origin in origins if origin.get("env_id")})
    blocks = {name: run.environments.get(name, {"id": name}) for name in used}
    # A process that did no computing with torch does not say how many threads torch has: that is no other environment.
    told = {name for name, block in blocks.items() if block.get("torch_threads", 0) is not None}
    same = {name: _but_threads(blocks[name]) for name in used}
    used = [name for name in used if name in told or not any(same[name] == same[other] for other in told)]
    if len(used) > 1:
        text = f"Records come from {len(used)} environments ({', '.join(used)}); compare speed within one only."
        return Check(WARN, "Mixed environments", text)
    if not used:
        return Check(NOTE, "Environment unknown", "No record names the environment that made it.")
    return Check(PASS, "One environment", f"All records were made in {used[0]}.")


def _cells(run: Run, metric: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """Per dataset title: measured cells of one metric by method."""
    for name, dataset in run.datasets.items():
        found = {
            str(cell.get("method")): cell
            for cell in run.cells
            if cell.get("metric") == metric and cell.get("dataset") == name and number(cell.get("value")) is not None
        }
        yield dataset.title, found


def sync_metrics(run: Run) -> list[Metric]:
    """Columns that measure agreement of lips and voice, not its offset."""
    return [
        metric
        for metric in run.metrics.values()
        if "sync" in metric.name.lower() and "offset" not in metric.name.lower() and metric.direction in ("up", "down")
    ]


def _swapped(run: Run) -> list[Check]:
    made = []
    for metric in sync_metrics(run):
        for dataset, cells in _cells(run, metric.name):
            if {"truth", "truth_swapped"} <= cells.keys():
                made.append(_swapped_check(metric, dataset, cells["truth"], cells["truth_swapped"]))
    if not made:
        text = "No sync score of truth and truth_swapped to compare."
        return [Check(NOTE, "Swapped voice not checked", text)]
    return _gathered(made, "Swapped voice is caught", "Swapped voice is not caught")


def _swapped_check(metric: Metric, dataset: str, truth: Json, swapped: Json) -> Check:
    sign = 1 if metric.direction == "up" else -1
    near, far = ("low", "high") if sign > 0 else ("high", "low")
    true, false = (fmt.decimal(cell["value"], metric.digits) for cell in (truth, swapped))
    values = f"{metric.title} {true} true, {false} swapped ({dataset})"
    if sign * (truth["value"] - swapped["value"]) <= 0:
        return Check(FAIL, "", values)
    bound, limit = number(truth.get(near)), number(swapped.get(far))
    if bound is None or limit is None or sign * (bound - limit) <= 0:
        return Check(WARN, "", values + ", intervals not apart")
    return Check(PASS, "", values)


def _shifted(run: Run) -> list[Check]:
    made = []
    for metric in run.metrics.values():
        if "offset" not in metric.name.lower() or metric.unit == "ms":
            continue
        for dataset, cells in _cells(run, metric.name):
            if "truth_shifted" in cells:
                value = cells["truth_shifted"]["value"]
                right = abs(value - EXPECTED_OFFSET_FRAMES) <= OFFSET_TOLERANCE
                said = f"{metric.title} reads {fmt.decimal(value, 1)} frames"
                text = f"{said}, {fmt.decimal(EXPECTED_OFFSET_FRAMES, 1)} expected ({dataset})"
                made.append(Check(PASS if right else FAIL, "", text))
    if not made:
        text = "No sync offset of truth_shifted was measured."
        return [Check(NOTE, "Late voice not checked", text)]
    return _gathered(made, "Voice 200 ms late is read", "Voice 200 ms late is misread")


def _gathered(made: list[Check], good: str, bad: str) -> list[Check]:
    """One line out of many: the worst level, its texts."""
    worst = next(level for level in (FAIL, WARN, PASS) if any(check.level == level for check in made))
    texts = [check.text for check in made if check.level == worst]
    return [Check(worst, bad if worst == FAIL else good, "; ".join(texts) + ".")]


def _speed(run: Run) -> list[Check]:
    rows = [speed_row(run, *entry) for entry in run.speed]
    if not rows:
        return [Check(NOTE, "Speed not measured", "There is no speed record.")]
    bad = [f"{row.method}, {row.scenario}: {row.reason or row.verdict}" for row in rows if not row.is_valid]
    if bad:
        return [Check(WARN, "Speed figures left out", f"{'; '.join(bad)}. They enter no table and no drawing.")]
    return [Check(PASS, "Speed is valid", f"{fmt.plural(len(rows), 'speed record')}, all VALID under the protocol.")]


def _streams(run: Run) -> list[Check]:
    """Long streams: does memory grow, do positions stay bounded, how fast was it, was it interrupted?"""
    made = []
    for one in run.memory:
        growth, frames = number(one.get("growth_share")), number(one.get("frames"))
        if growth is None or frames is None:
            continue
        parts = [f"{one.get('label')}: resident memory {100 * growth:+.2f} % after the first minute"]
        if number(one.get("times_playback")) is not None:
            parts.append(f"made at {one['times_playback']:.1f} times playback speed")
        if number(one.get("highest_position")) is not None:
            parts.append(f"no rotary position above {one['highest_position']:.0f}")
        starts = number(one.get("starts")) or 1
        parts.append("without interruption" if starts == 1 else f"interrupted and taken up again {starts - 1:.0f} times")
        level, title = (PASS, "Memory of the stream is flat") if growth < MOST_GROWTH else (FAIL, "Memory grows")
        made.append(Check(level, title, f"{'; '.join(parts)}."))
    return made


def _backbones(run: Run) -> list[Check]:
    nano = [metric.title for metric in run.metrics.values() if metric.is_nano]
    if not nano:
        return []
    names = ", ".join(nano)
    text = f"{names}: measured by small networks trained for this project, not by the official ones. "
    text += "Compare rows within this page; the paper's figures stand beside them for orientation only."
    return [Check(NOTE, "Nano measuring networks", text)]


def date(run: Run) -> str:
    """Day of the last record, else of the definition; empty when neither says."""
    stamps = [str(record["finished"]) for _, record in run.records() if isinstance(record.get("finished"), str)]
    return (max(stamps) if stamps else str(run.experiment.get("created") or ""))[:10]


def verdict(run: Run) -> str:
    """One sentence from the numbers: sync against the controls, rate, first frame."""
    system = run.system
    if system is None or not run.cells:
        return "This run holds no table cell yet, so there is nothing to conclude."
    parts = [part for part in (_sync_part(run, system), _speed_part(run, system)) if part]
    if not parts:
        return f"{system.title} has no measured headline figure in this run; the tables say why."
    return f"{system.title} {' and '.join(parts).rstrip(',')}."


def _sync_part(run: Run, system: Method) -> str:
    for metric in sync_metrics(run):
        for dataset, cells in _cells(run, metric.name):
            own = cells.get(system.name)
            if own is None:
                continue
            said = f"reaches {metric.title} {fmt.decimal(own['value'], metric.digits)}"
            bounds = fmt.interval(own.get("low"), own.get("high"), metric.digits)
            said += f" ({bounds})" if bounds else ""
            said += f" on {dataset}"
            others = [
                f"{fmt.decimal(cells[name]['value'], metric.digits)} for {title(run, name)}"
                for name in ("truth", "truth_swapped")
                if name in cells
            ]
            return said + (f", against {' and '.join(others)}," if others else "")
    return ""


def _speed_part(run: Run, system: Method) -> str:
    rate = playback_rate(run)
    rows = [speed_row(run, *entry) for entry in run.speed if entry[0] == system.name]
    timed = [(row, row.fps) for row in rows if row.is_valid and row.fps is not None]
    if not timed:
        return ""
    tabled = _tabled_fps(run, system)
    row, fps = timed[0] if tabled is None else min(timed, key=lambda pair: abs(pair[1] - tabled))
    said = f"generates {row.end_to_end} frames a second ({fps / rate:.1f} times playback)"
    return said + (f" with the first frame after {row.ttff}" if row.ttff != fmt.EN_DASH else "")


def _tabled_fps(run: Run, system: Method) -> float | None:
    """Generation FPS of the system as the table prints it, so that sentence and table agree."""
    for cell in run.cells:
        is_rate = cell.get("method") == system.name and "fps" in str(cell.get("metric")).lower()
        if is_rate and number(cell.get("value")) is not None:
            return cell["value"]
    return None
