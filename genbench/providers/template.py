"""Words without a network: the prompts and scripts that the seeded design already drew."""

from __future__ import annotations

from typing import Any

from genbench import __version__
from genbench.providers.base import TextProvider


class Template(TextProvider):
    """Leaves the spec as it was drawn: templates for prompts, a seeded grammar for scripts."""

    name = "template"
    purpose = "prompts and English scripts from templates and a seeded grammar"
    in_processes = True

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "genbench": __version__}

    def licence(self) -> str:
        return "CC0-1.0"
