"""Per published system: is it ready here, what is missing, the command that gets it, and what disk and GPUs it takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator

from evalkit.doctor import FAIL, OK, WARN, Check
from evalkit.methods.official import NAMES, get_system
from evalkit.methods.official.option_list import OptionError, check
from evalkit.methods.official.place import read_place
from evalkit.methods.official.readiness import needs_line, own_parser_problem, steps
from evalkit.methods.official.system import Place, System
from evalkit.methods.official.words import example_words
from evalkit.resolve import Selection


def rival_checks(names: Iterable[str], selection: Selection) -> Iterator[Check]:
    """One line per system that is ready; else a line and what to do, step by step."""
    for name in names:
        if name in NAMES:
            system = get_system(name)
            place = read_place(system, selection.generator)
            yield from _checks(system, place, FAIL if name in selection.methods else WARN)


def _checks(system: System, place: Place | None, state: str) -> Iterator[Check]:
    name = f"system {system.name}"
    open_steps = [step for step in steps(system, place) if not step.is_there]
    if open_steps or place is None:
        yield Check(name, state, f"not ready; needs {needs_line(system)}")
        for number, step in enumerate(open_steps, 1):
            yield Check(f"  {number}. {step.what}", state, step.detail if place else "not there", step.command)
        if place is None:
            table = f'[systems.{system.name}] checkout = "...", weights = "...", python = "..."'
            yield Check(f"  {len(open_steps) + 1}. evalkit.toml", state, "has no table of this system", table)
        return
    yield Check(name, OK, f"ready: checkout, interpreter and weights are there; needs {needs_line(system)}")
    yield from _options(system, place)
    yield _devices(system, place)


def _options(system: System, place: Place) -> Iterator[Check]:
    """The command line, as the option list and as the checkout's own parser see it."""
    words, script = example_words(system.entry(place.entry), place), system.entry(place.entry).script
    try:
        check(system.options, script, words)
    except OptionError as error:
        yield Check("  options", FAIL, str(error), f"correct [systems.{system.name}.options] of evalkit.toml")
        return
    problem = own_parser_problem(system, place, words)
    yield Check(
        "  options",
        WARN if problem else OK,
        problem or f"the checkout's own parser takes the command of {script}",
        f"git -C {place.checkout} checkout {system.commit[:12]}" if problem else "",
    )


def _devices(system: System, place: Place) -> Check:
    found = gpu_count()
    enough = found >= place.gpus
    detail = f"{found} of {place.gpus} GPUs are here"
    return Check("  devices", OK if enough else WARN, detail, "" if enough else "run this method on a machine that has them")


def gpu_count() -> int:
    """Devices that torch sees here."""
    if importlib.util.find_spec("torch") is None:
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
