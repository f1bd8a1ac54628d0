"""The systems, ablations and control rows that experiments can run, by name; each is imported when asked for."""

from __future__ import annotations

import importlib

from evalkit.methods.base import Factory, Method
from evalkit.names import unknown

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
    module, factory, *steps = _SHIPPED[name].split(":")
    method: Method = getattr(importlib.import_module(module), factory)(*map(int, steps))
    return method
