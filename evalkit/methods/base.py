"""What a method is: something that makes a video from a picture, a voice and a prompt, and is never shown the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from evalkit.generator import GeneratorSetup
    from evalkit.long_stream import FrameStream
    from evalkit.scenarios import Listening

SYSTEM, CONTROL, ABLATION = "system", "control", "ablation"
VIDEO, TIMELINE = "video.mp4", "timeline.jsonl"


@dataclass(frozen=True)
class Inputs:
    """All that a method is given of a sample."""

    id: str
    image: Path
    audio: Path
    prompt: str


@dataclass(frozen=True)
class ControlInputs(Inputs):
    """What a control row is given besides: the set's own entry with its truth, and the voice of the next sample.

    `pictures` is where the drawn truth of this sample is kept, without sound, for all controls to share.
    """

    entry: Any = None
    other_audio: Path = Path()
    pictures: Path = Path()


@dataclass(frozen=True)
class Generation:
    """A finished clip. `timeline` is None for methods that make nothing in time, such as controls."""

    video: Path
    timeline: Path | None
    frames: int
    fps: float
    details: dict[str, Any] = field(default_factory=dict)


class Session(ABC):
    """A loaded method that makes clip after clip."""

    @abstractmethod
    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        """Make one clip as out_dir/video.mp4 and, if the method measures itself, out_dir/timeline.jsonl."""

    def frames(self, inputs: Inputs, seed: int) -> FrameStream:
        """A stream of frames from float32 samples at 16 kHz, whose state can be kept, for streams of any length."""
        raise NotImplementedError(f"{type(self).__name__} cannot stream, so it has no stress test")

    def listen(self, inputs: Inputs, seed: int) -> Listening:
        """A stream that takes float32 samples at 16 kHz as they come, and gives the number of frames of each chunk."""
        raise NotImplementedError(f"{type(self).__name__} takes whole files only, so nothing can be said of live sound")

    def positions(self, inputs: Inputs, seed: int, blocks: int) -> list[dict[str, Any]]:
        """Rotary positions of the first blocks, read while they are made: one entry per block and step.

        Each has `block`, `step`, `own` and `sink` positions, `sink_is` ("reference" or "adapted"), and `past`: a list of
        `block` and its `positions`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rotary positions of blocks to show")

    def close(self) -> None:  # noqa: B027 - most sessions hold nothing that needs closing
        """Let go of what was loaded."""


class Method(ABC):
    """A row of a table. Raise `version` whenever the same inputs would give another video."""

    name: str
    title: str
    kind: ClassVar[str] = SYSTEM
    version: ClassVar[str] = "1"
    needs: ClassVar[str] = ""
    only_scenarios: tuple[str, ...] = ()
    """Not empty: it makes no clips, and takes part in these scenarios of speed alone."""

    def configure(self, setup: GeneratorSetup) -> None:  # noqa: B027 - only our own generator listens
        """Told before anything else is asked: where the generator's weights lie and how it is to run."""

    @abstractmethod
    def load(self, profile: str) -> Session:
        """Load weights once and be ready to generate."""

    def identity(self, profile: str) -> dict[str, Any]:
        """What besides name and version decides the result: options and digests of weights. No paths, no hosts."""
        return {}

    def predicted(self, profile: str, blocks: int) -> dict[str, Any]:
        """What the method's layout over several devices should reach, by the times of its parts, measured here now.

        Gives `fps_predicted`, `ttff_predicted`, `devices`, `nfe`, the times, and `about`: how it was come by.
        """
        raise NotImplementedError(f"{self.name} has no layout over several devices whose speed could be predicted")

    def gpus(self, profile: str) -> int:
        """Devices that one job of it occupies, all on one machine."""
        return 0

    def problem(self, profile: str) -> str:
        """Why this method cannot run here, with the fix; empty when it can."""
        return ""


Factory = Callable[[], Method]
