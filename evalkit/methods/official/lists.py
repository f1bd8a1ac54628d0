"""The list and configuration files that official scripts read, as text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from evalkit.methods.official.system import Place, Task


def prompt_image_audio(tasks: list[Task], _place: Place) -> str:
    """`prompt@@picture@@voice`, a line each."""
    return "".join(f"{t.words['prompt']}@@{t.words['image']}@@{t.words['audio']}\n" for t in tasks)


def edited_yaml(source: Path, values: Mapping[str, str | int]) -> str:
    """A YAML file with other values for some of its top-level keys; keys that it lacks are added at its end.

    Only lines `key: value` are touched, so everything else stays as its authors wrote it.
    """
    text = source.read_text(encoding="utf-8")
    for key, value in values.items():
        line = f"{key}: {json.dumps(value, ensure_ascii=False)}"
        # Backslashes of a path are no group references.
        escaped = line.replace("\\", "\\\\")
        text, count = re.subn(rf"^{re.escape(key)}:.*$", escaped, text, flags=re.MULTILINE)
        text += "" if count else f"{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n"
    return text
