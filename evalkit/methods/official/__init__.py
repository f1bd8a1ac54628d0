"""Adapters of published systems: each runs the user's own checkout, untouched, with the user's own weights."""

from __future__ import annotations

import importlib

from evalkit.methods.official.system import System

_WHERE = {
    "ditto": "ditto:SYSTEM",
    "echomimic_v2": "echomimic_v2:SYSTEM",
    "hallo3": "hallo3:SYSTEM",
    "stableavatar": "stableavatar:SYSTEM",
    "omniavatar": "omniavatar:SYSTEM",
    "wan_s2v": "wan_s2v:SYSTEM",
    "infinitetalk": "infinitetalk:SYSTEM",
    "live_avatar_official": "live_avatar:SYSTEM",
    "soulx_flashtalk": "newer:FLASHTALK",
    "soulx_flashhead": "newer:FLASHHEAD",
    "soulx_liveact": "newer:LIVEACT",
    "longcat_avatar": "newer:LONGCAT",
    "livetalk": "newer:LIVETALK",
    "avatarforcing": "newer:AVATARFORCING",
    "multitalk": "infinitetalk:MULTITALK",
}
NAMES = tuple(_WHERE)
OF_THE_PAPER = NAMES[:8]


def get_system(name: str) -> System:
    """The system called `name`; KeyError for another."""
    module, _, attribute = _WHERE[name].partition(":")
    found: System = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return found
