"""`python -m evalkit.metrics.training NETWORK ...`: train, check and ship one network."""

from __future__ import annotations

import argparse
import importlib
import logging
from dataclasses import asdict
from pathlib import Path

EXAMPLE = """example:
  python -m genbench shards --clips 2500 --out shards
  python -m genbench shards --clips 64 --seed 7 --out unseen
  python -m evalkit.metrics.training mouth --shards shards --held-out unseen --minutes 5 --out runs/mouth --ship
A second identical command continues from the last checkpoint."""

TASKS = {
    "mouth": "evalkit.metrics.training.mouth:MouthTask",
    "syncnet": "evalkit.metrics.training.syncnet:SyncTask",
    "image_encoder": "evalkit.metrics.training.image_encoder:ImageTask",
    "clip_encoder": "evalkit.metrics.training.clip_encoder:ClipTask",
    "quality": "evalkit.metrics.training.quality:QualityTask",
    "face_finder": "evalkit.metrics.training.face_finder:FaceFinderTask",
}


def main(arguments: list[str] | None = None) -> None:
    """Train one network; with --ship its weights and manifest record replace the package's."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    import torch

    from evalkit.metrics.training.data import describe, split_shards
    from evalkit.metrics.training.loop import Recipe, train, validate
    from evalkit.metrics.weights import NANO_WEIGHTS, ship_weights

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    recipe = Recipe(
        minutes=options.minutes, seed=options.seed, learning_rate=options.learning_rate, max_steps=options.max_steps
    )
    sets = split_shards(options.shards, options.held_out)
    task = _task(options.network)(*sets)
    progress = train(task, recipe, options.out)
    figures = validate(task)
    record = {
        "recipe": asdict(recipe),
        "steps": progress.step,
        "training_s": round(progress.elapsed_s),
        "data": describe(sets),
        "held_out": figures,
    }
    folder = NANO_WEIGHTS if options.ship else options.out / "weights"
    logging.info("%s", ship_weights(options.network, task.network.state_dict(), record, folder))


def _task(name: str) -> type:
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evalkit.metrics.training",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", choices=list(TASKS))
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="shard files or folders of them")
    parser.add_argument(
        "--held-out", type=Path, nargs="+", required=True, help="the same for clips that are only checked"
    )
    parser.add_argument(
        "--minutes", type=float, required=True, help="processor time to train for; the learning rate follows it"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for curve, checkpoint and weights")
    parser.add_argument("--ship", action="store_true", help="write the weights into the package")
    parser.add_argument("--max-steps", type=int, help="end after so many steps, if before the minutes")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
