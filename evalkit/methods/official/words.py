"""Command lines from templates: fillings in braces, changes from the settings, checked against the system's option list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from evalkit.errors import EvalkitError
from evalkit.methods.official.system import EITHER, TORCHRUN, Entry, Place, System, Words

_FILLING = re.compile(r"\{([a-z][a-z0-9_]*)\}")
HOOKED = Path(__file__).resolve().parents[2] / "programs" / "hooked.py"


def fill(text: str, words: Words) -> str:
    """`text` with its fillings; what a filling holds is not looked into again. Raises EvalkitError for an unknown one."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] not in words:
            raise EvalkitError(f"{found[0]} in {text!r} has no filling; known: {', '.join(sorted(words))}")
        return words[found[1]]

    return _FILLING.sub(replaced, text)


def script_words(entry: Entry, place: Place, words: Words) -> list[str]:
    """What the script itself is given."""
    more = entry.many_gpus if place.gpus > 1 else entry.one_gpu
    arguments = changed([*entry.arguments, *more], place.options)
    return [fill(word, words) for word in arguments]


def example_words(entry: Entry, place: Place) -> list[str]:
    """The script's words with "1" in the place of every filling: a line to be parsed, not run."""
    texts = [*entry.arguments, *(entry.many_gpus if place.gpus > 1 else entry.one_gpu)]
    return script_words(entry, place, {name: "1" for text in texts for name in _FILLING.findall(text)})


def command_line(system: System, entry: Entry, place: Place, words: Words, events: Path, hooks: Path | None) -> list[str]:
    """The whole command: interpreter, launcher, perhaps the clocks' own script, the script and its words."""
    launcher = []
    if entry.launcher == TORCHRUN or (entry.launcher == EITHER and place.gpus > 1):
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={place.gpus}"]
    clocks = [str(HOOKED), str(events), str(hooks)] if hooks is not None else []
    return [place.python, *launcher, *clocks, str(place.checkout / entry.script), *script_words(entry, place, words)]


def changed(arguments: Sequence[str], options: Mapping[str, str | bool]) -> list[str]:
    """Arguments with options replaced, added (True: a flag) or left out (False)."""
    found = list(arguments)
    for name, value in options.items():
        place = next((i for i, word in enumerate(found) if word == name or word.startswith(name + "=")), None)
        if place is not None:
            end = place + 1
            while "=" not in found[place] and end < len(found) and not _is_option(found[end]):
                end += 1
            del found[place:end]
        if value is not False:
            where = len(found) if place is None else place
            found[where:where] = [name] if value is True else [name, str(value)]
    return found


def _is_option(word: str) -> bool:
    """Whether a word begins a new option: a dash, and no number."""
    return bool(re.match(r"--?[A-Za-z]", word))
