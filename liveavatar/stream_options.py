"""What a stream is made of, from words of a command line: shared by every verb that makes one."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveavatar.load_options import add_load_options, chosen_profile

if TYPE_CHECKING:
    from liveavatar.config import RolloutOptions


def add_stream_options(parser: argparse.ArgumentParser, *, needs_reference: bool = True) -> None:
    """Picture, words, variants of the rollout, and the options that say which model."""
    parser.add_argument("--reference", type=Path, required=needs_reference, help="picture of the character: PNG, JPEG, WebP")
    parser.add_argument("--prompt", default="", help="what the video shows, in words")
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help='prompts that take over, as JSON lines {"time": 2.4, "prompt": "..."}',
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same video (default: 0)")
    parser.add_argument("--steps", type=int, help="Euler steps per block (default: the profile's)")
    parser.add_argument("--cache", choices=("timestep", "clean"), help="key/value caches (default: the profile's)")
    parser.add_argument("--no-aas", action="store_true", help="keep the given picture as attention sink")
    parser.add_argument("--no-rolling-rope", action="store_true", help="leave the sink at its first position")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other rollout option, such as first_block=short or aas_switch=in_flight; may be repeated",
    )
    add_load_options(parser)


def stream_options(args: argparse.Namespace) -> RolloutOptions:
    """The profile's options with what was asked on the command line; raises InputError."""
    from liveavatar.inputs import InputError

    asked: dict[str, Any] = {"steps": args.steps, "cache": args.cache}
    asked = {name: value for name, value in asked.items() if value is not None}
    asked |= {"aas": False} if args.no_aas else {}
    asked |= {"rolling_rope": False} if args.no_rolling_rope else {}
    options = chosen_profile(args).rollout
    try:
        return dataclasses.replace(options, **(asked | dict(_parsed(options, text) for text in args.set)))
    except ValueError as error:
        raise InputError(str(error)) from error


def timed_prompts(args: argparse.Namespace) -> list[tuple[float, str]]:
    """The prompts of --prompts, none without it; raises InputError."""
    from liveavatar.prompt_file import read_prompts

    return read_prompts(args.prompts) if args.prompts is not None else []


def _parsed(options: RolloutOptions, text: str) -> tuple[str, Any]:
    """NAME=VALUE as a field of the options and a value of its type; raises ValueError."""
    name, equals, value = text.partition("=")
    fields = {field.name for field in dataclasses.fields(options)}
    if not equals or name not in fields:
        raise ValueError(f"--set {text}: give NAME=VALUE with one of {', '.join(sorted(fields))}")
    return name, _as_type_of(getattr(options, name), value, text)


def _as_type_of(example: Any, value: str, text: str) -> Any:
    try:
        if isinstance(example, bool):
            return {"true": True, "false": False}[value.lower()]
        if isinstance(example, tuple):
            return tuple(int(part) for part in value.split(","))
        return type(example)(value)
    except (KeyError, ValueError) as error:
        kind = "true or false" if isinstance(example, bool) else type(example).__name__
        raise ValueError(f"--set {text}: {value!r} is no {kind} (now {example!r})") from error
