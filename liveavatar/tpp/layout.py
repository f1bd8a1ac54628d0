"""Which device does what: a rollout's steps and its decoding, laid out over any number of devices.

Roles have names here, so that nothing else compares ranks: a stage makes some steps of every block, decodes it, or both;
several devices may share one stage's tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from liveavatar.config import RolloutOptions

DECODE = "vae"
_STAGE = re.compile(r"(?:(\d+)(?:-(\d+))?(?:\*(\d+))?)?(\+?vae)?")


@dataclass(frozen=True)
class Stage:
    """One place of the pipeline: consecutive steps of every block, decoding, or both; `devices` share the steps' tokens."""

    steps: range = range(0)
    decodes: bool = False
    devices: int = 1

    @property
    def name(self) -> str:
        """In words: "denoise 0-1", "decode", "denoise 3 + decode"."""
        denoise = [f"denoise {_span(self.steps)}"] if self.steps else []
        return " + ".join([*denoise, *(["decode"] if self.decodes else [])])

    @property
    def spec(self) -> str:
        """As `parse_layout` reads it."""
        shared = f"*{self.devices}" if self.devices > 1 else ""
        return "+".join([*([_span(self.steps) + shared] if self.steps else []), *([DECODE] if self.decodes else [])])


@dataclass(frozen=True)
class Role:
    """One process's place: its stage, its part of it, and whom it speaks to.

    members: ranks that share the stage, the first of which leads. source: the rank that latents come from, None where blocks
    begin, from sound. target: the rank that they go to, None where frames leave. number: the stage's.
    """

    rank: int
    stage: Stage
    number: int
    part: int
    members: tuple[int, ...]
    source: int | None
    target: int | None

    @property
    def is_front(self) -> bool:
        """Whether sound arrives here."""
        return self.source is None and self.is_leader

    @property
    def is_end(self) -> bool:
        """Whether finished blocks leave here."""
        return self.target is None and self.is_leader

    @property
    def is_leader(self) -> bool:
        """Whether this process speaks for its stage."""
        return self.part == 0

    @property
    def name(self) -> str:
        """The stage's name, and the part where several share it."""
        return self.stage.name + (f", part {self.part + 1} of {len(self.members)}" if len(self.members) > 1 else "")


@dataclass(frozen=True)
class Layout:
    """Stages in the order in which a block passes them. Raises ValueError for what cannot be a pipeline."""

    name: str
    stages: tuple[Stage, ...]
    _first_ranks: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.stages or not self.stages[0].steps:
            raise ValueError(f"layout {self.name!r}: the first stage must make step 0")
        made = 0
        for stage in self.stages:
            if stage.steps and stage.steps.start != made:
                raise ValueError(
                    f"layout {self.name!r}: after step {made - 1} comes step {made}, not {stage.steps.start}; "
                    "every step once, in order, such as 0|1|2-3|vae"
                )
            made += len(stage.steps)
            if stage.devices < 1 or (stage.devices > 1 and not stage.steps):
                raise ValueError(f"layout {self.name!r}: devices can share steps (such as 0-3*4), not decoding alone")
        if any(stage.decodes for stage in self.stages[:-1]) or not all(s.steps or s.decodes for s in self.stages):
            raise ValueError(f"layout {self.name!r}: only the last stage decodes, and every stage does something")
        firsts = [sum(stage.devices for stage in self.stages[:n]) for n in range(len(self.stages))]
        object.__setattr__(self, "_first_ranks", tuple(firsts))

    @property
    def steps(self) -> int:
        """Steps that a block passes."""
        return sum(len(stage.steps) for stage in self.stages)

    @property
    def devices(self) -> int:
        """Devices, and so processes."""
        return sum(stage.devices for stage in self.stages)

    @property
    def decodes(self) -> bool:
        """Whether frames come out; without, latents do."""
        return self.stages[-1].decodes

    @property
    def spec(self) -> str:
        """As `parse_layout` reads it."""
        return "|".join(stage.spec for stage in self.stages)

    @property
    def roles(self) -> tuple[Role, ...]:
        """One per device, by rank."""
        return tuple(self._role(number, part) for number, stage in enumerate(self.stages) for part in range(stage.devices))

    def check(self, options: RolloutOptions) -> None:
        """Raise ValueError where a rollout's options cannot be laid out like this."""
        if self.steps != options.steps:
            raise ValueError(f"layout {self.spec} has {self.steps} steps, the rollout {options.steps}; change one of them")
        if options.cache == "clean" and sum(bool(stage.steps) for stage in self.stages) > 1:
            raise ValueError(
                "cache='clean' finishes each block before the next begins, so its steps cannot be spread; put them on one "
                f"stage (0-{self.steps - 1}|vae, 0-{self.steps - 1}*4|vae) or take cache='timestep'"
            )
        if options.decode == "end":
            raise ValueError("decode='end' keeps the whole stream before it decodes; a pipeline needs decode='block'")

    def _role(self, number: int, part: int) -> Role:
        first, stage = self._first_ranks[number], self.stages[number]
        return Role(
            rank=first + part,
            stage=stage,
            number=number,
            part=part,
            members=tuple(range(first, first + stage.devices)),
            source=self._first_ranks[number - 1] if number else None,
            target=self._first_ranks[number + 1] if number + 1 < len(self.stages) else None,
        )


def parse_layout(text: str, name: str = "") -> Layout:
    """Stages between bars: steps as "0" or "0-2", "*4" for four devices that share them, "vae" for decoding.

    "0|1|2|3|vae" is one step per device and one for decoding; "0-1|2-3+vae" two devices; "0-3*4|vae" sequence parallelism.
    """
    stages = []
    for part in text.replace(" ", "").split("|"):
        match = _STAGE.fullmatch(part)
        if match is None or not part:
            raise ValueError(f"layout {text!r}: {part!r} is no stage; write such as 0|1|2|3|vae, 0-1|2-3+vae or 0-3*4|vae")
        first, last, devices, decode = match.groups()
        steps = range(int(first), int(last or first) + 1) if first is not None else range(0)
        if first is not None and not steps:
            raise ValueError(f"layout {text!r}: steps {first}-{last} run backwards")
        stages.append(Stage(steps, decode is not None, int(devices or 1)))
    return Layout(name or text, tuple(stages))


def balanced(steps: int, devices: int, t_steps: Sequence[float] | None = None, t_decode: float = 1.0) -> Layout:
    """The layout of 1 to steps + 1 devices whose slowest stage is fastest.

    t_steps: seconds of each step; t_decode: of decoding a block; by default all alike. Among equals, decoding stands alone
    and early stages are short. Raises ValueError for other numbers of devices.
    """
    if not 1 <= devices <= steps + 1:
        raise ValueError(f"{devices} devices for {steps} steps and decoding: give 1 to {steps + 1}")
    costs = [*(t_steps or [1.0] * steps), t_decode]
    cuts = _best_cuts(costs, devices)
    stages = [_stage_between(begin, end, steps) for begin, end in zip([0, *cuts], [*cuts, steps + 1], strict=True)]
    return Layout(str(devices), tuple(stages))


def _best_cuts(costs: Sequence[float], stages: int) -> list[int]:
    """Where to cut costs into `stages` runs so that the largest sum is least; later runs are filled first."""
    ends = range(1, len(costs) + 1)
    best: dict[tuple[int, int], tuple[float, list[int]]] = {(1, end): (sum(costs[:end]), []) for end in ends}
    for count in range(2, stages + 1):
        for end in range(count, len(costs) + 1):
            tried = [
                (max(best[count - 1, cut][0], sum(costs[cut:end])), [*best[count - 1, cut][1], cut])
                for cut in range(end - 1, count - 2, -1)
            ]
            best[count, end] = min(tried, key=lambda found: found[0])
    return best[stages, len(costs)][1]


def _stage_between(begin: int, end: int, steps: int) -> Stage:
    return Stage(range(begin, min(end, steps)), decodes=end == steps + 1)


def _span(steps: range) -> str:
    return f"{steps.start}" if len(steps) == 1 else f"{steps.start}-{steps.stop - 1}"
