"""Any program as a method: a command with fillings, from [commands.NAME] of evalkit.toml.

    [commands.mine]
    command = "python run.py --image {image} --audio {audio} --prompt {prompt} --out {out_file}"
    folder = "/data/mine"

Fillings: image, audio, prompt, seed, id, seconds, out_file, out_dir, work. The program writes {out_file}, or what
`output` names (* stands for anything, such as "{out_dir}/*.mp4").
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, PrerequisiteMissingError
from evalkit.fingerprint import digest
from evalkit.generator import GeneratorSetup
from evalkit.methods.base import RIVAL, TIMELINE, Generation, Inputs, Method, Session
from evalkit.methods.normalise import Changes, normalise, probe
from evalkit.methods.official.layout import collect, voice_seconds
from evalkit.methods.official.place import checkout_state
from evalkit.methods.official.words import fill
from evalkit.methods.timelines import write_whole
from evalkit.programs import Program, ProgramError, run_program
from evalkit.programs.clocks import read_clocks
from evalkit.settings import read_settings

DEFAULT_OUTPUT = "{out_file}"
LIMIT_PER_S = 600.0


@dataclass(frozen=True)
class Command:
    """A table of evalkit.toml. start, end: patterns of printed lines between which the clip is made, loading left out.

    gpus: devices that it may see; it is started where there are fewer, too, and says itself what it lacks.
    leading_frames: before the voice begins, dropped. version: raise it when the program changed.
    """

    command: str
    folder: str = "."
    title: str = ""
    output: str = DEFAULT_OUTPUT
    version: str = "1"
    limit_per_s: float = LIMIT_PER_S
    memory_gb: float = 0.0
    gpus: int = 1
    leading_frames: int = 0
    start: str = ""
    end: str = ""
    keep_raw: bool = True


class CommandMethod(Method):
    """The command called `name` in evalkit.toml."""

    kind = RIVAL
    speed = "clips"
    needs = "its table in evalkit.toml"

    def __init__(self, name: str) -> None:
        self.member, self.name, self.title = name, f"command:{name}", name
        self.command: Command | None = None
        self.folder = Path()
        self.size: tuple[int, int] | None = None

    def configure(self, setup: GeneratorSetup) -> None:
        """Read the table."""
        from liveavatar.load_options import parse_size

        settings = read_settings(setup.settings, setup.assigned)
        table = settings.of("commands", self.member, list(Command.__dataclass_fields__))
        self.size = parse_size(setup.size or None)
        if table is None:
            return
        if not table.get("command"):
            raise EvalkitError(f'[commands.{self.member}] of evalkit.toml has no command: add command = "..."')
        self.command = Command(**table)
        self.folder = settings.path(self.command.folder)
        self.title = self.command.title or self.member
        self.version = self.command.version  # type: ignore[misc]  # each command has its own
        self.limit_per_s = self.command.limit_per_s

    def gpus(self, profile: str) -> int:
        """As many as its table says."""
        return self.command.gpus if self.command else 0

    def problem(self, profile: str) -> str:
        """A table or a folder that is not there."""
        if self.command is None:
            return f'{self.name}: evalkit.toml has no [commands.{self.member}]; add one with command = "..."'
        return "" if self.folder.is_dir() else f"{self.name}: its folder {self.folder.name} does not exist"

    def identity(self, profile: str) -> dict[str, Any]:
        """The words of the command, and the commit of its folder where that is a checkout."""
        if self.command is None:
            return {}
        held = {name: value for name, value in asdict(self.command).items() if name not in ("folder", "title", "version")}
        found: dict[str, Any] = {"command": digest(held), "checkout": checkout_state(self.folder)}
        return found | ({"size": list(self.size)} if self.size else {})

    def load(self, profile: str) -> Session:
        """The program loads for itself."""
        problem = self.problem(profile)
        if problem or self.command is None:
            raise PrerequisiteMissingError(problem)
        return CommandSession(self.name, self.command, self.folder, self.size)


class CommandSession(Session):
    """Runs the command for each clip."""

    def __init__(self, name: str, command: Command, folder: Path, size: tuple[int, int] | None) -> None:
        self.name, self.command, self.folder, self.size = name, command, folder, size

    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        """One clip in a process of its own."""
        scratch = out_dir.with_name(out_dir.name + "-scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            return self._run(inputs, seed, out_dir, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, inputs: Inputs, seed: int, out_dir: Path, scratch: Path) -> Generation:
        command, seconds = self.command, voice_seconds(inputs.audio)
        made, work = scratch / "out", scratch / "work"
        for folder in (made, work):
            folder.mkdir(parents=True)
        words = {
            "image": str(inputs.image.resolve()),
            "audio": str(inputs.audio.resolve()),
            "prompt": inputs.prompt,
            "seed": str(seed),
            "id": inputs.id,
            "seconds": f"{seconds:g}",
            "out_file": str(made / "video.mp4"),
            "out_dir": str(made),
            "work": str(work),
        }
        program = Program(
            # Split before filling: what a prompt holds never becomes words or commands.
            [fill(word, words) for word in shlex.split(command.command)],
            self.folder,
            {"PYTHONUNBUFFERED": "1"},
            limit_s=600.0 + command.limit_per_s * seconds,
            memory_bytes=round(command.memory_gb * 2**30),
            marks=[pattern for pattern in (command.start, command.end) if pattern],
        )
        began_s = time.time()
        ended = run_program(program, scratch)
        sys.stderr.write(f"--- {self.name}: {ended.wall_s:.0f} s, {ended.problem or 'ended well'}\n{ended.log}\n---\n")
        ended.check(self.name)
        try:
            found = collect(Path(fill(command.output, words)), began_s)
            raw = probe(found)
        except (OSError, ValueError) as error:
            raise ProgramError(f"{self.name}: {error}", ended.tail) from error
        (clocks,) = read_clocks(ended, [], 1, {}, command.start, command.end)
        changes = Changes(leading_frames=command.leading_frames, size=self.size)
        normal = normalise(found, raw, inputs.audio, changes, out_dir, command.keep_raw)
        write_whole(out_dir / TIMELINE, normal.frames, clocks.stream_s, clocks.pipeline_s)
        details = {**normal.details(), "clocks": asdict(clocks), "peak_host_bytes": ended.peak_bytes}
        return Generation(normal.video, out_dir / TIMELINE, normal.frames, normal.fps, details)


def command(name: str) -> Method:
    """The command of a table."""
    return CommandMethod(name)
