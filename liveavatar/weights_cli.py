"""The verb `weights`: what the s2v-14b profile needs, whether it is there and whole, and how to come by it.

Only `get` reaches the network, because only it is asked to.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liveavatar.checkpoints.official import Part
    from liveavatar.checkpoints.verify import PartReport

EXAMPLES = """\
examples:
  python -m liveavatar weights list
  python -m liveavatar weights get --weights ckpt
  python -m liveavatar weights verify --weights ckpt
  python -m liveavatar weights convert --weights ckpt
  python -m liveavatar weights sample --out tiny-ckpt
"""


def add_weights_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `weights` and its own verbs to the command line."""
    parser = verbs.add_parser(
        "weights",
        help="weights of s2v-14b: list, verify, convert, sample, get",
        description="What the profile s2v-14b needs, where it is published, how large it is, and what is there.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inner = parser.add_subparsers(title="verbs", required=True, metavar="{list,verify,convert,sample,get}")
    listing = _add(inner, "list", _list, "what is needed, from which hub, how large, under which licence; what is there")
    listing.add_argument("--weights", type=Path, metavar="FOLDER", help="also tell what this folder holds")
    listing.add_argument("--json", action="store_true", help="print as JSON")
    verify = _add(inner, "verify", _verify, "check names, shapes, sizes and digests; exit code 1 when anything is wrong")
    verify.add_argument("--weights", type=Path, metavar="FOLDER", required=True, help="the checkpoint folder")
    verify.add_argument("--fast", action="store_true", help="headers only: no file is read whole, no digest compared")
    verify.add_argument("--json", action="store_true", help="print as JSON")
    convert = _add(inner, "convert", _convert, "write the pickled files (codec, text, voice) as safetensors beside them")
    convert.add_argument("--weights", type=Path, metavar="FOLDER", required=True, help="the checkpoint folder")
    sample = _add(inner, "sample", _sample, "write a complete folder of tiny random weights in the official layout")
    sample.add_argument("--out", type=Path, metavar="FOLDER", required=True, help="a new or empty folder")
    sample.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: 0)")
    get = _add(inner, "get", _get, "download the published files from their hubs; continues where it stopped")
    get.add_argument("--weights", type=Path, metavar="FOLDER", required=True, help="where to put them")


def _add(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[argparse.Namespace], None],
    what: str,
) -> argparse.ArgumentParser:
    examples = [line for line in EXAMPLES.splitlines() if line.startswith(f"  python -m liveavatar weights {name}")]
    parser = verbs.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog="\n".join(["examples:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def run(args: argparse.Namespace) -> None:
        from liveavatar.checkpoints.store import WeightsError
        from liveavatar.cli import NotReadyError
        from liveavatar.optional import MissingPackageError

        try:
            command(args)
        except (WeightsError, MissingPackageError) as error:
            raise NotReadyError(str(error)) from error

    parser.set_defaults(command=run)
    return parser


# --------------------------------------------------------------------------------------------------------------- list


def _list(args: argparse.Namespace) -> None:
    from liveavatar.checkpoints.official import download_commands, parts

    there = _there(args.weights) if args.weights is not None else {}
    if args.json:
        print(json.dumps([_entry(part, there.get(part.name)) for part in parts()], indent=1))
        return
    for part in parts():
        print(f"{part.name:12} {part.bytes / 1e9:6.1f} GB  {part.licence:10}  {part.hub}: {part.file}")
        print(f"{'':12} {part.purpose}" + (f"; with {', '.join(part.extra)}" if part.extra else ""))
        print(f"{'':12} licence: {part.licence_source}")
        if part.name in there:
            print(f"{'':12} {_state(there[part.name])}")
    print(f"{'in all':12} {sum(part.bytes for part in parts()) / 1e9:6.1f} GB; the terms on the hub's pages count")
    print("fetch with: python -m liveavatar weights get, or")
    for command in download_commands(args.weights or Path("ckpt")):
        print(f"  {command}")


def _there(root: Path) -> dict[str, PartReport]:
    """Reports by part, from headers only; a folder that does not exist holds nothing."""
    from liveavatar.checkpoints.verify import PartReport, verify

    if not root.is_dir():
        from liveavatar.checkpoints.official import parts

        return {part.name: PartReport(part.name, problem=f"{root} is no folder") for part in parts()}
    return {report.name: report for report in verify(root, with_digests=False)}


def _entry(part: Part, report: PartReport | None) -> dict[str, Any]:
    from dataclasses import asdict

    entry = asdict(part) | {"bytes": part.bytes}
    return entry if report is None else entry | {"is_there": report.is_fine, "problem": report.problem or None}


def _state(report: PartReport) -> str:
    if not report.is_fine:
        return f"NOT READY: {report.problem}"
    return f"there: {report.files} files, {report.tensors:,} tensors, {report.values:,} values, {report.bytes / 1e9:.3g} GB"


# ------------------------------------------------------------------------------------------- verify, convert, sample


def _verify(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from liveavatar.checkpoints.store import WeightsError
    from liveavatar.checkpoints.verify import verify

    with_digests = not args.fast
    reports = verify(args.weights, with_digests)
    if args.json:
        print(json.dumps([asdict(report) for report in reports], indent=1))
    for report in () if args.json else reports:
        print(f"{report.name:12} {_state(report)}" + (f", {_digests(report)}" if with_digests and report.is_fine else ""))
    wrong = [report.name for report in reports if not report.is_fine]
    if wrong:
        raise WeightsError(f"{len(wrong)} of {len(reports)} parts of {args.weights} are not ready: {', '.join(wrong)}")


def _digests(report: PartReport) -> str:
    if report.digests == report.files:
        return "digests agree"
    return f"{report.digests} of {report.files} digests are recorded and agree" if report.digests else "no digest recorded"


def _convert(args: argparse.Namespace) -> None:
    from liveavatar.checkpoints.convert import convert_folder

    for step in convert_folder(args.weights):
        print(f"{step.target}: {'written' if step.is_new else 'was there already'}")


def _sample(args: argparse.Namespace) -> None:
    from liveavatar.checkpoints.sample import write_sample

    files = write_sample(args.out, args.seed)
    size = sum(file.stat().st_size for file in files)
    print(f"{args.out}: {len(files)} files, {size / 1e6:.1f} MB of random weights in the official layout; try it:")
    print(f"  python -m liveavatar generate --profile s2v-14b --weights {args.out} --size 96x128 \\")
    print("    --reference face.png --audio voice.wav --out noise.mp4")


# ---------------------------------------------------------------------------------------------------------------- get


def _get(args: argparse.Namespace) -> None:
    from liveavatar.checkpoints.official import parts
    from liveavatar.checkpoints.store import WeightsError
    from liveavatar.optional import require

    hub = require("huggingface_hub", "weights get")
    args.weights.mkdir(parents=True, exist_ok=True)
    held = sum(path.stat().st_size for path in args.weights.rglob("*") if path.is_file())
    missing = sum(part.bytes for part in parts()) - held
    free = shutil.disk_usage(args.weights).free
    if missing > free:
        raise WeightsError(f"{args.weights} has {free / 1e9:.1f} GB free; about {missing / 1e9:.1f} GB more are needed")
    for name, folder in dict.fromkeys((part.hub, part.folder) for part in parts()):
        patterns = [pattern for part in parts() if part.hub == name for pattern in (part.file, *part.extra)]
        print(f"{name} -> {args.weights / folder}")
        hub.snapshot_download(name, local_dir=args.weights / folder, allow_patterns=patterns)
    print(f"next: python -m liveavatar weights verify --weights {args.weights}")
