"""The command line of genbench: `build` and `check` test sets, write training `shards`, `list` what exists.

Only argument parsing lives at the top; each command imports what it needs, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from genbench.errors import SpeechError

EXIT_OK, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 2, 130

_EXAMPLES = """\
A full example, from nothing to a checked test set and a training shard:

  pip install 'genbench[speech]'
  python -m genbench list
  python -m genbench build --set short --suite quick --out data/genbench
  python -m genbench check data/genbench/short_quick
  python -m genbench shards --clips 64 --seed 1 --out data/shards --workers 2

Every command may be repeated: what is finished is kept. Exit codes: 0 ok, 2 bad definition or missing prerequisite,
130 interrupted (repeat the command to go on).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues where this one stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (ValueError, ImportError, OSError, SpeechError) as error:
        print(f"genbench: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


def build_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m genbench",
        description="Test sets and training data of talking characters whose truth is known.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_build(verbs)
    _add_shards(verbs)
    listing = verbs.add_parser("list", help="the sets and suites, their sizes and what they need")
    listing.set_defaults(command=_list)
    check = verbs.add_parser("check", help="re-hash every file of a built set")
    check.add_argument("folder", type=Path, help="folder that holds manifest.json")
    check.set_defaults(command=_check)
    return parser


def _add_build(verbs: argparse._SubParsersAction) -> None:
    build = verbs.add_parser("build", help="make a test set: pictures, voices, prompts, and the truth beside them")
    build.add_argument("--set", dest="set_name", choices=("short", "long"), required=True)
    build.add_argument("--suite", choices=("quick", "full"), default="quick", help="default: quick")
    build.add_argument("--out", type=Path, required=True, help="the set goes to OUT/<set>_<suite>")
    build.add_argument("--seed", type=int, default=0, help="another seed is another test set; default: 0")
    build.set_defaults(command=_build)


def _add_shards(verbs: argparse._SubParsersAction) -> None:
    shards = verbs.add_parser("shards", help="make training data: rendered clips in safetensors files")
    shards.add_argument("--clips", type=int, required=True, help="number of clips")
    shards.add_argument("--frames", type=int, default=61, help="frames of a clip; default: 61 (16 latent frames)")
    shards.add_argument("--seed", type=int, default=0, help="default: 0")
    shards.add_argument("--out", type=Path, required=True)
    shards.add_argument("--shard-size", type=int, default=32, help="clips per file; default: 32")
    shards.add_argument("--start", type=int, default=0, help="index of the first clip; default: 0")
    shards.add_argument("--workers", type=int, default=1, help="processes; default: 1")
    shards.set_defaults(command=_shards)


def _build(options: argparse.Namespace) -> int:
    from genbench.build import build_set
    from genbench.progress import Progress
    from genbench.spec import draw_set

    _use_one_thread()
    specs = draw_set(options.set_name, options.suite, options.seed)
    folder = options.out / f"{options.set_name}_{options.suite}"
    progress = Progress(len(specs.samples), "samples")
    try:
        manifest = build_set(specs, folder, on_sample=progress.step)
    finally:
        progress.close()
    print(f"{manifest.name} ({manifest.suite}): {len(manifest.samples)} samples, digest {manifest.digest[:16]}, in {folder}")
    print(f"next: python -m genbench check {folder}")
    return EXIT_OK


def _shards(options: argparse.Namespace) -> int:
    from genbench.progress import Progress
    from genbench.shards import ShardPlan, export_shards

    _use_one_thread()
    plan = ShardPlan(options.clips, options.out, options.frames, options.seed, options.shard_size, options.start)
    progress = Progress(len(plan.shards()), "shards")
    try:
        for _, made_now in export_shards(plan, options.workers):
            progress.step(made_now)
    finally:
        progress.close()
    print(f"{progress.finished} shards ({progress.made} new), {plan.clips} clips of {plan.frames} frames, in {plan.out}")
    return EXIT_OK


def _list(options: argparse.Namespace) -> int:
    from genbench.spec import SETS

    print(f"{'set':6} {'suite':6} {'samples':>7}  {'each':>12}  what for")
    for (name, suite), size in SETS.items():
        low, high = size.duration_s
        span = f"{low:g}-{high:g} s"
        print(f"{name:6} {suite:6} {size.samples:7}  {span:>12}  {size.purpose}")
    print("build one: python -m genbench build --set short --suite quick --out data/genbench")
    return EXIT_OK


def _check(options: argparse.Namespace) -> int:
    from genbench.manifest import load_manifest

    manifest = load_manifest(options.folder)
    manifest.verify()
    found = f"{len(manifest.samples)} samples, every file as made"
    print(f"{manifest.name} ({manifest.suite}): {found}, digest {manifest.digest[:16]}")
    return EXIT_OK


def _use_one_thread() -> None:
    """The pictures are small: threads gain little, and on a busy machine they cost fifty times the work."""
    import torch

    torch.set_num_threads(1)
