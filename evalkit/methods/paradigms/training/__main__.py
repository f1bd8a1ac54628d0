"""Command line of the paradigms' own small trainings: python -m evalkit.methods.paradigms.training VERB.

The teacher is nano's own: python -m liveavatar.training run nano_teacher, then export. Everything else is here.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

HELP = """\
In order, from a teacher's training folder TEACHER to everything that the paradigms need in WEIGHTS:

  python -m evalkit.methods.paradigms.training export --weights WEIGHTS teacher=TEACHER
  python -m genbench shards --clips 768 --frames 157 --seed 21 --out SHARDS --workers 2
  python -m liveavatar.training prepare --shards SHARDS --codec CODEC --latents LATENTS
  python -m evalkit.methods.paradigms.training packed --weights WEIGHTS --data LATENTS --out PACKED
  python -m evalkit.methods.paradigms.training pixel_context --weights WEIGHTS --data LATENTS --out PIXELS
  python -m evalkit.methods.paradigms.training motion_codec --data SHARDS --out MOTION_CODEC
  python -m evalkit.methods.paradigms.training prepare_motion --weights WEIGHTS --codec MOTION_CODEC --data SHARDS \\
    --out MOTION
  python -m evalkit.methods.paradigms.training motion_diffusion --data MOTION --out MOTION_DIFFUSION
  python -m evalkit.methods.paradigms.training export --weights WEIGHTS packed=PACKED pixel_context=PIXELS \\
    motion_codec=MOTION_CODEC motion_diffusion=MOTION_DIFFUSION

Training verbs resume what is in their folder; --max-minutes ends them early, resumable.
"""
CONTEXTS, MOTIONS = ("packed", "pixel_context"), ("motion_codec", "motion_diffusion")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from evalkit.methods.paradigms.training import commands

    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    try:
        if options.verb == "export":
            commands.export(options.weights, dict(one.split("=", 1) for one in options.parts))
        elif options.verb == "prepare_motion":
            commands.prepare(options.weights, options.codec, options.data, options.out)
        else:
            changes = {name: getattr(options, name) for name in ("steps", "batch") if getattr(options, name)}
            recipe = replace(commands.recipe_named(options.verb), **changes)
            commands.run(recipe, options.weights, options.data, options.out, options.max_minutes)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"{options.verb}: {error}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All verbs."""
    parser = argparse.ArgumentParser(
        prog="python -m evalkit.methods.paradigms.training",
        description="Train what the paradigms need beside the teacher.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in (*CONTEXTS, *MOTIONS):
        verb = verbs.add_parser(name, help=f"train {name}")
        if name in CONTEXTS:
            verb.add_argument("--weights", type=Path, required=True, help="weights folder that holds the teacher")
        else:
            verb.set_defaults(weights=None)
        verb.add_argument("--data", type=Path, required=True, help="shards; which kind, see --help of the program")
        verb.add_argument("--out", type=Path, required=True, help="training folder")
        verb.add_argument("--steps", type=int, help="default: the recipe's")
        verb.add_argument("--batch", type=int, help="default: the recipe's")
        verb.add_argument("--max-minutes", type=float, default=float("inf"))
        verb.add_argument("--threads", type=int)
    prepare = verbs.add_parser("prepare_motion", help="shards of frames to shards of motion and voice")
    prepare.add_argument("--weights", type=Path, required=True)
    prepare.add_argument("--codec", type=Path, required=True, help="training folder of the motion codec")
    prepare.add_argument("--data", type=Path, required=True, help="shards of frames")
    prepare.add_argument("--out", type=Path, required=True)
    prepare.add_argument("--threads", type=int)
    export = verbs.add_parser("export", help="trained networks into the weights folder")
    export.add_argument("--weights", type=Path, required=True)
    export.add_argument("parts", nargs="+", metavar="NAME=FOLDER")
    export.add_argument("--threads", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
