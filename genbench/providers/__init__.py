"""Generators by name, behind one small interface each: words, pictures, speech. Nothing heavy is imported here."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from genbench.providers.base import ImageProvider, Provider, SpeechProvider, TextProvider

TEXT = {
    "template": "genbench.providers.template:Template",
    "gemini": "genbench.providers.gemini:Gemini",
}
IMAGE = {
    "nano_world": "genbench.providers.nano_world:NanoWorld",
    "qwen_image": "genbench.providers.qwen_image:QwenImage",
    "files": "genbench.providers.own_files:OwnPictures",
}
SPEECH = {
    "espeak": "genbench.providers.espeak:Espeak",
    "cosyvoice": "genbench.providers.cosyvoice:CosyVoice",
    "files": "genbench.providers.own_files:OwnRecordings",
}
ALL = {"text": TEXT, "image": IMAGE, "speech": SPEECH}


def provider_class(role: str, name: str) -> type[Provider]:
    """The class of a generator. role: "text", "image" or "speech". Raises ValueError with the nearest name."""
    if name not in ALL[role]:
        near = difflib.get_close_matches(name, ALL[role], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no {role} provider {name!r}; choose one of {', '.join(ALL[role])}{hint}")
    module, _, attribute = ALL[role][name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def make_text(name: str, options: Mapping[str, Any] | None = None) -> TextProvider:
    """The text provider of that name. Raises ValueError for unknown names and options."""
    return _make("text", name, options)  # type: ignore[return-value]


def make_image(name: str, options: Mapping[str, Any] | None = None) -> ImageProvider:
    """The image provider of that name."""
    return _make("image", name, options)  # type: ignore[return-value]


def make_speech(name: str, options: Mapping[str, Any] | None = None) -> SpeechProvider:
    """The speech provider of that name."""
    return _make("speech", name, options)  # type: ignore[return-value]


def _make(role: str, name: str, options: Mapping[str, Any] | None) -> Provider:
    found = provider_class(role, name)
    try:
        return found(**(options or {}))
    except TypeError as error:
        raise ValueError(f"{role} provider {name!r} does not take these options: {error}") from error
