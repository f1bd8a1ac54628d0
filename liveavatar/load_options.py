"""Which networks to load and where, from words of a command line: shared by every verb that loads a pipeline."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liveavatar.config import ProfileConfig
    from liveavatar.pipeline import Pipeline


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """The options that `load_pipeline` reads."""
    group = parser.add_argument_group("model")
    group.add_argument("--profile", default="nano", help="nano (shipped) or s2v-14b (default: nano)")
    group.add_argument(
        "--weights",
        metavar="FOLDER",
        help="weights folder; s2v-14b needs one (see: weights list), or the word random to measure speed",
    )
    group.add_argument("--variant", metavar="NAME", help="nano: weights trained otherwise, such as stage1 (not distilled)")
    group.add_argument("--size", metavar="WxH", help="picture size in pixels, multiples of 16 (default: the profile's)")
    group.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: float32 on cpu, else bfloat16")
    group.add_argument("--fp8", action="store_true", help="linear layers of the transformer in 8 bits")
    group.add_argument("--offload", action="store_true", help="text encoder and transformer blocks wait in host memory")
    group.add_argument("--host-caches", action="store_true", help="keys and values of past blocks wait in host memory")
    group.add_argument("--compile", action="store_true", help="compile the transformer's blocks (slow first block)")
    group.add_argument("--graphs", action="store_true", help="record whole evaluations and replay them (CUDA graphs)")
    group.add_argument("--threads", type=int, help="processor threads for the model (default: all)")


def chosen_profile(args: argparse.Namespace) -> ProfileConfig:
    """The profile with the wanted picture size; raises InputError. Reads nothing from a disk."""
    import dataclasses

    from liveavatar.config import profile
    from liveavatar.inputs import InputError

    try:
        config = profile(args.profile)
    except ValueError as error:
        raise InputError(f"--profile: {error}") from error
    size = parse_size(getattr(args, "size", None))
    if size is None:
        return config
    try:
        return dataclasses.replace(config, width=size[0], height=size[1])
    except ValueError as error:
        raise InputError(f"--size {args.size}: {error}") from error


def load_pipeline(args: argparse.Namespace) -> Pipeline:
    """The pipeline that the options name; raises InputError for what they ask wrongly, WeightsError for bad files."""
    from liveavatar.inputs import InputError

    if args.threads is not None:
        if args.threads < 1:
            raise InputError(f"--threads {args.threads}: give 1 or more")
        import torch

        torch.set_num_threads(args.threads)
    from liveavatar.pipeline import load
    from liveavatar.threads import share_threads

    weights = Path(args.weights) if args.weights and Path(args.weights).is_dir() else args.weights
    try:
        return load(
            args.profile,
            device=args.device,
            weights=weights,
            dtype=args.dtype,
            fp8=args.fp8,
            offload=args.offload,
            size=parse_size(args.size),
            host_caches=args.host_caches,
            graphs=args.graphs,
            compiled=args.compile,
            variant=args.variant,
            overlaps=share_threads(args.device),
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def parse_size(text: str | None) -> tuple[int, int] | None:
    """ "704x384" -> (704, 384), width first; None stays None. Raises InputError."""
    from liveavatar.inputs import InputError

    if text is None:
        return None
    match = re.fullmatch(r"(\d+)[x*](\d+)", text.strip().lower())
    if match is None:
        raise InputError(f"--size {text}: give width x height in pixels, such as 704x384")
    return int(match[1]), int(match[2])
