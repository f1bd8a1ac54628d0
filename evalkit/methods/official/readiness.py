"""Whether a published system is ready here, or what is missing and the command that gets it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evalkit.methods.official.option_list import OptionError, option_list
from evalkit.methods.official.own_parser import parse_by_checkout
from evalkit.methods.official.system import Place, System

CHECKED = "evalkit.toml"


@dataclass(frozen=True)
class Step:
    """One thing that a system needs: is it there, and if not, the command that gets it."""

    what: str
    is_there: bool
    command: str = ""
    detail: str = ""


def missing(system: System, place: Place | None) -> str:
    """The first thing that is missing, with its fix; empty when the system can be started."""
    if place is None:
        return (
            f"{system.name} is not set up: name its checkout, weights and interpreter under [systems.{system.name}] in "
            f"{CHECKED}; the commands: python -m evalkit doctor table2 --methods {system.name}"
        )
    for step in steps(system, place):
        if not step.is_there:
            return f"{system.name}: {step.what}{f' ({step.detail})' if step.detail else ''}; fix: {step.command}"
    return ""


def steps(system: System, place: Place | None) -> Iterator[Step]:
    """Everything that it takes, in the order in which to do it. GPUs are not asked for here: the program says that."""
    checkout = place.checkout if place else Path(system.repository.partition("/")[2])
    weights = place.weights if place else Path("weights") / system.name
    clone = f"git clone https://github.com/{system.repository} {checkout} && git -C {checkout} checkout {system.commit[:12]}"
    script = checkout / system.entry(place.entry if place else "").script
    yield Step(f"checkout {checkout.name}/{script.name}", place is not None and script.is_file(), clone)
    python = place.python if place else ""
    is_found = bool(python) and (Path(python).is_file() or shutil.which(python) is not None)
    home = f"envs/{system.name}"
    environment = f"python{system.needs.python} -m venv {home} && {home}/bin/pip install -r {checkout}/requirements.txt"
    yield Step("interpreter of its own", is_found and os.access(python, os.X_OK), environment, python)
    lost = [
        file
        for file in (one.format(weights=weights, repo=checkout) for one in system.needs.files)
        if place is None or not Path(file).exists()
    ]
    downloads = " && ".join(_download(hub, weights) for hub in system.needs.hubs)
    yield Step("weights", place is not None and not lost, downloads, "lacks " + ", ".join(_short(one) for one in lost))


def needs_line(system: System) -> str:
    """Disk and devices in one line; what projects do not state is marked as an estimate."""
    needs = system.needs
    gpus = f"{needs.least_gpus}" if needs.least_gpus == needs.most_gpus else f"{needs.least_gpus}-{needs.most_gpus}"
    parts = [f"{gpus} GPU" + (f" of {needs.gpu_gb:g} GB (estimate)" if needs.gpu_gb else " (memory not stated)")]
    parts.append(f"{needs.disk_gb:g} GB of disk (estimate)" if needs.disk_gb else "disk not stated")
    return ", ".join([*parts, f"licence: {system.licence}", *needs.remarks])


def own_parser_problem(system: System, place: Place, words: list[str]) -> str:
    """What the checkout's own parser has against a command line; empty when it takes it, or has none to ask."""
    content = option_list(system.options)
    script = system.entry(place.entry).script
    entry = next(one for one in content["entries"] if one["entry_script"] == script)
    source = place.checkout / entry["parser_defined_in"]
    if not source.is_file():
        return f"{entry['parser_defined_in']} is not in the checkout"
    try:
        parse_by_checkout(source, words, content.get("external_options", {}).get("options", []))
    except OptionError as error:
        return str(error)
    return ""


def _download(hub: str, weights: Path) -> str:
    name, _, folder = hub.partition(" -> ")
    return f"hf download {name} --local-dir {weights / folder if folder else weights}"


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-2:])
