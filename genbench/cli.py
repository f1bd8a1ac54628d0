"""The command line of genbench: sets are listed, built, checked, described, imported and exported; training shards are
written.

Only argument parsing lives at the top; each command imports what it needs, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from genbench.errors import ProviderError, SpeechError

EXIT_OK, EXIT_INCOMPLETE, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

_EXAMPLES = """\
A full example, from nothing to a checked test set with its card, and a training shard:

  pip install 'live-avatar[speech]'
  python -m genbench list
  python -m genbench build --set short --suite quick --out data/genbench
  python -m genbench check data/genbench/short_quick
  python -m genbench card data/genbench/short_quick
  python -m genbench shards --clips 64 --seed 1 --out data/shards --workers 2

The same set from real generators, described in a file (docs/genbench.md has one):

  python -m genbench build --set short --suite full --config real.toml --dry-run --out data/real
  python -m genbench build --set short --suite full --config real.toml --out data/real

Every command may be repeated: what is finished is kept. Exit codes: 0 ok, 1 finished with samples left out or checks failed,
2 bad definition or missing prerequisite, 130 interrupted (repeat the command to go on).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues where this one stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (ValueError, ImportError, OSError, SpeechError, ProviderError) as error:
        print(f"genbench: {_message(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT


def build_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m genbench",
        description="Test sets and training data of talking characters: drawn with their truth, or from real generators.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="sets, suites and generators, and what they need")
    listing.set_defaults(command=_run("list_all"))
    _add_build(verbs)
    check = verbs.add_parser("check", help="re-hash every file of a built set and run the quality gate again")
    check.add_argument("folder", type=Path, help="folder that holds manifest.json")
    check.add_argument("--config", type=Path, help="take the gate's limits and models from this file's [quality]")
    check.add_argument("--hashes-only", action="store_true", help="leave the quality gate out")
    check.set_defaults(command=_run("check"))
    card = verbs.add_parser("card", help="write a data card: contact sheet, coverage, licences, findings")
    card.add_argument("folder", type=Path, help="folder that holds manifest.json")
    card.add_argument("--out", type=Path, help="folder for the card; default: FOLDER/card")
    card.set_defaults(command=_run("card"))
    _add_import(verbs)
    _add_export(verbs)
    _add_shards(verbs)
    return parser


def _add_build(verbs: argparse._SubParsersAction) -> None:
    build = verbs.add_parser("build", help="make a test set: pictures, voices, prompts, and the truth where it is known")
    build.add_argument("--set", dest="set_name", choices=("short", "long", "in_domain"), required=True)
    build.add_argument("--suite", choices=("quick", "full"), default="quick", help="default: quick")
    build.add_argument("--out", type=Path, required=True, help="the set goes to OUT/<set>_<suite>")
    build.add_argument("--seed", type=int, default=0, help="another seed is another test set; default: 0")
    build.add_argument("--workers", type=int, default=1, help="processes; the result is the same; default: 1")
    build.add_argument("--text", help="generator of words: template (default), gemini")
    build.add_argument("--image", help="generator of pictures: nano_world (default), qwen_image, files")
    build.add_argument("--speech", help="generator of speech: espeak (default), cosyvoice, files")
    build.add_argument("--config", type=Path, help="TOML file with generators, their options and the gate's limits")
    build.add_argument("--pictures", type=Path, help="folder of your own pictures (sets --image files)")
    build.add_argument("--recordings", type=Path, help="folder of your own recordings (sets --speech files)")
    build.add_argument("--boxes", type=Path, help="JSON file of face boxes set by hand, by sample id; they win over others")
    build.add_argument("--licence", help="licence of your own pictures, recordings or voices")
    build.add_argument("--consent", help="who agreed to what, for your own pictures, recordings or voices")
    build.add_argument("--limit", type=int, help="only this many samples, in a folder of their own")
    build.add_argument("--dry-run", action="store_true", help="show coverage and estimated cost, make nothing")
    build.set_defaults(command=_run("build"))


def _add_import(verbs: argparse._SubParsersAction) -> None:
    importing = verbs.add_parser("import", help="take in an exported set, or cut an in-domain set from talking videos")
    importing.add_argument("source", type=Path, nargs="?", help="an exported set: its folder, or that of its tar shards")
    importing.add_argument("--videos", type=Path, help="folder of talking videos instead")
    importing.add_argument("--out", type=Path, required=True, help="folder of the new set")
    importing.add_argument("--scores", type=Path, help="table of scores per video (.csv or JSON lines) with a `clip` column")
    importing.add_argument("--keep", action="append", default=[], help="rule such as 'sync_c>=3'; repeatable")
    importing.add_argument("--clips", type=int, default=50, help="how many clips; default: 50")
    importing.add_argument("--held-out", type=float, default=0.05, help="share of the videos held out; default: 0.05")
    importing.add_argument("--seconds", type=float, nargs=2, default=(5.0, 10.0), metavar=("LOW", "HIGH"))
    importing.add_argument("--boxes", type=Path, help="JSON file of face boxes by clip id or video name")
    importing.add_argument("--prompts", type=Path, help="JSON file of prompts by video name")
    importing.add_argument("--seed", type=int, default=0)
    importing.add_argument("--licence", default="", help="licence of the videos")
    importing.add_argument("--consent", default="", help="who agreed to what")
    importing.set_defaults(command=_run("import_set"))


def _add_export(verbs: argparse._SubParsersAction) -> None:
    export = verbs.add_parser("export", help="write a set as a plain folder, WebDataset tar shards, or endless voices")
    export.add_argument("folder", type=Path, help="folder that holds manifest.json")
    export.add_argument("--out", type=Path, required=True)
    export.add_argument("--form", choices=("folder", "webdataset", "long-audio"), default="folder")
    export.add_argument("--without-truth", action="store_true", help="inputs only")
    export.add_argument("--shard-samples", type=int, default=100, help="samples per tar file; default: 100")
    export.add_argument("--seconds", type=float, default=10_010.0, help="long-audio: length of each voice; default: 10010")
    export.add_argument("--own-use", action="store_true", help="copy media that may not be passed on")
    export.set_defaults(command=_run("export"))


def _add_shards(verbs: argparse._SubParsersAction) -> None:
    shards = verbs.add_parser("shards", help="make training data: rendered clips in safetensors files")
    shards.add_argument("--clips", type=int, required=True, help="number of clips")
    shards.add_argument("--frames", type=int, default=61, help="frames of a clip; default: 61 (16 latent frames)")
    shards.add_argument("--seed", type=int, default=0, help="default: 0")
    shards.add_argument("--out", type=Path, required=True)
    shards.add_argument("--shard-size", type=int, default=32, help="clips per file; default: 32")
    shards.add_argument("--start", type=int, default=0, help="index of the first clip; default: 0")
    shards.add_argument("--workers", type=int, default=1, help="processes; default: 1")
    shards.set_defaults(command=_run("shards"))


def _run(name: str):  # type: ignore[no-untyped-def]
    """The command of that name, imported when it runs."""

    def command(options: argparse.Namespace) -> int:
        from genbench import commands

        return getattr(commands, name)(options)

    return command


def _message(error: BaseException) -> str:
    # An OSError of ours has an error number before its words.
    is_ours = isinstance(error, OSError) and len(error.args) > 1 and error.filename is None
    return str(error.args[1]) if is_ours else str(error)
