"""The systems, ablations and control rows that experiments can run, by name; each is imported when asked for."""

from __future__ import annotations

import importlib

from evalkit.methods.base import Factory, Method
from evalkit.names import unknown

_SHIPPED = {
    "live_avatar": "evalkit.methods.live_avatar:live_avatar",
    "live_avatar_clean_kv": "evalkit.methods.live_avatar:clean_kv",
    "live_avatar_no_aas": "evalkit.methods.live_avatar:no_aas",
    "live_avatar_no_rolling_rope": "evalkit.methods.live_avatar:no_rolling_rope",
    "live_avatar_sp4": "evalkit.methods.live_avatar:sp4",
    "live_avatar_no_vae_parallel": "evalkit.methods.live_avatar:no_vae_parallel",
    "live_avatar_no_dmd": "evalkit.methods.live_avatar:no_dmd",
    "truth": "evalkit.methods.truth:truth",
    "truth_swapped": "evalkit.methods.truth:truth_swapped",
    "truth_shifted": "evalkit.methods.truth:truth_shifted",
}
_ADDED: dict[str, Factory] = {}


def register_method(name: str, make: Factory) -> None:
    """Add a method under `name`, for plug-ins and tests."""
    _ADDED[name] = make


def method_names() -> list[str]:
    """Every method that can be named."""
    return [*_SHIPPED, *_ADDED]


def get_method(name: str) -> Method:
    """The method called `name`."""
    if name in _ADDED:
        return _ADDED[name]()
    if name not in _SHIPPED:
        raise unknown("method", name, method_names(), "see: python -m evalkit list methods")
    module, _, factory = _SHIPPED[name].partition(":")
    make: Factory = getattr(importlib.import_module(module), factory)
    return make()
