"""Makes one long stream and cuts it into segments; memory is sampled while the stream runs."""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evalkit.experiments import WINDOW_S
from evalkit.jobs import WorkItem
from evalkit.long_stream import LongStream, join_parts
from evalkit.makers.base import Maker, new_record, plain_inputs
from evalkit.makers.clips import too_short
from evalkit.methods.base import VIDEO, Generation
from evalkit.methods.remux import add_voice, cut_pictures, read_voice, voice_rate_hz
from evalkit.names import slug
from evalkit.plan import STRESS_STREAM, STRESS_WINDOWS, streamed_sample, window_begin_s
from evalkit.records import DONE, INVALID, Key, Record
from evalkit.stress import cut_repeated, repeated_voice

MEMORY = "memory.json"
SAMPLE_INTERVAL_S = 2.0
MAX_SAMPLES = 4000
FIRST_MINUTE_S = 60.0


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
        stream = session.frames(given, key.seed)
        # Not a temporary folder: what an interrupted run has made of the stream is where the next one goes on.
        work = LongStream(self.store.path(f"streams/{slug(key.method)}/{key.clip}"), part.fingerprint)

        def voice(first: int) -> Iterator[np.ndarray]:
            return repeated_voice(given.audio, stress.stream_s, first=first)

        with MemorySampler() as memory:
            work.run(stream, voice)
        frames, fps = join_parts(work.parts(), voice(0), voice_rate_hz(given.audio), made / VIDEO)
        (made / MEMORY).write_text(json.dumps(memory.curve(), indent=1) + "\n", encoding="utf-8")
        reason = too_short(Generation(made / VIDEO, None, frames, fps), stress.stream_s)
        record = new_record(part, INVALID if reason else DONE)
        record.artefacts = self.store.publish(made, key.artefact_dir)
        progress = work.progress
        record.outputs = {
            "frames": frames,
            "fps": fps,
            "reason": reason or None,
            "details": {
                "width": stream.width,
                "height": stream.height,
                "wall_s": progress.wall_s,
                "times_playback": frames / fps / progress.wall_s,
                "starts": progress.starts,
                "highest_position": progress.highest_position,
                "memory": memory.summary(),
            },
        }
        record.cost = {"load_s": self.load_s.get(key.method)}
        work.remove()
        return record

    def _segment(self, item: WorkItem, made: Path) -> Record:
        part = item.parts[0]
        key = part.key
        stream = Key(key.kind, key.method, STRESS_STREAM, streamed_sample(key.dataset, key.sample), key.seed)
        begin_s, end_s = _span(key)
        video = self.store.path(f"{stream.artefact_dir}/{VIDEO}")
        if not video.is_file():
            raise FileNotFoundError(f"the stream of {key.method} is not there, so no segment can be cut from it")
        pictures, voice = made / "pictures.mp4", self._voice(key)
        cut_pictures(video, begin_s, end_s, pictures)
        frames, fps = add_voice(pictures, read_voice(voice), voice_rate_hz(voice), made / VIDEO)
        pictures.unlink()
        reason = "" if abs(frames - (end_s - begin_s) * fps) <= 1 else f"{frames} frames instead of {end_s - begin_s:g} s"
        record = new_record(part, INVALID if reason else DONE)
        record.artefacts = self.store.publish(made, key.artefact_dir)
        record.outputs = {"frames": frames, "fps": fps, "reason": reason or None, "details": {}}
        return record

    def _voice(self, key: Key) -> Path:
        """The voice of a segment; that of a window is cut when it is first needed."""
        audio = self.loaded_set(key.dataset).samples[key.sample].audio
        if not audio.is_file():
            assert self.definition.stress is not None
            whole = self.loaded_set(self.definition.stress.source)
            begin_s, end_s = _span(key)
            source = whole.samples[streamed_sample(key.dataset, key.sample)].audio
            cut_repeated(source, (int(begin_s), int(end_s)), audio)
        return audio


class MemorySampler:
    """Resident memory over time, of this process and of those it started, thinned so that the curve stays small."""

    def __init__(self, interval_s: float = SAMPLE_INTERVAL_S) -> None:
        self.interval_s = interval_s
        self._points: list[tuple[float, float]] = []
        self._processes = 1
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
        """Memory after the first minute (of short streams: half), at the end, the highest, and the growth between.

        Early and end are medians over a minute: saving a stream's state takes some memory for a moment.
        """
        if not self._points:
            return {"early_mib": None, "end_mib": None, "highest_mib": None, "growth_share": None}
        lasted_s = self._points[-1][0]
        begin_s = min(FIRST_MINUTE_S, lasted_s / 2)
        early = statistics.median(mib for t, mib in self._points if begin_s <= t <= 2 * begin_s)
        end = statistics.median(mib for t, mib in self._points if t >= lasted_s - begin_s)
        found = {"early_mib": early, "end_mib": end, "highest_mib": max(mib for _, mib in self._points)}
        rounded: dict[str, float | None] = {name: round(value, 2) for name, value in found.items()}
        return {**rounded, "growth_share": round(end / early - 1, 5), "processes": self._processes}

    def _watch(self) -> None:
        while True:
            mib, processes = resident_mib()
            self._processes = max(self._processes, processes)
            if mib is not None:
                self._points.append((time.monotonic() - self._begun, mib))
            if len(self._points) >= MAX_SAMPLES:
                self._points = self._points[::2]
                self.interval_s *= 2
            if self._stop.wait(self.interval_s):
                return


def resident_mib() -> tuple[float | None, int]:
    """Resident memory of this process and all below it, and how many they are; None where the system does not tell."""
    import psutil

    try:
        own = psutil.Process()
        found = [own.memory_info().rss]
    except psutil.Error:
        return None, 1
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
            found.append(child.memory_info().rss)
    return sum(found) / 2**20, len(found)


def _span(key: Key) -> tuple[float, float]:
    if key.dataset == STRESS_WINDOWS:
        begin_s = window_begin_s(key.sample)
        return float(begin_s), float(begin_s + WINDOW_S)
    begin, end = key.dataset.rsplit("_", 2)[-2:]
    return float(begin), float(end)
