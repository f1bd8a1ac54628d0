"""Makes one long stream and cuts it into segments; memory is sampled while the stream runs."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

from evalkit.jobs import WorkItem
from evalkit.makers.base import Maker, new_record, plain_inputs
from evalkit.makers.clips import too_short
from evalkit.methods.base import VIDEO
from evalkit.methods.remux import add_voice, cut_pictures, read_voice, voice_rate_hz
from evalkit.plan import STRESS_STREAM
from evalkit.records import DONE, INVALID, Key, Record
from evalkit.stress import repeated_voice

MEMORY = "memory.json"
SAMPLE_INTERVAL_S = 2.0
MAX_SAMPLES = 4000


class StreamMaker(Maker):
    """Streams and the clips cut from them."""

    def make(self, item: WorkItem) -> list[Record]:
        """A stream, or a segment of one that is already there."""
        is_stream = item.parts[0].key.dataset == STRESS_STREAM
        made = self.store.temporary(item.parts[0].key.artefact_dir)
        try:
            return [self._stream(item, made) if is_stream else self._segment(item, made)]
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _stream(self, item: WorkItem, made: Path) -> Record:
        part, stress = item.parts[0], self.definition.stress
        if stress is None:
            raise ValueError("this run's definition has no stress stream")
        key = part.key
        session = self.session(key.method)
        given = plain_inputs(self.loaded_set(stress.source).samples[key.sample])
        voice = repeated_voice(given.audio, stress.stream_s)
        with MemorySampler() as memory:
            generation = session.stream(given, voice, key.seed, made)
        (made / MEMORY).write_text(json.dumps(memory.curve(), indent=1) + "\n", encoding="utf-8")
        reason = too_short(generation, stress.stream_s)
        record = new_record(part, INVALID if reason else DONE)
        record.artefacts = self.store.publish(made, key.artefact_dir)
        record.outputs = {
            "frames": generation.frames,
            "fps": generation.fps,
            "reason": reason or None,
            "details": {**generation.details, "memory": memory.summary()},
        }
        record.cost = {"load_s": self.load_s.get(key.method)}
        return record

    def _segment(self, item: WorkItem, made: Path) -> Record:
        part = item.parts[0]
        key = part.key
        stream = Key(key.kind, key.method, STRESS_STREAM, key.sample, key.seed)
        begin_s, end_s = _span(key.dataset)
        video = self.store.path(f"{stream.artefact_dir}/{VIDEO}")
        if not video.is_file():
            raise FileNotFoundError(f"the stream of {key.method} is not there, so no segment can be cut from it")
        pictures, voice = made / "pictures.mp4", self.loaded_set(key.dataset).samples[key.sample].audio
        cut_pictures(video, begin_s, end_s, pictures)
        frames, fps = add_voice(pictures, read_voice(voice), voice_rate_hz(voice), made / VIDEO)
        pictures.unlink()
        reason = "" if abs(frames - (end_s - begin_s) * fps) <= 1 else f"{frames} frames instead of {end_s - begin_s:g} s"
        record = new_record(part, INVALID if reason else DONE)
        record.artefacts = self.store.publish(made, key.artefact_dir)
        record.outputs = {"frames": frames, "fps": fps, "reason": reason or None, "details": {}}
        return record


class MemorySampler:
    """Resident memory of this process over time, thinned so that the curve stays small however long the stream."""

    def __init__(self, interval_s: float = SAMPLE_INTERVAL_S) -> None:
        self.interval_s = interval_s
        self._points: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemorySampler:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def curve(self) -> dict[str, list[float]]:
        """Seconds since the stream began and resident MiB."""
        return {"t_s": [round(t, 2) for t, _ in self._points], "rss_mib": [round(mib, 2) for _, mib in self._points]}

    def summary(self) -> dict[str, float | None]:
        """Memory a tenth into the stream, at its end, and the highest."""
        values = [mib for _, mib in self._points]
        if not values:
            return {"early_mib": None, "end_mib": None, "highest_mib": None}
        early = values[len(values) // 10]
        return {"early_mib": round(early, 2), "end_mib": round(values[-1], 2), "highest_mib": round(max(values), 2)}

    def _watch(self) -> None:
        while True:
            mib = resident_mib()
            if mib is not None:
                self._points.append((time.monotonic() - self._begun, mib))
            if len(self._points) >= MAX_SAMPLES:
                self._points = self._points[::2]
                self.interval_s *= 2
            if self._stop.wait(self.interval_s):
                return


def resident_mib() -> float | None:
    """Resident memory of this process, where the system tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _span(dataset: str) -> tuple[float, float]:
    begin, end = dataset.rsplit("_", 2)[-2:]
    return float(begin), float(end)
