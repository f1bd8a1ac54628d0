"""Layouts by name: the rows of the paper's Tables 3 and 6, and any number of devices. A name may set rollout options too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from liveavatar.config import RolloutOptions
from liveavatar.tpp.layout import DECODE, Layout, Stage, balanced, parse_layout

TEACHER_STEPS, TEACHER_GUIDANCE = 40, 4.5  # how the base model samples: 80 evaluations per block


@dataclass(frozen=True)
class Variant:
    """A layout, and the options that belong to it. about: what it stands for."""

    layout: Layout
    options: RolloutOptions
    about: str = ""

    @property
    def name(self) -> str:
        return self.layout.name


@dataclass(frozen=True)
class _Row:
    """shape: "each" (a device per step), "one" (all steps on one) or a number of devices that share all steps."""

    about: str
    shape: str = "each"
    vae_alone: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)


_CLEAN = {"cache": "clean"}
ROWS: dict[str, _Row] = {
    "tpp": _Row("a device for every step and one for decoding (the paper's system)"),
    "no-vae-parallel": _Row("a device for every step; the last one also decodes", vae_alone=False),
    "tpp3": _Row("three evaluations of the released grid, one device fewer", changes={"steps": 3, "grid": "release3"}),
    "no-tpp": _Row("clean cache, all evaluations on one device, decoding on another", "one", changes=_CLEAN),
    "sp4": _Row("clean cache, all evaluations shared by four devices (Table 6's clean-KV row)", "4", changes=_CLEAN),
    "no-dmd": _Row(
        "many steps with guidance on one device, decoding on another",
        "one",
        changes={"steps": TEACHER_STEPS, "guidance": TEACHER_GUIDANCE},
    ),
}  # fmt: skip
TABLE_3 = ("no-tpp", "sp4", "no-vae-parallel", "no-dmd", "tpp")


def variant(name: str, options: RolloutOptions, t_steps: list[float] | None = None, t_decode: float = 1.0) -> Variant:
    """The layout that a name, a number of devices or a spec means, for these options.

    Names: those of `ROWS`, "spN" for any N, "single". Times are used to balance a number of devices. Raises ValueError.
    """
    row = ROWS.get(name)
    shared = re.fullmatch(r"sp(\d+)", name)
    if row is None and shared:
        row = _Row(f"clean cache, all evaluations shared by {shared[1]} devices", shared[1], changes=_CLEAN)
    if row is not None:
        options = replace(options, **row.changes)
        made = Variant(Layout(name, _stages(row, options.steps)), options, row.about)
    elif name == "single" or name.isdigit():
        layout = balanced(options.steps, 1 if name == "single" else int(name), t_steps, t_decode)
        made = Variant(replace(layout, name=name), options, f"{layout.devices} device(s), balanced")
    elif "|" in name or name[:1].isdigit():
        made = Variant(parse_layout(name), options)
    else:
        known = ", ".join(ROWS)
        raise ValueError(f"layout {name!r}: give {known}, spN, a number of devices, or stages such as 0-1|2-3|{DECODE}")
    made.layout.check(made.options)
    return made


def names(steps: int) -> list[str]:
    """All rows, then numbers of devices."""
    return [*ROWS, *map(str, range(1, steps + 2))]


def _stages(row: _Row, steps: int) -> tuple[Stage, ...]:
    if row.shape == "each":
        stages = [Stage(range(step, step + 1)) for step in range(steps)]
    else:
        stages = [Stage(range(steps), devices=1 if row.shape == "one" else int(row.shape))]
    if row.vae_alone:
        return (*stages, Stage(decodes=True))
    return (*stages[:-1], replace(stages[-1], decodes=True))
