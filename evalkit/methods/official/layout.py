"""How samples are laid out for a process: copies of their inputs under safe names, the files that the script reads."""

from __future__ import annotations

import math
import re
import shutil
import uuid
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import EvalkitError
from evalkit.methods.base import Inputs
from evalkit.methods.normalise import Box, square_box
from evalkit.methods.official.system import Entry, Place, System, Task, Words
from evalkit.methods.official.words import fill

PADDING_GREY = (128, 128, 128)


@dataclass(frozen=True)
class Laid:
    """A sample as a process finds it. box: where the picture lies on its square; prompt_changed: why it is not the set's."""

    task: Task
    inputs: Inputs
    box: Box | None
    prompt_changed: bool


class Layout:
    """The scratch folder of one process."""

    def __init__(self, system: System, entry: Entry, place: Place, seed: int, scratch: Path) -> None:
        self.system, self.entry, self.place, self.scratch = system, entry, place, scratch
        self.out_dir, self.work = scratch / "out", scratch / "work"
        for folder in (self.out_dir, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        self.words: Words = {
            "repo": str(place.checkout),
            "weights": str(place.weights),
            "weights_parent": place.weights.name,
            "gpus": str(place.gpus),
            "seed": str(seed),
            "work": str(self.work),
            "out_dir": str(self.out_dir),
            "mark": uuid.uuid4().hex[:8],
        }
        self.files: Words = {}
        own = {**system.settings, **entry.settings, **place.own}
        self.words |= {name: fill(value, self.words) for name, value in own.items()}

    def lay(self, number: int, inputs: Inputs) -> Laid:
        """Copy one sample's inputs into a folder of its own."""
        folder = self.scratch / "in" / f"{number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"s{number:04d}"
        box = None
        if self.system.square:
            image, box = folder / f"{stem}.png", _lay_on_square(inputs.image, folder / f"{stem}.png")
        else:
            image = folder / f"{stem}{inputs.image.suffix.lower()}"
            shutil.copyfile(inputs.image, image)
        audio = folder / f"{stem}{inputs.audio.suffix.lower()}"
        seconds = voice_seconds(inputs.audio)
        _copy_voice(inputs.audio, audio, self.system.voice_padding_s)
        prompt = clean_prompt(inputs.prompt, self.system.forbidden)
        width, height = video_size(image)
        words = {
            **self.words,
            "prompt": prompt,
            "index": str(number),
            "index3": f"{number:03d}",
            "number4": f"{number + 1:04d}",
            "width": str(width),
            "height": str(height),
            "seconds": f"{seconds:g}",
            "frames": str(self.system.output.frames(seconds)),
            "out_file": str(self.out_dir / f"{stem}.mp4"),
            "out_stem": str(self.out_dir / stem),
            "motion_stem": "motion_module",
            **_paths("image", image),
            **_paths("audio", audio),
        }
        task = Task(seconds, words)
        if self.system.derived is not None:
            task = Task(seconds, {**words, **self.system.derived(task, self._own_place())})
        return Laid(task, inputs, box, prompt != inputs.prompt)

    def write(self, laid: list[Laid]) -> Words:
        """Write the lists and configurations; gives the fillings of the process."""
        tasks = [one.task for one in laid]
        for written in self.entry.written:
            path = self.scratch / fill(written.file, self.words)
            path.write_text(written.content(tasks, self._own_place()), encoding="utf-8")
            self.files |= {written.name: str(path), f"{written.name}_stem": path.stem}
        return {**(tasks[0].words if len(tasks) == 1 else self.words), **self.files}

    def pattern(self, one: Laid) -> Path:
        """Where a sample's file is due; * stands for what is not known before."""
        return Path(fill(self.entry.pattern or self.system.output.pattern, {**one.task.words, **self.files}))

    def _own_place(self) -> Place:
        """The place with the system's settings complete."""
        own = {**self.system.settings, **self.entry.settings, **self.place.own}
        return Place(**{**vars(self.place), "own": own})


def collect(pattern: Path, since_s: float) -> Path:
    """The file that a pattern names: the newest of several, never one that was there before the process began.

    Raises FileNotFoundError saying what was looked for.
    """
    parts = pattern.parts
    first = next((i for i, part in enumerate(parts) if "*" in part), None)
    if first is None:
        found = [pattern] if pattern.is_file() else []
    else:
        found = [one for one in Path(*parts[:first]).glob(str(Path(*parts[first:]))) if one.is_file()]
    fresh = [one for one in found if one.stat().st_mtime >= since_s - 1]
    if not fresh:
        old = "; one of an older run was there" if found else ""
        raise FileNotFoundError(f"the program ended without writing {Path(*parts[-2:])}{old}")
    return max(fresh, key=lambda one: (one.stat().st_mtime, str(one)))


def clean_prompt(prompt: str, forbidden: Mapping[str, str]) -> str:
    """One line, single spaces, without what the system cannot take."""
    for text, instead in forbidden.items():
        while text in prompt:
            prompt = prompt.replace(text, instead)
    return re.sub(r"\s+", " ", prompt).strip()


def video_size(image: Path) -> tuple[int, int]:
    """720x400, 400x720 or 512x512, whichever is nearest to the picture's shape."""
    from PIL import Image

    with Image.open(image) as picture:
        ratio = picture.width / picture.height
    return min([(720, 400), (400, 720), (512, 512)], key=lambda size: abs(math.log(ratio * size[1] / size[0])))


def voice_seconds(path: Path) -> float:
    """How long a voice is."""
    try:
        with wave.open(str(path), "rb") as file:
            return file.getnframes() / file.getframerate()
    except (wave.Error, EOFError):
        from liveavatar.inputs import VOICE_RATE_HZ, read_voice

        return len(read_voice(path)) / VOICE_RATE_HZ


def _paths(name: str, path: Path) -> Words:
    """The parts of a path that templates may want: root / parent / name."""
    return {
        name: str(path),
        f"{name}_name": path.name,
        f"{name}_stem": path.stem,
        f"{name}_parent": path.parent.name,
        f"{name}_root": str(path.parent.parent if name == "image" else path.parent),
    }


def _lay_on_square(source: Path, target: Path) -> Box:
    from PIL import Image

    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    side = max(picture.size)
    square = Image.new("RGB", (side, side), PADDING_GREY)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    square.save(target)
    return square_box(*picture.size)


def _copy_voice(source: Path, target: Path, padding_s: float) -> None:
    """The voice as it is, or with silence behind it."""
    if not padding_s:
        shutil.copyfile(source, target)
        return
    if target.suffix != ".wav":
        raise EvalkitError(f"{source.name}: this system wants silence behind the voice, which needs a WAV file")
    with wave.open(str(source), "rb") as reader, wave.open(str(target), "wb") as writer:
        writer.setparams(reader.getparams())
        writer.writeframes(reader.readframes(reader.getnframes()))
        frame_bytes = reader.getsampwidth() * reader.getnchannels()
        writer.writeframes(b"\0" * (round(padding_s * reader.getframerate()) * frame_bytes))
