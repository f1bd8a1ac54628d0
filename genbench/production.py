"""How a set is made: which generators with which options, the gate, whose material it is. Read from a TOML file or given in
code.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from genbench.own_table import parse_box
from genbench.providers import make_image, make_speech, make_text, provider_class
from genbench.providers.base import Box, ImageProvider, Provider, SpeechProvider, TextProvider
from genbench.quality import Gate
from genbench.spec import GENERATED, NANO

_ENGLISH_ONLY = ("template", "espeak")
_SECRET = ("key", "token", "secret", "password")
_CONSENT = {
    NANO: "No person is shown or heard: pictures are drawn by a program, voices are a synthesiser's.",
    GENERATED: "Pictures are made by a generator from invented descriptions; a likeness to a real person is not intended.",
}


@dataclass(frozen=True)
class Production:
    """text, image, speech: provider names; options: of each, by role. remakes: how often a sample is made again at most.

    languages: of the scripts of generated sets, in turn. boxes: face boxes set by hand, by sample id; they win over every
    other. licence, consent: of personal material, required where a provider brings any. at_once: paid requests at the same
    time. redistributable: whether exports may carry the media.
    """

    text: str = "template"
    image: str = "nano_world"
    speech: str = "espeak"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    remakes: int = 3
    at_once: int = 4
    languages: tuple[str, ...] = ("en",)
    boxes: Mapping[str, Box] = field(default_factory=dict)
    licence: str = ""
    consent: str = ""
    redistributable: bool = True

    def __post_init__(self) -> None:
        personal = [name for role, name in self._names().items() if provider_class(role, name).is_personal]
        if personal and not (self.licence and self.consent):
            raise ValueError(
                f"{' and '.join(sorted(set(personal)))} may bring pictures or voices of real people: state under which "
                "licence (--licence) and with whose consent (--consent) they are used"
            )
        if self.remakes < 0 or self.at_once < 1:
            raise ValueError(f"remakes={self.remakes}, at_once={self.at_once}; give remakes >= 0 and at_once >= 1")
        if set(self.languages) != {"en"} and {self.text, self.speech} & set(_ENGLISH_ONLY):
            spoken = ", ".join(self.languages)
            raise ValueError(f"languages {spoken}: {' and '.join(_ENGLISH_ONLY)} are set up for English ('en') only")
        for role, options in self.options.items():
            named = [name for name in options if any(word in name.lower() for word in _SECRET)]
            if named:
                raise ValueError(f"{role} option {named[0]!r}: keys are taken from the environment only and stored nowhere")

    @property
    def runs_in_processes(self) -> bool:
        """Whether several processes may make samples at the same time."""
        makers = [provider_class(role, name) for role, name in self._names().items() if role != "text"]
        return not self.gate.needs_networks and all(maker.in_processes for maker in makers)

    @property
    def kind(self) -> str:
        """The kind of its pictures: "nano", "generated" or "files"."""
        return provider_class("image", self.image).kind  # type: ignore[attr-defined]

    def text_provider(self) -> TextProvider:
        return make_text(self.text, self.options.get("text"))

    def image_provider(self) -> ImageProvider:
        return make_image(self.image, self.options.get("image"))

    def speech_provider(self) -> SpeechProvider:
        return make_speech(self.speech, self.options.get("speech"))

    def consent_note(self) -> str:
        """What stands in the manifest about the people shown and heard."""
        return self.consent or _CONSENT[self.kind]

    def _names(self) -> dict[str, str]:
        return {"text": self.text, "image": self.image, "speech": self.speech}


@dataclass
class Makers:
    """The generators of one process, made at first use."""

    production: Production
    _made: dict[str, Provider] = field(default_factory=dict)

    @property
    def text(self) -> TextProvider:
        return self._get("text", self.production.text_provider)  # type: ignore[return-value]

    @property
    def image(self) -> ImageProvider:
        return self._get("image", self.production.image_provider)  # type: ignore[return-value]

    @property
    def speech(self) -> SpeechProvider:
        return self._get("speech", self.production.speech_provider)  # type: ignore[return-value]

    def describe(self) -> dict[str, Any]:
        """What stands in the manifest about words, pictures and speech."""
        return {role: getattr(self, role).describe() for role in ("text", "image", "speech")}

    def licences(self) -> dict[str, str]:
        """The licence of each kind of material of a sample."""
        given = self.production.licence
        made = {"image": self.image, "text": self.text, "audio": self.speech}
        return {name: given if provider.is_personal and given else provider.licence() for name, provider in made.items()}

    def close(self) -> None:
        for provider in self._made.values():
            provider.close()
        self._made.clear()

    def _get(self, role: str, make: Any) -> Provider:
        if role not in self._made:
            self._made[role] = make()
        return self._made[role]


def read_production(file: Path | None, folders: Mapping[str, str] | None = None, **given: Any) -> Production:
    """The production of a TOML file ([text], [image], [speech] with `provider` and its options; [quality]; top-level
    fields).

    given: values that win over the file; None means not given. folders: of a user's own files, by role; they choose the
    provider "files". Raises ValueError naming what is unknown.
    """
    values: dict[str, Any] = _from_toml(_read_toml(file), file) if file is not None else {}
    values |= {name: value for name, value in given.items() if value is not None}
    options = {role: dict(table) for role, table in values.get("options", {}).items()}
    for role, folder in (folders or {}).items():
        values[role] = "files"
        options[role] = {"folder": folder}
    return Production(**values | {"options": options})


def read_gate(file: Path) -> Gate:
    """The gate of a TOML file's [quality]."""
    return _gate(_read_toml(file).get("quality", {}), file)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file} is no TOML file: {error}") from error


def read_boxes(file: Path) -> dict[str, Box]:
    """Face boxes set by hand: a JSON object from sample id to [x0, y0, x1, y1], relative to the picture."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return {name: parse_box(" ".join(str(value) for value in box)) for name, box in record.items()}
    except (json.JSONDecodeError, AttributeError, TypeError) as error:
        raise ValueError(f'{file}: give a JSON object such as {{"short-000": [0.3, 0.2, 0.6, 0.6]}} ({error})') from error


def _from_toml(content: dict[str, Any], file: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    options: dict[str, dict[str, Any]] = {}
    known = {one.name for one in fields(Production)} - {"text", "image", "speech", "options", "gate", "boxes"}
    for name, value in content.items():
        if name in ("text", "image", "speech"):
            table = dict(value)
            if "provider" in table:
                values[name] = table.pop("provider")
            options[name] = table
        elif name == "quality":
            values["gate"] = _gate(value, file)
        elif name in known:
            values[name] = tuple(value) if isinstance(value, list) else value
        else:
            raise ValueError(f"{file} has {name!r}; known are text, image, speech, quality, {', '.join(sorted(known))}")
    return values | {"options": options}


def _gate(table: dict[str, Any], file: Path) -> Gate:
    unknown = set(table) - {one.name for one in fields(Gate)}
    if unknown:
        raise ValueError(
            f"{file}: [quality] has {sorted(unknown)[0]!r}; known are {', '.join(one.name for one in fields(Gate))}"
        )
    return Gate.from_record(table)
