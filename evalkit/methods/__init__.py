"""The systems, ablations and control rows that experiments can run, by name; each is imported when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evalkit.methods.base import Factory, Method
from evalkit.methods.official import NAMES as _OFFICIAL
from evalkit.methods.paradigms import FAMILIES as _SCHEME_FAMILIES
from evalkit.names import unknown

if TYPE_CHECKING:
    from evalkit.generator import GeneratorSetup

STUDENT_STEPS, UNDISTILLED_STEPS = (1, 2), (1, 2, 4, 8, 25, 40)
_SHIPPED = {
    "live_avatar": "evalkit.methods.live_avatar:live_avatar",
    "live_avatar_clean_kv": "evalkit.methods.live_avatar:clean_kv",
    "live_avatar_no_aas": "evalkit.methods.live_avatar:no_aas",
    "live_avatar_no_rolling_rope": "evalkit.methods.live_avatar:no_rolling_rope",
    "live_avatar_sp4": "evalkit.methods.live_avatar:sp4",
    "live_avatar_no_vae_parallel": "evalkit.methods.live_avatar:no_vae_parallel",
    "live_avatar_no_dmd": "evalkit.methods.live_avatar:no_dmd",
    "live_avatar_no_history_corrupt": "evalkit.methods.live_avatar:no_history_corrupt",
    **{f"live_avatar_{count}_steps": f"evalkit.methods.live_avatar:in_steps:{count}" for count in STUDENT_STEPS},
    **{f"undistilled_{count}_steps": f"evalkit.methods.live_avatar:undistilled:{count}" for count in UNDISTILLED_STEPS},
    "truth": "evalkit.methods.truth:truth",
    "truth_swapped": "evalkit.methods.truth:truth_swapped",
    "truth_shifted": "evalkit.methods.truth:truth_shifted",
}
_FAMILIES = {
    "command": "evalkit.methods.command:command",
    "videos": "evalkit.methods.videos:videos",
    "paradigm": "evalkit.methods.paradigms.method:paradigm",
    "contrast": "evalkit.methods.paradigms.method:contrast",
}
"""Names of the form family:member: what members there are, the family's own function knows."""
_OF_SETTINGS = {"command": "commands", "videos": "videos"}
_SCHEMES = [f"{family}:{name}" for family, schemes in _SCHEME_FAMILIES.items() for name in schemes]
_ADDED: dict[str, Factory] = {}


def register_method(name: str, make: Factory) -> None:
    """Add a method under `name`, for plug-ins and tests."""
    _ADDED[name] = make


def method_names(setup: GeneratorSetup | None = None) -> list[str]:
    """Every method that can be named; with a setup, also those that its settings define."""
    return [*_SHIPPED, *_OFFICIAL, *_SCHEMES, *(configured_names(setup) if setup else []), *_ADDED]


def get_method(name: str) -> Method:
    """The method called `name`."""
    family, _, member = name.partition(":")
    if name in _ADDED:
        return _ADDED[name]()
    if name in _OFFICIAL:
        return _call("evalkit.methods.official.adapter:official", name)
    if member and family in _FAMILIES:
        return _call(_FAMILIES[family], member)
    if name not in _SHIPPED:
        raise unknown("method", name, method_names(), "see: python -m evalkit list methods")
    address, *steps = _SHIPPED[name].rsplit(":", _SHIPPED[name].count(":") - 1)
    return _call(address, *map(int, steps))


def _call(address: str, *words: Any) -> Method:
    module, _, factory = address.partition(":")
    made: Method = getattr(importlib.import_module(module), factory)(*words)
    return made


def configured_names(setup: GeneratorSetup) -> list[str]:
    """The methods that the settings define."""
    from evalkit.settings import read_settings

    settings = read_settings(setup.settings, setup.assigned)
    return [f"{family}:{name}" for family, section in _OF_SETTINGS.items() for name in settings.names(section)]
