"""Styles, framings and views that a sample can have: the words of the design, of manifests and of coverage tables."""

from __future__ import annotations

from dataclasses import dataclass

STYLES = ("photo", "cartoon", "animal")
FRAMINGS = ("head", "half_body", "full_body")
VIEWS = ("frontal", "profile")
UNSTATED = "unstated"


@dataclass(frozen=True)
class Composition:
    """How much of the body the picture shows, and from where."""

    name: str
    framing: str
    view: str


_ALL = (
    Composition("frontal", "head", "frontal"),
    Composition("profile", "head", "profile"),
    Composition("half_body", "half_body", "frontal"),
    Composition("full_body", "full_body", "frontal"),
    Composition("half_body_profile", "half_body", "profile"),
    Composition("full_body_profile", "full_body", "profile"),
)
COMPOSITIONS: dict[str, Composition] = {composition.name: composition for composition in _ALL}
NANO_COMPOSITIONS = ("frontal", "profile", "half_body", "full_body")
"""What the nano world can draw: its bodies face the camera."""


def composition_of(name: str) -> Composition:
    """The composition of that name; "unstated" has an unstated framing and view. Raises ValueError for other names."""
    if name == UNSTATED:
        return Composition(UNSTATED, UNSTATED, UNSTATED)
    if name not in COMPOSITIONS:
        raise ValueError(f"composition {name!r} is unknown; choose one of {', '.join(COMPOSITIONS)}, or {UNSTATED}")
    return COMPOSITIONS[name]


def check_style(name: str) -> str:
    """The style itself. Raises ValueError unless it is one of STYLES or "unstated"."""
    if name != UNSTATED and name not in STYLES:
        raise ValueError(f"style {name!r} is unknown; choose one of {', '.join(STYLES)}, or {UNSTATED}")
    return name
