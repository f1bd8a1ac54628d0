"""What an official system is, as data: its script and words, what it writes, what it needs, how long it may be.

A system is one `System`; nothing here runs anything. Words in braces are filled for each process or sample, see `Words`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PYTHON, TORCHRUN, EITHER = "python", "torchrun", "either"
LOAD, GENERATE, START, END, FRAMES = "load", "generate", "start", "end", "frames"

Words = dict[str, str]
"""Fillings by name.

Of a process: repo, weights, gpus, seed, work, out_dir, and each written file by its name. Of a sample: image, audio,
prompt, the parts of these paths (image_name, image_stem, image_root, image_parent, audio_name, audio_stem, audio_root),
out_file, out_stem, frames, seconds, width, height, index (from 0), index3, number4 (from 1, padded).
"""


@dataclass(frozen=True)
class Task:
    """One sample as it is laid out for a process: its voice's length and the fillings."""

    seconds: float
    words: Words


@dataclass(frozen=True)
class Written:
    """A file that the script wants: filled in as `{name}`. `content` sees all samples of the process."""

    name: str
    file: str
    content: Callable[[list[Task], Place], str]


@dataclass(frozen=True)
class Hook:
    """A callable of the script whose calls tell the clocks something: "module:Class.method", or "__main__:name".

    role: LOAD (not counted), GENERATE (a sample, entry to return), START and END (a sample, entry of one and return of
    another), FRAMES (each return hands over frames). skip: returns that carry no frame yet.
    """

    target: str
    role: str
    skip: int = 0


@dataclass(frozen=True)
class Marks:
    """Printed lines (regular expressions) that stand for the hooks where these cannot be set."""

    start: str = ""
    end: str = ""

    def patterns(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(one for one in (self.start, self.end) if one)


@dataclass(frozen=True)
class Output:
    """What a sample's file is and holds.

    pattern: its path; * stands for what cannot be known before, such as a date. frames: of a voice of so many seconds.
    clip_frames: by how many the count may be off. leading_frames: before the voice begins, dropped before scoring.
    voice: "own" (the sample's), "none", or "altered".
    """

    pattern: str
    fps: float
    frames: Callable[[float], int]
    clip_frames: int
    leading_frames: int = 0
    voice: str = "own"
    size: str = ""
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """One way to start the system. `batch`: most samples in one process, which loads once.

    one_gpu, many_gpus: words added for one device or several. settings: fillings of the entry's own.
    """

    script: str
    arguments: tuple[str, ...]
    launcher: str = PYTHON
    one_gpu: tuple[str, ...] = ()
    many_gpus: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    written: tuple[Written, ...] = ()
    batch: int = 1
    pattern: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    """What must be there. hubs: what to download, "owner/name" or "owner/name -> folder inside the weights folder".

    files: paths that must exist, with {weights} and {repo}. gpu_gb and disk_gb are estimates where projects state none.
    """

    hubs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    disk_gb: float | None = None
    least_gpus: int = 1
    most_gpus: int = 1
    gpu_gb: float | None = None
    python: str = "3.10"
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class System:
    """A published system and how it is run.

    options: name of its option list. derived: further fillings of a sample. square: the picture is laid on a square and
    the video cut back. longest_s: of a voice that it can follow, with the reason; 0: any. voice_padding_s: silence that it
    wants behind the voice. forbidden: what a prompt must not hold, and what stands for it. settings: keys of its own in
    evalkit.toml with their defaults. limit_per_s: of processing per second of voice, before a process is ended.
    """

    name: str
    title: str
    repository: str
    commit: str
    licence: str
    entries: Mapping[str, Entry]
    output: Output
    needs: Needs
    options: str = ""
    hooks: tuple[Hook, ...] = ()
    marks: Marks = Marks()
    derived: Callable[[Task, Place], Words] | None = None
    square: bool = False
    longest_s: float = 0.0
    longest_reason: str = ""
    voice_padding_s: float = 0.0
    forbidden: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    limit_per_s: float = 900.0
    version: str = "1"
    note: str = ""

    def entry(self, name: str) -> Entry:
        """The entry called `name`; empty: the first."""
        return self.entries[name] if name else next(iter(self.entries.values()))


@dataclass(frozen=True)
class Place:
    """Where a system lies here and how it is to run, from evalkit.toml.

    own: the system's settings. options: changes to the command line: a word, True for a flag, False to leave one out.
    """

    checkout: Path
    weights: Path
    python: str = "python"
    gpus: int = 1
    entry: str = ""
    memory_gb: float = 0.0
    limit_per_s: float = 0.0
    hooks: bool = True
    keep_raw: bool = True
    own: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str | bool] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def whole_frames(fps: float) -> Callable[[float], int]:
    """As many frames as the voice is long, the last one begun counts."""
    return lambda seconds: math.ceil(fps * seconds - 1e-9)
