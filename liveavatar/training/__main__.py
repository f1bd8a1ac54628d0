"""`python -m liveavatar.training VERB`: the recipes from rendered shards to shipped weights.

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
import logging
import sys
from dataclasses import replace
from pathlib import Path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m liveavatar.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["basis", "codec", "light", "prepare", "voice", "stage1", "export"])
    parser.add_argument("--shards", type=Path, help="folder of rendered shards (voice, stage1: of latent shards)")
    parser.add_argument("--latents", type=Path, help="prepare: where latent shards go")
    parser.add_argument("--codec", type=Path, help="training folder of the codec")
    parser.add_argument("--light", type=Path, help="training folder of the light decoder")
    parser.add_argument("--stage1", type=Path, help="training folder of stage 1")
    parser.add_argument("--out", type=Path, help="training folder; an existing one is resumed")
    parser.add_argument("--initial", type=Path, help="training folder whose weights a new --out starts from")
    parser.add_argument("--voice", type=Path, help="stage1: training folder of the voice stage")
    parser.add_argument("--weights", type=Path, help="export: where the weights go")
    parser.add_argument("--steps", type=int, help="steps instead of the recipe's")
    parser.add_argument("--batch", type=int, help="batch instead of the recipe's")
    parser.add_argument("--max-minutes", type=float, default=1e9, help="stop after this, resumable")
    parser.add_argument("--part", default="0/1", help="prepare: share of the shards, as 0/2 and 1/2 in two processes")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _need(args: argparse.Namespace, *names: str) -> None:
    missing = [f"--{name}" for name in names if getattr(args, name) is None]
    if missing:
        sys.exit(f"{args.verb} needs {', '.join(missing)}; see --help")


def main() -> None:
    """Parse, then run one verb."""
    args = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    import torch

    from liveavatar.training import parallel, stages

    torch.set_num_threads(args.threads)
    parallel.join()
    needs = {
        "basis": ("shards", "codec"),
        "codec": ("shards", "codec", "out"),
        "light": ("shards", "codec", "out"),
        "prepare": ("shards", "codec", "latents"),
        "voice": ("shards", "out"),
        "stage1": ("shards", "out"),
        "export": ("codec", "light", "stage1", "weights"),
    }
    _need(args, *needs[args.verb])
    if args.verb == "basis":
        stages.basis(args.shards, args.codec)
    elif args.verb == "prepare":
        stages.prepare(args.shards, args.codec, args.latents, *map(int, args.part.split("/")))
    elif args.verb == "export":
        stages.export(args.codec, args.light, args.stage1, args.weights)
    else:
        from liveavatar.training.recipes import RECIPES

        recipe = RECIPES[args.verb]()
        changes = {name: getattr(args, name) for name in ("steps", "batch") if getattr(args, name)}
        stages.run(replace(recipe, **changes), args.shards, args.codec, args.out, args.max_minutes, args.initial, args.voice)


if __name__ == "__main__":
    main()
