"""A folder of finished videos as a method, from [videos.NAME] of evalkit.toml: scored like any other, never timed.

    [videos.theirs]
    folder = "/data/their-demo"
    pattern = "{dataset}/{sample}.mp4"

Without a pattern, DATASET/SAMPLE.mp4 and then SAMPLE.mp4 is looked for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, PrerequisiteMissingError
from evalkit.fingerprint import digest
from evalkit.generator import GeneratorSetup
from evalkit.methods.base import RIVAL, UNTIMED, Generation, Inputs, Method, Session
from evalkit.methods.normalise import Changes, normalise, probe
from evalkit.methods.official.words import fill
from evalkit.settings import read_settings

PATTERNS = ("{dataset}/{sample}.mp4", "{sample}.mp4")
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Files:
    """A table of evalkit.toml. leading_frames: frames before the voice begins, dropped."""

    folder: str
    title: str = ""
    pattern: str = ""
    leading_frames: int = 0
    keep_raw: bool = False


class VideosMethod(Method):
    """The folder called `name` in evalkit.toml."""

    kind = RIVAL
    speed = UNTIMED
    needs = "its table in evalkit.toml"

    def __init__(self, name: str) -> None:
        self.member, self.name, self.title = name, f"videos:{name}", name
        self.files: Files | None = None
        self.folder = Path()
        self.size: tuple[int, int] | None = None

    def configure(self, setup: GeneratorSetup) -> None:
        """Read the table."""
        from liveavatar.load_options import parse_size

        settings = read_settings(setup.settings, setup.assigned)
        table = settings.of("videos", self.member, list(Files.__dataclass_fields__))
        self.size = parse_size(setup.size or None)
        if table is None:
            return
        if not table.get("folder"):
            raise EvalkitError(f'[videos.{self.member}] of evalkit.toml has no folder: add folder = "..."')
        self.files = Files(**table)
        self.folder = settings.path(self.files.folder)
        self.title = self.files.title or self.member

    def problem(self, profile: str) -> str:
        """A table or a folder that is not there."""
        if self.files is None:
            return f'{self.name}: evalkit.toml has no [videos.{self.member}]; add one with folder = "..."'
        return "" if self.folder.is_dir() else f"{self.name}: its folder {self.folder.name} does not exist"

    def identity(self, profile: str) -> dict[str, Any]:
        """A digest over names, sizes and first bytes of the folder's videos."""
        if self.files is None or not self.folder.is_dir():
            return {}
        listed = []
        for file in sorted(self.folder.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                with file.open("rb") as opened:
                    head = hashlib.sha256(opened.read(HEAD_BYTES)).hexdigest()
                listed.append([file.relative_to(self.folder).as_posix(), file.stat().st_size, head])
        found: dict[str, Any] = {"files": digest(listed), "leading_frames": self.files.leading_frames}
        return found | ({"size": list(self.size)} if self.size else {})

    def load(self, profile: str) -> Session:
        """Nothing to load."""
        problem = self.problem(profile)
        if problem or self.files is None:
            raise PrerequisiteMissingError(problem)
        return VideosSession(self.name, self.files, self.folder, self.size)


class VideosSession(Session):
    """Finds the file of each sample."""

    def __init__(self, name: str, files: Files, folder: Path, size: tuple[int, int] | None) -> None:
        self.name, self.files, self.folder, self.size = name, files, folder, size

    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        """The sample's file under the sample's voice."""
        found = self._find(inputs, seed)
        changes = Changes(leading_frames=self.files.leading_frames, size=self.size)
        made = normalise(found, probe(found), inputs.audio, changes, out_dir, self.files.keep_raw)
        return Generation(made.video, None, made.frames, made.fps, made.details())

    def _find(self, inputs: Inputs, seed: int) -> Path:
        words = {"sample": inputs.id, "dataset": inputs.dataset, "seed": str(seed)}
        tried = [fill(pattern, words) for pattern in ((self.files.pattern,) if self.files.pattern else PATTERNS)]
        for name in tried:
            for suffix in ("", *SUFFIXES):
                path = self.folder / name if not suffix else (self.folder / name).with_suffix(suffix)
                if path.is_file():
                    return path
        raise FileNotFoundError(f"{self.name} has no video of this sample; looked for {' and '.join(tried)}")


def videos(name: str) -> Method:
    """The folder of a table."""
    return VideosMethod(name)
