"""A plug-in for tests: deterministic methods, sets and a metric that need no network and no video.

What a fake does wrong is told by the environment variable EVALKIT_FAKE, a JSON object: {"sleep_s": 0.01,
"fail": ["method/sample"], "hang": [...], "die": [...], "short": [...], "full": [...]}; `once` names a folder in which a
mark keeps a fault from happening twice.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.datasets import LoadedSet, Sample, SampleSet, input_digest, register_dataset
from evalkit.definition import SampleInfo
from evalkit.experiments import Column, Experiment, Row, Segments, SpeedProtocol, Table, experiment
from evalkit.fingerprint import digest, file_sha256
from evalkit.measures import AddedMetric, register_metric
from evalkit.methods import register_method
from evalkit.methods.base import ABLATION, CONTROL, SYSTEM, ControlInputs, Generation, Inputs, Method, Session

FPS, BLOCK_FRAMES, BLOCK_S, RATE_HZ = 25, 12, 0.48, 8000
DENOISE_S, DECODE_S = 0.10, 0.05


def settings() -> dict[str, Any]:
    """What the fakes are to do wrong."""
    return json.loads(os.environ.get("EVALKIT_FAKE", "{}"))


def is_told(fault: str, name: str) -> bool:
    """Whether `name` is to suffer `fault` now."""
    if name not in settings().get(fault, []):
        return False
    once = settings().get("once")
    if once:
        mark = Path(once) / f"{fault}-{name.replace('/', '-')}"
        if mark.exists():
            return False
        mark.touch()
    return True


def number_of(*names: Any) -> float:
    """A number in [0, 1) that depends on the names only."""
    return int(hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:8], 16) / 2**32


class FakeMethod(Method):
    """Writes a few bytes as a video, and a timeline with round numbers."""

    def __init__(self, name: str, kind: str = SYSTEM, version: str = "1") -> None:
        self.name, self.title = name, name.replace("_", " ").title()
        self.kind, self.version = kind, version

    def load(self, profile: str) -> Session:
        return FakeSession(self)

    def identity(self, profile: str) -> dict[str, Any]:
        return {"weights": settings().get("weights", "w1")}

    def predicted(self, profile: str, blocks: int) -> dict[str, Any]:
        return {"fps_predicted": 1.5 * blocks, "devices": 5, "nfe": 4, "about": "told, not timed"}

    def problem(self, profile: str) -> str:
        return f"{self.name} needs weights; train them" if self.name in settings().get("blocked", []) else ""


def fake_layout() -> FakeMethod:
    """A row that is predicted, and makes no clips."""
    method = FakeMethod("fake_layout", ABLATION)
    method.only_scenarios = ("predicted",)
    return method


class FakeSession(Session):
    """One loaded fake."""

    def __init__(self, method: FakeMethod) -> None:
        self.method = method

    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        assert isinstance(inputs, ControlInputs) == (self.method.kind == CONTROL)
        name = f"{self.method.name}/{inputs.id}"
        time.sleep(settings().get("sleep_s", 0.0))
        with wave.open(str(inputs.audio), "rb") as file:
            duration_s = file.getnframes() / file.getframerate()
        content = {"quality": number_of(self.method.name, inputs.id, seed), "duration_s": duration_s}
        video = out_dir / "video.mp4"
        video.write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
        if is_told("fail", name):
            raise ValueError(f"told to fail on {name}")
        if is_told("hang", name):
            time.sleep(600)
        if is_told("die", name):
            os.kill(os.getpid(), signal.SIGKILL)
        if is_told("full", name):
            raise OSError(errno.ENOSPC, "No space left on device")
        blocks = round(duration_s / BLOCK_S)
        frames = 3 if is_told("short", name) else blocks * BLOCK_FRAMES
        timeline = None if self.method.kind == CONTROL else write_timeline(out_dir / "timeline.jsonl", blocks)
        return Generation(video, timeline, frames, FPS)

    def frames(self, inputs: Inputs, seed: int) -> Any:
        """A real, tiny video: one grey level per second, with a state of two numbers."""
        return FakeFrames()

    def listen(self, inputs: Inputs, seed: int) -> Any:
        """Blocks of 12 frames, each a little after its last sample."""
        with wave.open(str(inputs.audio), "rb") as file:
            return FakeListening(round(BLOCK_S * file.getframerate()))


class FakeFrames:
    """Frames of 16 x 16 pixels, in blocks of 12 for each 0.48 s heard; `slow_s` lets each block take a while."""

    width = height = 16
    fps = float(FPS)
    thread = None

    def __init__(self) -> None:
        self.heard = self.made = 0

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        self.heard += len(samples)
        while self.made + BLOCK_FRAMES <= self.heard * FPS // RATE_HZ:
            yield self._take(BLOCK_FRAMES)

    def flush(self) -> Iterator[np.ndarray]:
        if left := self.heard * FPS // RATE_HZ - self.made:
            yield self._take(left)

    def _take(self, count: int) -> np.ndarray:
        time.sleep(settings().get("slow_s", 0.0))
        levels = [(self.made + index) // FPS * 2 % 256 for index in range(count)]
        self.made += count
        return np.repeat(np.array(levels, np.uint8), 16 * 16 * 3).reshape(-1, 16, 16, 3)

    def save(self, path: Path) -> bool:
        path.write_text(json.dumps([self.heard, self.made]))
        return True

    def restore(self, path: Path) -> None:
        self.heard, self.made = json.loads(path.read_text())

    def position(self) -> float | None:
        return float(self.made % 1000)


class FakeListening:
    """Gives a block for each 0.48 s heard."""

    def __init__(self, block_samples: int) -> None:
        self.block_samples, self.left = block_samples, 0

    def push(self, samples: np.ndarray) -> Iterator[int]:
        self.left += len(samples)
        while self.left >= self.block_samples:
            self.left -= self.block_samples
            yield BLOCK_FRAMES

    def flush(self) -> Iterator[int]:
        if self.left:
            yield max(1, BLOCK_FRAMES * self.left // self.block_samples)


def write_timeline(path: Path, blocks: int) -> Path:
    """A sequential pipeline: denoise, decode, output at once."""
    lines: list[dict[str, Any]] = [{"event": "start", "t_s": 0.0}]
    now = 0.02
    for block in range(blocks):
        spans = [("denoise", now, now + DENOISE_S), ("decode", now + DENOISE_S, now + DENOISE_S + DECODE_S)]
        now += DENOISE_S + DECODE_S
        spans.append(("output", now, now))
        lines += [
            {"event": "span", "stage": stage, "block": block, "begin_s": begin, "end_s": end, "frames": BLOCK_FRAMES}
            for stage, begin, end in spans
        ]
    lines.append({"event": "end", "t_s": now + 0.01})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@dataclass(frozen=True)
class FakeScore:
    value: float | None
    reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    series: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)


class FakeMetric:
    """The number in the fake video."""

    name, title, direction, unit, version = "fake_quality", "Quality", "up", "", 1
    extractors = ("fake",)

    @property
    def backbone(self) -> dict[str, Any]:
        return {"name": "fake-net", "digest": "0123456789abcdef" * 4, "kind": "nano"}

    def score(self, features: Any, sample: Any) -> FakeScore:
        if sample.info.id in settings().get("unscored", []):
            return FakeScore(None, "too_short")
        values = features["fake"]["values"].astype(float)
        times = [float(index) for index in range(len(values))]
        return FakeScore(float(values.mean()), None, {"n": len(values)}, {"quality": (times, values.tolist())})


def extract(video: Path, sample: Any) -> dict[str, dict[str, np.ndarray]]:
    """One value per second."""
    log = settings().get("extract_log")
    if log:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{video.parent.parent.parent.name}/{sample.info.id}\n")
    try:
        content = json.loads(video.read_text(encoding="utf-8"))
    except ValueError:  # a real video, from a stream
        content = {"quality": 0.5, "duration_s": 10}
    count = max(2, int(content["duration_s"]))
    return {"fake": {"values": np.array([content["quality"] + 0.001 * index for index in range(count)])}}


def fake_set(name: str, count: int, duration_s: float) -> SampleSet:
    """A set of silent voices and one-byte pictures."""

    def build(folder: Path, suite: str, progress: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (folder / f"s{index}.png").write_bytes(bytes([index]))
            with wave.open(str(folder / f"s{index}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE_HZ)
                file.writeframes(bytes([index]) * 2 * round(RATE_HZ * duration_s))
            progress(index + 1, count)
        (folder / "manifest.json").write_text(json.dumps({"samples": count}), encoding="utf-8")

    def load(folder: Path) -> LoadedSet:
        samples = {}
        for index in range(count):
            image, audio = folder / f"s{index}.png", folder / f"s{index}.wav"
            given = input_digest(file_sha256(image), file_sha256(audio), f"prompt {index}")
            info = SampleInfo(
                f"s{index}",
                given,
                duration_s,
                "flat",
                "frontal",
                f"datasets/{name}/s{index}.png",
                f"datasets/{name}/s{index}.wav",
                f"text {index}",
                truth_digest=f"t{index}",
            )
            samples[info.id] = Sample(info, image, audio, f"prompt {index}")
        return LoadedSet(name, name, digest([one.info.digest for one in samples.values()]), samples)

    return SampleSet(name, name, {"quick": count, "full": count}, build, load)


register_dataset("fake_short", lambda: fake_set("fake_short", 6, 4.8))
register_dataset("fake_long", lambda: fake_set("fake_long", 2, 24.0))
register_method("fake", lambda: FakeMethod("fake", version=str(settings().get("version", "1"))))
register_method("fake_other", lambda: FakeMethod("fake_other", ABLATION))
register_method("fake_layout", fake_layout)
register_method("fake_control", lambda: FakeMethod("fake_control", CONTROL))
register_metric("fake_quality", AddedMetric(FakeMetric(), extract))

QUALITY = Column("fake_quality", "Quality", "up", digits=3)
COLUMNS = (
    Column("no_such_metric", "ASE", "up"),
    QUALITY,
    Column("fps", "FPS", "up", unit="frames/s"),
    Column("ttff", "TTFF", "down", unit="s", in_paper=False),
)
ROWS = (
    Row("ditto", "Ditto", "rival", "no adapter"),
    Row("fake", "Fake (ours)"),
    Row("fake_other", "Other", "ablation"),
    Row("fake_control", "Control", "control"),
)


@experiment
def fake_table() -> Experiment:
    """A small Table 2."""
    table = Table("fake", "A fake table", COLUMNS, ROWS, ("fake_short", "fake_long"), "Table 2")
    return Experiment(
        name="fake_table",
        title="A fake experiment",
        methods=("fake", "fake_other", "fake_control"),
        datasets=("fake_short", "fake_long"),
        metrics=("no_such_metric", "fake_quality"),
        tables=(table,),
        reference="fake",
        speed=SpeedProtocol(dataset="fake_long", discarded_s=2.4, clip_s=19.2, others_share=1.0),
    )


@experiment
def fake_speed() -> Experiment:
    """Every scenario, as short as can be; repeats in processes of their own."""
    columns = (
        Column("fps", "FPS", "up"),
        Column("live_p50", "Latency", "down", unit="s"),
        Column("live_misses", "Misses", "down"),
        Column("switch_p50", "Switch", "down", unit="s"),
        Column("soak_fps", "Soak", "up"),
        Column("cold_first", "Cold", "down", unit="s"),
        Column("devices", "Devices", "none", digits=0),
        Column("fps_predicted", "FPS, predicted", "up"),
    )
    rows = (Row("fake", "Fake"), Row("fake_layout", "Layout"))
    table = Table("speed", "Speed", columns, rows, ("fake_long",))
    return Experiment(
        name="fake_speed",
        title="Fake speed",
        methods=("fake", "fake_layout"),
        datasets=("fake_long",),
        metrics=(),
        tables=(table,),
        reference="fake",
        speed=SpeedProtocol(
            name="tiny",
            dataset="fake_long",
            discarded_s=0.96,
            repeats=2,
            clip_s=9.6,
            min_blocks=20,
            others_share=1.0,
            scenarios=("offline", "live", "switch", "soak", "cold", "predicted"),
            predicted_blocks=10,
            is_fresh=True,
            live_s=1.0,
            switches=1,
            soak_s=20.0,
            probes=("frames", "pictures", "caching", "unseen"),
        ),
    )


@experiment
def fake_stress() -> Experiment:
    """A small Table 7."""
    names = ("stress_0_10", "stress_100_110", "stress_1000_1010")
    spans = ((0, 10), (100, 110), (1000, 1010))
    table = Table("seven", "A fake stream", (QUALITY,), (Row("fake", "Fake"),), names, "Table 7", by_dataset=True)
    return Experiment(
        name="fake_stress",
        title="A fake stream of {seconds} s",
        methods=("fake",),
        datasets=names,
        metrics=("fake_quality",),
        tables=(table,),
        reference="fake",
        stress=Segments("fake_long", 300.0, spans, windows=4),
    )
