"""The parser of a checkout itself, taken from its source without importing anything that the project needs.

Calls that make a parser and add options to it are evaluated one by one; default values and choices that need other names
of the file are left out, everything else is the project's own.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.methods.official.option_list import OptionError, add_option


def own_parser(source: Path) -> argparse.ArgumentParser:
    """The parser that a file builds with argparse; raises OptionError where it builds none."""
    tree = ast.parse(source.read_text(encoding="utf-8"), str(source))
    maker = next((node for node in ast.walk(tree) if _makes_parser(node)), None)
    if not isinstance(maker, ast.Assign) or not isinstance(maker.targets[0], ast.Name):
        raise OptionError(f"{source} makes no argparse parser")
    name = maker.targets[0].id
    parser = argparse.ArgumentParser(prog=source.name, add_help=False, conflict_handler="resolve")
    groups: dict[str, Any] = {name: parser}
    makers = ("add_argument_group", "add_mutually_exclusive_group")
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _calls(node.value, groups, makers):
            groups.update({target.id: parser for target in node.targets if isinstance(target, ast.Name)})
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _calls(node, groups, ("add_argument",))]
    for call in sorted(calls, key=lambda one: one.lineno):
        _add(parser, call)
    return parser


def parse_by_checkout(source: Path, words: Sequence[str], external: Sequence[dict[str, Any]] = ()) -> argparse.Namespace:
    """Parse a command line as the checkout does; raises OptionError with the parser's own words.

    external: options that another package adds at run time, from the option list.
    """
    parser = own_parser(source)
    for option in external:
        add_option(parser, option)

    def refuse(message: str) -> None:
        raise OptionError(message)

    parser.error = refuse  # type: ignore[method-assign,assignment]
    return parser.parse_args(list(words))


def _makes_parser(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).endswith("ArgumentParser")
    )


def _calls(node: ast.AST, names: dict[str, Any], methods: tuple[str, ...]) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in methods
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in names
    )


def _add(parser: argparse.ArgumentParser, call: ast.Call) -> None:
    flags = [ast.literal_eval(argument) for argument in call.args]
    keywords: dict[str, Any] = {}
    for word in call.keywords:
        value = _value(word.arg or "", word.value)
        if value is not _UNKNOWN and word.arg is not None:
            keywords[word.arg] = value
    parser.add_argument(*flags, **keywords)


_UNKNOWN = object()


def _value(name: str, node: ast.expr) -> Any:
    if name == "type":
        kinds = {"int": int, "float": float, "str": str, "bool": bool}
        # A function of the project: its value is taken as it is written.
        return kinds.get(ast.unparse(node), str)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _UNKNOWN
