"""Measures speed in a fresh process, scenario by scenario: clips thrown away first, then repeats that are kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evalkit import scenarios, speed
from evalkit.busy import OtherWork
from evalkit.clocks import Throttling
from evalkit.datasets import LoadedSet
from evalkit.experiments import COLD, LIVE, OFFLINE, PREDICTED, SOAK, SWITCH, SpeedProtocol
from evalkit.generator import configured_method
from evalkit.jobs import WorkItem
from evalkit.makers.base import Maker, new_record, plain_inputs
from evalkit.makers.streams import MemorySampler
from evalkit.methods.base import TIMELINE, VIDEO, Generation, Inputs
from evalkit.methods.remux import read_voice, voice_rate_hz
from evalkit.names import slug
from evalkit.probes import Probe, caching, frames_counted, same_pictures, unseen
from evalkit.records import DONE, GENERATE, INVALID, Key, Record
from evalkit.store import unique_mark

DEFAULT_FPS = 25.0
Repeat = dict[str, Any]


class SpeedMaker(Maker):
    """One speed record: all repeats of a scenario, or one of them where each has its own process."""

    def make(self, item: WorkItem) -> list[Record]:
        """Run the protocol and read what it gave."""
        part, protocol = item.parts[0], self.definition.speed
        if protocol is None:
            raise ValueError("this run's definition has no speed protocol")
        scenario, number = protocol.scenario_of(part.key.scenario)
        made = self.store.temporary(part.key.artefact_dir)
        load_before = load_average()
        try:
            with Throttling() as throttled:
                outputs = self._measure(part.key.method, scenario, number, protocol, made)
            artefacts = self.store.publish(made, part.key.artefact_dir)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        if throttled.reason and outputs["verdict"] == speed.VALID:
            outputs |= speed.verdict(throttled.reason)
        record = new_record(part, DONE if outputs["verdict"] == speed.VALID else INVALID)
        record.artefacts, record.outputs = artefacts, outputs
        record.outputs["scenario"] = scenario
        record.outputs["machine"] = {"cpus": os.cpu_count(), "load_average_before": load_before, **throttled.seen}
        record.cost = {"load_s": self.load_s.get(part.key.method)}
        return [record]

    def _measure(self, method: str, scenario: str, number: int, protocol: SpeedProtocol, made: Path) -> dict[str, Any]:
        repeats = [number] if number else list(range(1, protocol.repeats + 1))
        if scenario == OFFLINE:
            return self._offline(method, repeats, protocol, made)
        ways: dict[str, Callable[[str, int, SpeedProtocol], Repeat]] = {
            LIVE: self._live,
            SWITCH: self._switch,
            SOAK: self._soak,
            COLD: self._cold,
            PREDICTED: self._predicted,
        }
        if scenario not in (COLD, PREDICTED):
            self._discard(method, protocol, made)
        found: list[Repeat] = []
        for one in repeats:
            try:
                with OtherWork() as others:
                    found.append(ways[scenario](method, one - 1, protocol))
            except NotImplementedError as error:
                return {**speed.verdict(str(error)), "repeats": [], "probes": [], "protocol": protocol.asked(scenario)}
            found[-1]["others_share"] = others.share
        reason = speed.too_busy([one["others_share"] for one in found], protocol)
        names = list(dict.fromkeys(name for one in found for name, value in one.items() if isinstance(value, int | float)))
        base = {**speed.verdict(reason), **speed.medians(found, names), "playback_fps": self._fps()}
        return {**base, "protocol": protocol.asked(scenario), "repeats": found, "probes": []}

    # offline -------------------------------------------------------------------------------------------------------

    def _offline(self, method: str, numbers: list[int], protocol: SpeedProtocol, made: Path) -> dict[str, Any]:
        session, whole = self.session(method), self.loaded_set(protocol.dataset)
        self._discard(method, protocol, made)
        repeats, probes, fps = [], [], 0.0
        for number in numbers:
            folder = made / f"repeat{number}"
            folder.mkdir()
            inputs = self._cut_inputs(whole, number - 1, protocol.clip_s)
            with OtherWork() as others:
                generation = session.generate(inputs, 0, folder)
            fps = fps or generation.fps
            repeats.append(replace(_read(folder / TIMELINE, generation, protocol), others_share=others.share))
            probes += self._probes(method, inputs, generation, folder, protocol)
            for path in folder.iterdir():
                if path.name != TIMELINE:
                    path.unlink()
        probes += self._rate_probes(method, repeats, protocol, made)
        wanted = None if len(numbers) == protocol.repeats else len(numbers)
        return speed.summarise(repeats, protocol, fps, probes, wanted)

    def _discard(self, method: str, protocol: SpeedProtocol, made: Path) -> None:
        """Clips that warm up what is compiled, allocated or tuned on first use."""
        session, whole = self.session(method), self.loaded_set(protocol.dataset)
        for number in range(protocol.discarded_clips):
            folder = made / f"discarded{number + 1}"
            folder.mkdir()
            session.generate(self._cut_inputs(whole, number, protocol.discarded_s), 0, folder)
            shutil.rmtree(folder)

    def _probes(
        self, method: str, inputs: Inputs, generation: Generation, folder: Path, protocol: SpeedProtocol
    ) -> list[Probe]:
        found = []
        if "frames" in protocol.probes:
            found.append(frames_counted(folder / VIDEO, generation.frames))
        if "pictures" in protocol.probes:
            scored = Key(GENERATE, method, protocol.dataset, inputs.id)
            found.append(same_pictures(folder / VIDEO, self.store.path(f"{scored.artefact_dir}/{VIDEO}")))
        return found

    def _rate_probes(self, method: str, repeats: list[speed.Speed], protocol: SpeedProtocol, made: Path) -> list[Probe]:
        """Caching and unseen voices: two more clips each, only where the protocol asks for them."""
        whole, rates = self.loaded_set(protocol.dataset), [one.fps_steady for one in repeats]
        found = []
        if "caching" in protocol.probes:
            again = [self._rate(method, self._cut_inputs(whole, 0, protocol.clip_s), protocol, made) for _ in range(2)]
            found.append(caching(rates, again))
        if "unseen" in protocol.probes:
            backwards = [self._backwards(self._cut_inputs(whole, number, protocol.clip_s)) for number in range(2)]
            found.append(unseen(rates, [self._rate(method, one, protocol, made) for one in backwards]))
        return found

    def _rate(self, method: str, inputs: Inputs, protocol: SpeedProtocol, made: Path) -> float:
        folder = made / "probe"
        folder.mkdir()
        try:
            generation = self.session(method).generate(inputs, 0, folder)
            return _read(folder / TIMELINE, generation, protocol).fps_steady
        finally:
            shutil.rmtree(folder)

    # live, switch, soak, cold --------------------------------------------------------------------------------------

    def _live(self, method: str, number: int, protocol: SpeedProtocol) -> Repeat:
        inputs = self._cut_inputs(self.loaded_set(protocol.dataset), number, protocol.live_s)
        voice, rate_hz = read_voice(inputs.audio), voice_rate_hz(inputs.audio)
        chunks = self._heard(method, inputs, voice, rate_hz, protocol)
        late = scenarios.latencies(chunks, self._fps())
        seen = scenarios.play(chunks, self._fps(), protocol.buffer_s)
        return {
            "chunks": len(chunks),
            "frames": sum(one.frames for one in chunks),
            "first_frame_s": chunks[0].ready_s,
            **{f"latency_{name}": value for name, value in scenarios.quantiles(late).items()},
            "misses": seen.misses,
            "longest_freeze_s": seen.longest_freeze_s,
            "frozen_s": seen.frozen_s,
            "buffer_s": seen.buffer_s,
            "latencies_s": [round(one, 4) for one in late],
        }

    def _switch(self, method: str, number: int, protocol: SpeedProtocol) -> Repeat:
        given = self._cut_inputs(self.loaded_set(protocol.dataset), number, 1e9)
        rate_hz = voice_rate_hz(given.audio)
        voice, onsets = scenarios.switching(read_voice(given.audio), rate_hz, protocol.switches)
        chunks = self._heard(method, given, voice, rate_hz, protocol)
        waits = scenarios.switch_latencies(chunks, onsets, self._fps())
        seen = scenarios.play(chunks, self._fps(), protocol.buffer_s)
        stalls = scenarios.switch_stalls(seen, onsets, self._fps())
        return {
            "switches": len(waits),
            **{f"switch_{name}": value for name, value in scenarios.quantiles(waits).items()},
            "stall_max_s": max(stalls, default=0.0),
            "longest_freeze_s": seen.longest_freeze_s,
            "misses": seen.misses,
            "buffer_s": seen.buffer_s,
            "latencies_s": [round(one, 4) for one in waits],
        }

    def _heard(
        self, method: str, inputs: Inputs, voice: Any, rate_hz: int, protocol: SpeedProtocol
    ) -> list[scenarios.Chunk]:
        stream = self.session(method).listen(inputs, 0)
        chunks = scenarios.listen(stream, voice, rate_hz, protocol.piece_s, scenarios.WallClock())
        if not chunks:
            raise ValueError(f"{method} gave no frame for {len(voice) / rate_hz:.1f} s of sound")
        return chunks

    def _soak(self, method: str, number: int, protocol: SpeedProtocol) -> Repeat:
        """As fast as it goes, for soak_s of stream: does the rate or the memory change?"""
        from evalkit.stress import repeated_voice

        given = plain_inputs(next(iter(self.loaded_set(protocol.dataset).samples.values())))
        stream, ready, frames = self.session(method).listen(given, number), [], 0
        with MemorySampler() as memory:
            begin = time.perf_counter()
            for piece in repeated_voice(given.audio, protocol.soak_s):
                for count in stream.push(piece):
                    frames += count
                    ready.append((time.perf_counter() - begin, frames))
            for count in stream.flush():
                frames += count
                ready.append((time.perf_counter() - begin, frames))
        tenth = max(1, len(ready) // 10)
        kept = memory.summary()
        early, end = kept["early_mib"], kept["end_mib"]
        growth = None if early is None or end is None else end - early
        return {
            "frames": frames,
            "stream_s": frames / self._fps(),
            "fps_steady": frames / ready[-1][0],
            "fps_first_tenth": ready[tenth - 1][1] / ready[tenth - 1][0],
            "fps_last_tenth": (frames - ready[-tenth - 1][1]) / (ready[-1][0] - ready[-tenth - 1][0]),
            "memory_growth_mib": growth,
            "memory_highest_mib": kept["highest_mib"],
        }

    def _cold(self, method: str, number: int, protocol: SpeedProtocol) -> Repeat:
        """From the start of a process to the first frame, by a process that does nothing else."""
        inputs = self._cut_inputs(self.loaded_set(protocol.dataset), number, protocol.discarded_s)
        given = {
            "method": method,
            "profile": self.definition.profile,
            "generator": asdict(self.definition.generator),
            "plugins": list(self.definition.plugins),
            "inputs": {"id": inputs.id, "image": str(inputs.image), "audio": str(inputs.audio), "prompt": inputs.prompt},
        }
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "evalkit.cold_start"],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the fresh process ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
        told = json.loads(done.stdout.splitlines()[-1])
        if "not_possible" in told:
            raise NotImplementedError(told["not_possible"])
        return {name: told[name] - begin for name in ("started_s", "loaded_s", "first_frame_s")}

    def _predicted(self, method: str, number: int, protocol: SpeedProtocol) -> Repeat:
        """From times of the parts that are measured anew for each repeat; the method itself is not loaded."""
        configured = configured_method(method, self.definition.generator)
        return configured.predicted(self.definition.profile, protocol.predicted_blocks)

    def _fps(self) -> float:
        """Playback rate of what this run generated."""
        for record in self.store.records(GENERATE):
            if record.outputs.get("fps"):
                return float(record.outputs["fps"])
        return DEFAULT_FPS

    def _backwards(self, inputs: Inputs) -> Inputs:
        """The same voice from its end to its beginning: speech-like sound that nobody has heard."""
        out = inputs.audio.with_name(f"backwards-{inputs.audio.name}")
        if not out.is_file():
            partial = out.with_name(f".{out.name}.tmp-{unique_mark()}")
            with wave.open(str(inputs.audio), "rb") as reader, wave.open(str(partial), "wb") as writer:
                writer.setparams(reader.getparams())
                data, width = reader.readframes(reader.getnframes()), reader.getsampwidth()
                writer.writeframes(b"".join(data[at : at + width] for at in range(len(data) - width, -1, -width)))
            os.replace(partial, out)
        return replace(inputs, audio=out)

    def _cut_inputs(self, whole: LoadedSet, number: int, length_s: float) -> Inputs:
        """The first `length_s` of one of the set's samples, taken in turn."""
        given = plain_inputs(list(whole.samples.values())[number % len(whole.samples)])
        short = self.store.path(f"cache/speed/{slug(whole.name)}/{slug(given.id)}-{length_s:g}s{given.audio.suffix}")
        if not short.is_file():
            cut_voice(given.audio, length_s, short)
        return Inputs(given.id, given.image, short, given.prompt)


def cut_voice(source: Path, length_s: float, out: Path) -> None:
    """The beginning of a WAV file; anything else is used whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.tmp-{unique_mark()}")
    if source.suffix.lower() != ".wav":
        shutil.copyfile(source, partial)
    else:
        with wave.open(str(source), "rb") as reader, wave.open(str(partial), "wb") as writer:
            writer.setparams(reader.getparams())
            writer.writeframes(reader.readframes(min(reader.getnframes(), round(length_s * reader.getframerate()))))
    os.replace(partial, out)


def load_average() -> float | None:
    """How busy the machine was just before, where the system tells: a busy machine makes slow numbers."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _read(timeline: Path, generation: Generation, protocol: SpeedProtocol) -> speed.Speed:
    if not timeline.is_file():
        raise FileNotFoundError(f"the method wrote no {TIMELINE}, so its speed cannot be measured")
    return speed.measure(speed.read_timeline(timeline), generation.fps, protocol.warmup_blocks)
