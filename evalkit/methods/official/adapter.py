"""The method behind every published system: lay out, run the official script, collect, probe, normalise, time."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evalkit.errors import PrerequisiteMissingError
from evalkit.fingerprint import digest
from evalkit.generator import GeneratorSetup
from evalkit.methods.base import RIVAL, TIMELINE, Generation, Inputs, Method, Order, Session
from evalkit.methods.normalise import Changes, Normalised, check_frames, normalise, probe
from evalkit.methods.official import get_system
from evalkit.methods.official.layout import Laid, Layout, collect
from evalkit.methods.official.option_list import OptionError, check
from evalkit.methods.official.place import checkout_state, read_place, weights_state
from evalkit.methods.official.readiness import missing
from evalkit.methods.official.system import FRAMES, Entry, Place, System, Words
from evalkit.methods.official.words import command_line, script_words
from evalkit.methods.timelines import write_whole
from evalkit.programs import Ended, Program, ProgramError, run_program
from evalkit.programs.clocks import Clocks, read_clocks, read_events


class OfficialMethod(Method):
    """A published system at the place that evalkit.toml names."""

    kind = RIVAL
    speed = "clips"

    def __init__(self, system: System) -> None:
        self.system = system
        self.name, self.title = system.name, system.title
        self.version = system.version  # type: ignore[misc]  # one class serves all systems
        self.longest_s, self.longest_reason = system.longest_s, system.longest_reason
        self.place: Place | None = None
        self.size: tuple[int, int] | None = None

    @property
    def needs(self) -> str:  # type: ignore[override]
        """Checkout, weights and devices."""
        gpus = self.system.needs
        count = f"{gpus.least_gpus}" if gpus.least_gpus == gpus.most_gpus else f"{gpus.least_gpus} to {gpus.most_gpus}"
        return f"{self.system.repository}, its weights, {count} GPU"

    def configure(self, setup: GeneratorSetup) -> None:
        """Where the system lies."""
        from liveavatar.load_options import parse_size

        self.place = read_place(self.system, setup)
        self.size = parse_size(setup.size or None)

    @property
    def limit_per_s(self) -> float:  # type: ignore[override]
        """Seconds of processing per second of voice."""
        return (self.place.limit_per_s if self.place else 0.0) or self.system.limit_per_s

    @property
    def batch(self) -> int:  # type: ignore[override]
        """Samples of one process."""
        return self.system.entry(self.place.entry).batch if self.place else 1

    def gpus(self, profile: str) -> int:
        """As many as evalkit.toml says."""
        return self.place.gpus if self.place else 0

    def problem(self, profile: str) -> str:
        """What is missing, with the fix; a missing GPU is the program's own to say."""
        return missing(self.system, self.place)

    def identity(self, profile: str) -> dict[str, Any]:
        """Commit of the checkout, names and sizes of the weights, and what changes the result."""
        place = self.place
        if place is None:
            return {}
        entry = self.system.entry(place.entry)
        found = {
            "system": self.system.name,
            "checkout": checkout_state(place.checkout),
            "weights": weights_state(place.weights),
            "entry": place.entry or next(iter(self.system.entries)),
            "command": digest([entry.script, *entry.arguments]),
            "options": {name: place.options[name] for name in sorted(place.options)},
            "own": dict(sorted(place.own.items())),
            "gpus": place.gpus,
        }
        return found | ({"size": list(self.size)} if self.size else {})

    def load(self, profile: str) -> Session:
        """Nothing is loaded here: the script loads for itself, each time it is started."""
        problem = self.problem(profile)
        if problem or self.place is None:
            raise PrerequisiteMissingError(problem)
        return OfficialSession(self.system, self.place, self.size)


class OfficialSession(Session):
    """Starts the official script for one sample, or for a list of them where it takes lists."""

    def __init__(self, system: System, place: Place, size: tuple[int, int] | None = None) -> None:
        self.system, self.place, self.size = system, place, size
        self.entry: Entry = system.entry(place.entry)

    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        """One sample in a process of its own."""
        (result,) = self.generate_many([Order(inputs, seed, out_dir)])
        if isinstance(result, Exception):
            raise result
        return result

    def generate_many(self, orders: Sequence[Order]) -> list[Generation | Exception]:
        """Samples of one seed in one process; what was finished before it failed still counts."""
        scratch = orders[0].out_dir.with_name(orders[0].out_dir.name + "-scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            return self._run(orders, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, orders: Sequence[Order], scratch: Path) -> list[Generation | Exception]:
        layout = Layout(self.system, self.entry, self.place, orders[0].seed, scratch)
        laid = [layout.lay(number, order.inputs) for number, order in enumerate(orders)]
        words = layout.write(laid)
        began_s = time.time()
        ended = run_program(self._program(laid, words, scratch), scratch)
        _show(self.system.name, ended)
        clocks = read_clocks(
            ended, read_events(scratch / "events.jsonl"), len(orders), self._skips(),
            self.system.marks.start, self.system.marks.end,
        )  # fmt: skip
        return list(self._results(orders, laid, layout, ended, clocks, began_s))

    def _program(self, laid: list[Laid], words: Words, scratch: Path) -> Program:
        place, system = self.place, self.system
        if system.options:
            try:
                check(system.options, self.entry.script, script_words(self.entry, place, words))
            except OptionError as error:
                raise OptionError(f"{system.name}: {error}; see [systems.{system.name}.options] of evalkit.toml") from error
        hooks = None
        if place.hooks and system.hooks:
            hooks = scratch / "hooks.json"
            hooks.write_text(json.dumps([asdict(hook) for hook in system.hooks]), encoding="utf-8")
        seconds = sum(one.task.seconds for one in laid)
        environment = {
            name: value.replace("{repo}", str(place.checkout)) for name, value in self.entry.environment.items()
        }
        return Program(
            command_line(system, self.entry, place, words, scratch / "events.jsonl", hooks),
            place.checkout,
            {"PYTHONUNBUFFERED": "1", **environment, **place.environment},
            # Loading may take minutes, whatever the length of the voice.
            limit_s=1800.0 + (place.limit_per_s or system.limit_per_s) * seconds,
            memory_bytes=round(place.memory_gb * 2**30),
            marks=system.marks.patterns(),
        )

    def _skips(self) -> dict[str, int]:
        return {hook.target: hook.skip for hook in self.system.hooks if hook.role == FRAMES}

    def _results(
        self, orders: Sequence[Order], laid: list[Laid], layout: Layout, ended: Ended, clocks: list[Clocks], began_s: float
    ) -> Iterator[Generation | Exception]:
        files: list[Path | Exception] = []
        for one in laid:
            try:
                files.append(collect(layout.pattern(one), began_s))
            except FileNotFoundError as error:
                files.append(error)
        # A program that failed was writing the newest file, or had begun to.
        last = max((f.stat().st_mtime for f in files if isinstance(f, Path)), default=0.0)
        for order, one, found, clock in zip(orders, laid, files, clocks, strict=True):
            try:
                if isinstance(found, Exception) or (ended.problem and found.stat().st_mtime >= last):
                    ended.check(self.system.name)
                    raise found if isinstance(found, Exception) else RuntimeError(ended.problem)
                yield self._finish(order, one, found, clock, ended)
            except Exception as error:  # one sample's trouble is not the other's
                is_told = isinstance(error, ProgramError)
                yield error if is_told else _with_tail(error, self.system.name, ended, layout.scratch)

    def _finish(self, order: Order, one: Laid, found: Path, clocks: Clocks, ended: Ended) -> Generation:
        output, raw = self.system.output, probe(found)
        due = output.frames(one.task.seconds)
        padded = output.frames(one.task.seconds + self.system.voice_padding_s)
        check_frames(raw, min(max(due, raw.frames), padded), output.clip_frames)
        voiced = round(one.task.seconds * raw.fps)
        changes = Changes(
            leading_frames=output.leading_frames,
            most_frames=voiced if raw.frames - output.leading_frames > voiced else 0,
            box=one.box,
            size=self.size,
        )
        made = normalise(found, raw, order.inputs.audio, changes, order.out_dir, self.place.keep_raw)
        write_whole(order.out_dir / TIMELINE, made.frames, clocks.stream_s, clocks.pipeline_s)
        return Generation(
            made.video, order.out_dir / TIMELINE, made.frames, made.fps, self._details(made, one, clocks, ended)
        )

    def _details(self, made: Normalised, one: Laid, clocks: Clocks, ended: Ended) -> dict[str, Any]:
        details = made.details()
        asked = self.size or tuple(int(one.task.words[side]) for side in ("width", "height"))
        return {
            **details,
            "exact_size": (made.raw.width, made.raw.height) == asked,
            "size_rule": self.system.output.size,
            "clocks": asdict(clocks),
            "peak_host_bytes": ended.peak_bytes,
            "gpus": self.place.gpus,
            "prompt_changed": one.prompt_changed,
            "note": "; ".join(text for text in (self.system.note, self.system.output.note) if text),
        }


def _with_tail(error: Exception, name: str, ended: Ended, scratch: Path) -> ProgramError:
    """The error with what the program printed last; where its files lay is of no interest afterwards."""
    made = ProgramError(f"{name}: {error}".replace(f"{scratch}/", ""), ended.tail)
    made.__cause__ = error
    return made


def _show(name: str, ended: Ended) -> None:
    """The program's output belongs into the job's log, whatever comes of it."""
    sys.stderr.write(f"--- {name}: {ended.wall_s:.0f} s, {ended.problem or 'ended well'}\n{ended.log}\n---\n")
    sys.stderr.flush()


def official(name: str) -> Method:
    """The method of a published system."""
    return OfficialMethod(get_system(name))
