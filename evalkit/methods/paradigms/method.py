"""The methods `paradigm:NAME` and `contrast:NAME`: a rule over the teacher, named as our re-implementation everywhere."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import PrerequisiteMissingError
from evalkit.generator import GeneratorSetup
from evalkit.methods.base import PARADIGM, TIMELINE, VIDEO, Generation, Inputs, Method, Session
from evalkit.methods.paradigms import FAMILIES, Scheme
from evalkit.methods.paradigms.files import TEACHER, digests, folder_of, problem_of
from evalkit.methods.paradigms.notes import notes
from evalkit.methods.timelines import Stopwatch
from evalkit.names import unknown
from evalkit.settings import read_settings

if TYPE_CHECKING:
    import numpy as np

    from evalkit.methods.paradigms.policy import Policy
    from evalkit.methods.paradigms.teacher import Teacher
    from evalkit.scenarios import Listening

HOW = "python -m evalkit.methods.paradigms.training --help"
LIMIT_PER_S = 120.0


@dataclass(frozen=True)
class Choices:
    """[paradigms.all] and then [paradigms.NAME] of evalkit.toml.

    weights: a folder. steps: of the sampler, 0: the rule's own. dtype: float32 or bfloat16; empty: as the processor suits.
    """

    weights: str = ""
    steps: int = 0
    dtype: str = ""


class ParadigmMethod(Method):
    """A scheme as a method."""

    kind = PARADIGM
    speed = "clips"
    limit_per_s = LIMIT_PER_S
    needs = "the nano teacher's weights"

    def __init__(self, family: str, scheme: Scheme) -> None:
        self.scheme = scheme
        self.name, self.title = f"{family}:{scheme.name}", scheme.title
        self.longest_s, self.longest_reason = scheme.longest_s, scheme.longest_reason
        self.choices, self.folder = Choices(), folder_of("")

    def configure(self, setup: GeneratorSetup) -> None:
        """Weights and steps from the settings."""
        settings, allowed = read_settings(setup.settings, setup.assigned), list(Choices.__dataclass_fields__)
        for table in ("all", self.scheme.name):
            self.choices = replace(self.choices, **(settings.of("paradigms", table, allowed) or {}))
        given = self.choices.weights
        self.folder = folder_of(str(settings.path(given)) if given else "")

    def problem(self, profile: str) -> str:
        """A profile without a teacher, or weights that are not there."""
        if profile != "nano":
            return f"{self.name} exists for profile nano only: it compares schemes, not checkpoints"
        problem = problem_of(self.folder, (TEACHER, *self.scheme.tuned))
        if problem:
            return (
                f"{self.name} needs {problem}: train them ({HOW}), or name their folder with "
                "--set paradigms.all.weights=FOLDER"
            )
        return ""

    def identity(self, profile: str) -> dict[str, Any]:
        """The rule's own numbers and the digests of its weights."""
        from evalkit.methods.paradigms.loading import fast_type

        policy = self._policy()
        return {
            "scheme": self.scheme.name,
            "policy": asdict(policy) if is_dataclass(policy) and not isinstance(policy, type) else {},
            "weights": digests(self.folder, (TEACHER, *self.scheme.tuned)),
            "dtype": self.choices.dtype or fast_type(),
        }

    def load(self, profile: str) -> Session:
        """Load teacher and rule."""
        problem = self.problem(profile)
        if problem:
            raise PrerequisiteMissingError(problem)
        from evalkit.methods.paradigms.loading import load_teacher

        policy = self._policy()
        tuned = self.scheme.tuned[0] if self.scheme.tuned else ""
        if hasattr(policy, "open"):  # the motion space has networks of its own, and no teacher
            return policy.open(self.folder, self.scheme)  # type: ignore[no-any-return]
        return PolicySession(policy, load_teacher(self.folder, tuned, self.choices.dtype), self.scheme)

    def _policy(self) -> Policy:
        module, _, name = self.scheme.address.partition(":")
        policy: Any = getattr(importlib.import_module(module), name)()
        if self.choices.steps:
            policy = replace(policy, sampler=replace(policy.sampler, steps=self.choices.steps))
        return policy  # type: ignore[no-any-return]


class PolicySession(Session):
    """A rule and its teacher, loaded."""

    def __init__(self, policy: Policy, teacher: Teacher, scheme: Scheme) -> None:
        self.policy, self.teacher, self.scheme = policy, teacher, scheme

    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        """The whole voice is there from the beginning; frames are written as the rule gives them."""
        from liveavatar.inputs import read_picture, read_voice
        from liveavatar.output import VideoWriter

        config, watch = self.teacher.config, Stopwatch()
        voice = read_voice(inputs.audio)
        picture = read_picture(inputs.image, config.height, config.width)
        material = self.teacher.prepare(picture, voice, inputs.prompt, (seed, inputs.id))
        left = -(-len(voice) // config.samples_per_frame)
        writer = VideoWriter(
            out_dir / VIDEO, config.width, config.height, config.fps, voice, config.sample_rate, audio_codec="flac"
        )
        with writer:
            for number, frames in enumerate(cut(self.policy.run(self.teacher, material, watch), left)):
                begin_s = watch.now_s()
                writer.write(frames)
                watch.span("output", number, begin_s, len(frames))
        wall_s = watch.write(out_dir / TIMELINE)
        details = {"width": config.width, "height": config.height, "wall_s": wall_s, **notes(self.scheme, self.policy)}
        return Generation(out_dir / VIDEO, out_dir / TIMELINE, writer.frames_written, float(config.fps), details)

    def listen(self, inputs: Inputs, seed: int) -> Listening:
        """These schemes make the voice's features from a whole file."""
        raise NotImplementedError(f"the scheme of {self.scheme.of or 'this contrast'} takes whole voice files only")


def cut(pixels: Iterator[Any], frames: int) -> Iterator[np.ndarray]:
    """Pixels [1, 3, n, H, W] in [-1, 1] as uint8 [n, H, W, 3], `frames` of them in all."""
    import torch

    left = frames
    for part in pixels:
        made = ((part[0].permute(1, 2, 3, 0) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()[:left]
        left -= len(made)
        if len(made):
            yield made
        if left <= 0:
            return


class BlockCausalMethod(Method):
    """The rule that is the system under test itself, under its paradigm's name."""

    kind = PARADIGM
    speed = "clips"
    needs = "nano weights (shipped)"

    def __init__(self, name: str, scheme: Scheme) -> None:
        from evalkit.methods.live_avatar import live_avatar

        self.name, self.title, self.scheme = name, scheme.title, scheme
        self.system = live_avatar()
        self.version = self.system.version  # type: ignore[misc]

    def configure(self, setup: GeneratorSetup) -> None:
        """As the system is."""
        self.system.configure(setup)

    def problem(self, profile: str) -> str:
        """As the system has it."""
        return self.system.problem(profile)

    def identity(self, profile: str) -> dict[str, Any]:
        """The system's."""
        return self.system.identity(profile)

    def load(self, profile: str) -> Session:
        """The system's own session."""
        return self.system.load(profile)


def _member(family: str, name: str) -> Method:
    schemes = FAMILIES[family]
    if name not in schemes:
        raise unknown("method", f"{family}:{name}", [f"{family}:{one}" for one in schemes])
    scheme = schemes[name]
    return ParadigmMethod(family, scheme) if scheme.address else BlockCausalMethod(f"{family}:{name}", scheme)


def paradigm(name: str) -> Method:
    """The paradigm called `name`."""
    return _member("paradigm", name)


def contrast(name: str) -> Method:
    """The contrast called `name`."""
    return _member("contrast", name)
