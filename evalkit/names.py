"""Names: safe file names for keys of any length, and the nearest known name when one is mistyped."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence

from evalkit.errors import UnknownNameError

MAX_SLUG_CHARS = 80
HASH_CHARS = 10
# A colon is safe where we run: it parts a family of methods from its member, as in command:mine.
_UNSAFE = re.compile(r"[^A-Za-z0-9._:-]+")


def slug(name: str) -> str:
    """A file name for `name`: unchanged when short and safe, otherwise cut and made unique by a short hash."""
    safe = _UNSAFE.sub("-", name)
    if safe.startswith("."):
        safe = "_" + safe[1:]
    if safe == name and 0 < len(safe) <= MAX_SLUG_CHARS:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:HASH_CHARS]
    return f"{safe[: MAX_SLUG_CHARS - HASH_CHARS - 1]}-{digest}"


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """The error for a name that is not registered, with the nearest names that are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        suggestion = "did you mean " + " or ".join(f"'{one}'" for one in near) + "?"
    else:
        suggestion = "known: " + (", ".join(names[:20]) or "none")
    return UnknownNameError(f"unknown {kind} '{name}': {suggestion}{' ' + hint if hint else ''}")


def choose(kind: str, wanted: Sequence[str], known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """The names asked for, checked: nothing means `default`, `all` means every known one."""
    if not wanted:
        return tuple(default)
    if "all" in wanted:
        return tuple(known)
    for name in wanted:
        if name not in known:
            raise unknown(kind, name, known)
    return tuple(dict.fromkeys(wanted))
