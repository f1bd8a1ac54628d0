"""A plug-in for tests: methods that stream or do not, hold on to memory or do not, for Table 1 through the whole harness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evalkit.capabilities import REAL_TIME, STREAMING, UNLIMITED
from evalkit.datasets import register_dataset
from evalkit.experiments import UP, Column, Experiment, Row, SpeedProtocol, Table, experiment
from evalkit.methods import register_method
from evalkit.methods.base import PARADIGM, Generation, Inputs, Method, Session
from evalkit.methods.timelines import write_whole
from liveavatar.inputs import read_voice
from tests.evalkit.fake_system import write_video
from tests.evalkit.rival_run import voices

FPS = 25


class Able(Method):
    """streams: shows frames as it hears. rate: generation over playback. held_mib_s: memory per second of voice."""

    kind = PARADIGM
    speed = "clips"

    def __init__(self, name: str, streams: bool, rate: float, held_mib_s: float, longest_s: float = 0.0) -> None:
        self.name, self.title = name, name
        self.streams, self.rate, self.held_mib_s = streams, rate, held_mib_s
        self.longest_s, self.longest_reason = longest_s, "the template ends"

    def load(self, profile: str) -> Session:
        return AbleSession(self)


class AbleSession(Session):
    def __init__(self, method: Able) -> None:
        self.method = method

    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        seconds = len(read_voice(inputs.audio)) / 16_000
        held = np.ones(round(self.method.held_mib_s * seconds * 2**20), np.uint8)
        frames = round(FPS * seconds)
        write_video(out_dir / "video.mp4", frames, FPS)
        write_whole(out_dir / "timeline.jsonl", frames, seconds / self.method.rate / 2, seconds / self.method.rate)
        return Generation(out_dir / "video.mp4", out_dir / "timeline.jsonl", frames, FPS, {"held": int(held.sum())})

    def listen(self, inputs: Inputs, seed: int) -> Counting:
        if not self.method.streams:
            raise NotImplementedError("it takes whole files only")
        return Counting()


class Counting:
    """A frame for each of its 40 ms that was heard."""

    def __init__(self) -> None:
        self.samples = 0

    def push(self, samples: np.ndarray) -> Iterator[int]:
        before, self.samples = self.samples, self.samples + len(samples)
        yield self.samples * FPS // 16_000 - before * FPS // 16_000

    def flush(self) -> Iterator[int]:
        yield from ()


for method in (
    Able("able", True, 2.0, 0.0), Able("unable", False, 0.5, 12.0), Able("capped", False, 2.0, 0.0, longest_s=5.0)
):  # fmt: skip
    register_method(method.name, lambda made=method: made)
register_dataset("short_voices", lambda: voices("short_voices", 4.0))
register_dataset("long_voices", lambda: voices("long_voices", 16.0))


@experiment
def able_table() -> Experiment:
    """A small Table 1."""
    titles = {STREAMING: "Streaming", REAL_TIME: "Real time", UNLIMITED: "Unlimited"}
    columns = tuple(Column(name, title, UP, is_tick=True) for name, title in titles.items())
    rows = tuple(Row(name, name, PARADIGM) for name in ("able", "unable", "capped"))
    sets = ("short_voices", "long_voices")
    # One set in the table, as in the paper; both are run.
    table = Table("one", "Capabilities", columns, rows, ("long_voices",))
    return Experiment(
        "able_table", "Capabilities", ("able", "unable", "capped"), sets, (), (table,), reference="able",
        speed=SpeedProtocol(dataset="long_voices", others_share=1.0), probes_streaming=True,
    )  # fmt: skip
