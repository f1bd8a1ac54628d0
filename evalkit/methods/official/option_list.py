"""The options that a system's script takes, read from its source once and kept as data; and a parser made from them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

FOLDER = Path(__file__).parent / "options"


class OptionError(ValueError):
    """A command line that the script would refuse."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


@lru_cache(maxsize=32)
def option_list(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The list called `name`."""
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return content


def parser_of(name: str, script: str, folder: Path = FOLDER) -> argparse.ArgumentParser:
    """A parser that takes what the script's own takes; raises OptionError for a script that the list does not know."""
    content = option_list(name, folder)
    entry = next((one for one in content["entries"] if one["entry_script"] == script), None)
    if entry is None:
        known = ", ".join(one["entry_script"] for one in content["entries"])
        raise OptionError(f"the option list {name} has no script {script}; it has {known}")
    parser = _Parser(prog=script, add_help=False, conflict_handler="resolve")
    for option in [*content.get("external_options", {}).get("options", []), *entry["options"]]:
        add_option(parser, option)
    return parser


def check(name: str, script: str, words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line, and see that all is there that the script needs in fact; raises OptionError."""
    parser = parser_of(name, script)
    found = parser.parse_args(list(words))
    given = {word.partition("=")[0] for word in words if word.startswith("-")}
    own = {flag: action for action in parser._actions for flag in action.option_strings}
    for flag in option_list(name).get("effective_required", []):
        # Required of the scripts that know it: a batch script takes prompts from its list.
        if flag in own and not given & set(own[flag].option_strings) and not _is_from_a_list(words, flag):
            raise OptionError(f"{flag} is missing: the script needs it although its parser does not say so")
    return found


SAMPLE_FLAGS = {"--prompt", "--image", "--audio"}
CASE_FLAGS = {"--ref_images_dir", "--refimg_name", "--audio_dir", "--audio_name", "--pose_dir", "--pose_name"}


def _is_from_a_list(words: Sequence[str], flag: str) -> bool:
    """Whether a sample's own inputs come from a list or a configuration instead."""
    if flag in SAMPLE_FLAGS:
        return "--sample_list" in words
    return flag in CASE_FLAGS and not CASE_FLAGS & set(words)


def add_option(parser: argparse.ArgumentParser, option: dict[str, Any]) -> None:
    """Add one option of a list to a parser."""
    more: dict[str, Any] = {"dest": option["dest"], "required": bool(option.get("required"))}
    if option["action"] == "store_true":
        parser.add_argument(*option["flags"], action="store_true", default=option.get("default"), **more)
        return
    kinds = {"int": int, "float": float, "str": str, "str2bool": _truth, "bool": bool}
    more["type"] = kinds[option["type"]]
    if option.get("nargs") is not None:
        more["nargs"] = option["nargs"]
    if option.get("choices") is not None:
        more["choices"] = option["choices"]
    default = None if option.get("default_is_expression") else option.get("default")
    parser.add_argument(*option["flags"], default=default, **more)


def _truth(text: str) -> bool:
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
