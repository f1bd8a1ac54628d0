"""`python -m liveavatar.training VERB`: the recipes from rendered shards to shipped weights.

`run RECIPE --out DIR` trains a recipe by name and remembers its inputs in DIR, so that `--resume` needs nothing else:

  python -m liveavatar.training run nano_teacher --shards data/latents --initial train/stage1 --out train/teacher
  python -m liveavatar.training run nano_stage2 --shards data/latents --initial train/stage1 --teacher train/teacher \\
    --out train/stage2
  python -m liveavatar.training run nano_stage2 --out train/stage2 --resume

Example, from nothing to a talking nano model:

  python -m genbench shards --clips 3000 --out data/frames
  python -m liveavatar.training basis   --shards data/frames --codec train/codec
  python -m liveavatar.training codec   --shards data/frames --codec train/codec --out train/codec
  python -m liveavatar.training prepare --shards data/frames --codec train/codec --latents data/latents
  python -m liveavatar.training light   --shards data/frames --codec train/codec --out train/light
  python -m liveavatar.training voice   --shards data/latents --out train/voice
  python -m liveavatar.training stage1  --shards data/latents --voice train/voice --out train/stage1
  python -m liveavatar.training export  --codec train/codec --light train/light --stage1 train/stage1 --weights DIR
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liveavatar.training.recipes import Recipe

VERBS = ["run", "basis", "codec", "light", "prepare", "prepare-clips", "voice", "stage1", "export", "export-adapter"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m liveavatar.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("recipe", nargs="?", help="run: the recipe's name")
    parser.add_argument("--shards", type=Path, help="folder of rendered shards (voice, stage1: of latent shards)")
    parser.add_argument("--latents", type=Path, help="prepare: where latent shards go")
    parser.add_argument("--codec", type=Path, help="training folder of the codec")
    parser.add_argument("--light", type=Path, help="training folder of the light decoder")
    parser.add_argument("--stage1", type=Path, help="export: training folder of stage 1 or 2, whose student is taken")
    parser.add_argument("--out", type=Path, help="training folder; an existing one is resumed")
    parser.add_argument("--initial", type=Path, help="training folder whose weights a new --out starts from")
    parser.add_argument("--voice", type=Path, help="stage1: training folder of the voice stage")
    parser.add_argument("--teacher", type=Path, help="stage 2: training folder of the bidirectional teacher")
    parser.add_argument("--decoder", type=Path, help="nano: weights folder that decodes sample videos; default: as shipped")
    parser.add_argument("--base", type=Path, help="14B: folder of the published weights")
    parser.add_argument("--videos", type=Path, help="prepare-clips: folder of talking videos")
    parser.add_argument("--scores", type=Path, help="prepare-clips: table of scores per clip, .csv or JSON lines")
    parser.add_argument("--keep", action="append", default=[], help="prepare-clips: rule such as 'sync_c>=3'; repeatable")
    parser.add_argument("--prompts", type=Path, help='prepare-clips: JSON of prompts by video name, "" for all others')
    parser.add_argument("--size", default="720x400", help="prepare-clips with --base: picture width x height")
    parser.add_argument("--frames", type=int, default=84, help="prepare-clips: frames per window")
    parser.add_argument("--resume", action="store_true", help="run: go on with what --out holds, from the same inputs")
    parser.add_argument("--weights", type=Path, help="export: where the weights go; export-adapter: the file")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="NAME=DIR",
        help="export: another generator, kept as its difference from --stage1; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--blend", default="", metavar="DIR=SHARE",
        help="export: this share of another generator's averaged weights, the rest from --stage1's",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, help="steps instead of the recipe's")
    parser.add_argument("--batch", type=int, help="batch instead of the recipe's")
    parser.add_argument("--compiled", action="store_true", help="compile transformer blocks: faster, needs a C++ compiler")
    parser.add_argument("--max-minutes", type=float, default=1e9, help="stop after this, resumable")
    parser.add_argument("--part", default="0/1", help="prepare: share of the shards, as 0/2 and 1/2 in two processes")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _need(args: argparse.Namespace, *names: str) -> None:
    missing = [f"--{name}" for name in names if getattr(args, name) is None]
    if missing:
        sys.exit(f"{args.verb} needs {', '.join(missing)}; see --help")


def _blend(text: str) -> tuple[Path, float] | None:
    folder, _, share = text.rpartition("=")
    try:
        return (Path(folder), float(share)) if text else None
    except ValueError:
        sys.exit(f"--blend {text}: give DIR=SHARE, such as {folder or 'runs/stage1'}=0.5")


def main() -> None:
    """Parse, then run one verb."""
    args = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    import torch

    from liveavatar.training import parallel, stages

    torch.set_num_threads(args.threads)
    parallel.join()
    needs = {
        "run": ("recipe", "out"),
        "basis": ("shards", "codec"),
        "codec": ("shards", "codec", "out"),
        "light": ("shards", "codec", "out"),
        "prepare": ("shards", "codec", "latents"),
        "prepare-clips": ("videos", "latents"),
        "voice": ("shards", "out"),
        "stage1": ("shards", "out"),
        "export": ("codec", "light", "stage1", "weights"),
        "export-adapter": ("stage1", "weights"),
    }
    _need(args, *needs[args.verb])
    if args.verb == "basis":
        stages.basis(args.shards, args.codec)
    elif args.verb == "prepare":
        stages.prepare(args.shards, args.codec, args.latents, *map(int, args.part.split("/")))
    elif args.verb == "prepare-clips":
        _prepare_clips(args)
    elif args.verb == "export":
        variants = {name: Path(folder) for name, _, folder in (given.partition("=") for given in args.variant)}
        stages.export(args.codec, args.light, args.stage1, args.weights, variants, _blend(args.blend))
    elif args.verb == "export-adapter":
        stages.export_adapter(args.stage1, args.weights)
    else:
        _train(args)


def _prepare_clips(args: argparse.Namespace) -> None:
    """Videos into latent shards, for nano (--codec) or for the 14B profile (--base)."""
    from liveavatar.training import stages

    width, _, height = args.size.partition("x")
    prompts = json.loads(args.prompts.read_text()) if args.prompts else None
    try:
        if (args.base is None) == (args.codec is None):
            raise ValueError("give --base DIR (14B) or --codec DIR (nano), and not both")
        size = (int(height), int(width)) if args.base else None
        left_out = stages.prepare_clips(
            args.videos, args.latents, args.codec, args.base, size, args.frames, args.scores, tuple(args.keep), prompts,
            *map(int, args.part.split("/")),
        )  # fmt: skip
    except (ValueError, OSError) as error:
        sys.exit(f"{args.verb}: {error}")
    print(f"{args.latents}: {len(left_out)} videos left out, listed in left_out-*.json")


def _train(args: argparse.Namespace) -> None:
    """A recipe into its folder."""
    from liveavatar.training import stages
    from liveavatar.training.recipes import recipe_named

    try:
        if args.verb == "run":
            remember_inputs(args)
        recipe = recipe_named(args.recipe if args.verb == "run" else f"nano_{args.verb}")
        changes = {name: getattr(args, name) for name in ("steps", "batch", "compiled") if getattr(args, name)}
        sources = stages.Sources(
            args.shards, args.codec, args.initial, args.voice, args.teacher, args.base, _decoder(args, recipe)
        )
        stages.run(replace(recipe, **changes), sources, args.out, args.max_minutes)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"{args.verb}: {error}")


def _decoder(args: argparse.Namespace, recipe: Recipe) -> Path | None:
    """Whose light decoder shows sample videos: the folder given, or the shipped one for nano's recipes."""
    if args.decoder is not None or args.verb != "run" or recipe.profile != "nano":
        return args.decoder
    return Path(__file__).parents[1] / "weights" / "nano"


REMEMBERED = ("recipe", "shards", "codec", "initial", "voice", "teacher", "base", "decoder", "steps", "batch", "compiled")


def remember_inputs(args: argparse.Namespace) -> None:
    """Write what a new run was given to its folder; take from there what a resumed one was not given.

    Raises ValueError when the folder holds a run that was not asked for, or a resumed run is given something else.
    """
    from liveavatar.training import checkpoint, parallel

    file = args.out / "inputs.json"
    given = {name: getattr(args, name) for name in REMEMBERED if getattr(args, name) not in (None, False)}
    given = {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in given.items()}
    if args.resume and file.exists():
        known = json.loads(file.read_text())
        other = {name: (known.get(name), value) for name, value in given.items() if known.get(name) != value}
        if other:
            raise ValueError(f"{args.out} was begun with other inputs: {other} (then, now); use a new --out")
        for name, value in known.items():
            setattr(args, name, value if name in ("recipe", "steps", "batch", "compiled") else Path(value))
    elif checkpoint.latest(args.out) is not None and not args.resume:
        raise ValueError(f"{args.out} holds a run already; add --resume to go on with it, or give a new --out")
    elif args.shards is None:
        raise ValueError("a new run needs --shards DIR; see --help")
    elif parallel.is_first():
        args.out.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(given, indent=1) + "\n")
        partial.replace(file)


if __name__ == "__main__":
    main()
