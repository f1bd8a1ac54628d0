"""The verb `bench`: speed and memory of a profile with random weights, as a table and as a record."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liveavatar.bench import BenchOptions, BenchResult
    from liveavatar.config import ProfileConfig

PROFILES = ("nano", "s2v-14b")
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
EXAMPLES = """\
examples:
  python -m liveavatar bench --profile nano --threads 1
  python -m liveavatar bench --profile s2v-14b --weights random --device cuda --dtype bf16 --fp8 --compile default \\
    --json 14b.json
"""


def add_bench_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `bench` to the command line."""
    parser = verbs.add_parser(
        "bench",
        help="time, rate, share of the roofline and memory of a block",
        description="Measures a steady block of a profile with random weights: each step, the whole block, decoding.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", choices=PROFILES, default="nano", help="whose sizes (default: nano)")
    parser.add_argument("--weights", choices=("random",), default="random", help="made on the device (the only choice)")
    parser.add_argument("--size", metavar="WxH", help="picture size in pixels (default: the profile's)")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="default: fp32 on cpu, else bf16")
    parser.add_argument("--fp8", action="store_true", help="linear layers in 8 bits")
    parser.add_argument(
        "--compile",
        nargs="?",
        const="default",
        default="no",
        choices=("no", "default", "reduce-overhead"),
        help="compile blocks; reduce-overhead also replays CUDA graphs of half blocks",
    )
    parser.add_argument("--graphs", action="store_true", help="record whole evaluations and replay them (CUDA graphs)")
    parser.add_argument("--offload", action="store_true", help="blocks wait in host memory and come one ahead")
    parser.add_argument("--resident", type=int, default=0, metavar="N", help="blocks that stay, with --offload (default: 0)")
    parser.add_argument("--host-caches", action="store_true", help="keys and values of the past wait in host memory")
    parser.add_argument("--blocks", type=int, default=5, metavar="N", help="blocks to measure (default: 5)")
    parser.add_argument("--no-decode", action="store_true", help="leave out decoding")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the record to this file")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print; raises InputError for what cannot be measured here."""
    import torch

    from liveavatar.bench import NotEnoughMemoryError
    from liveavatar.bench import run as measure
    from liveavatar.inputs import InputError

    if args.threads is not None:
        if args.threads < 1:
            raise InputError(f"--threads {args.threads}: give 1 or more")
        torch.set_num_threads(args.threads)
    if args.json is not None and not args.json.parent.is_dir():
        raise InputError(f"folder {args.json.parent} does not exist; make it first")
    profile, options = _profile(args), _options(args)
    try:
        result = measure(profile, options)
    except (NotEnoughMemoryError, ValueError) as error:
        raise InputError(str(error)) from error
    result.command = "python -m liveavatar " + " ".join(sys.argv[1:])
    print(table(result))
    if args.json is not None:
        from dataclasses import asdict

        args.json.write_text(json.dumps(asdict(result), indent=1) + "\n")


def _profile(args: argparse.Namespace) -> ProfileConfig:
    from dataclasses import replace

    from liveavatar.config import nano, s2v_14b
    from liveavatar.inputs import InputError

    config = nano() if args.profile == "nano" else s2v_14b()
    if args.size is None:
        return config
    width, cross, height = args.size.partition("x")
    step = config.codec.spatial_factor * config.transformer.patch_size[1]
    if not (cross and width.isdigit() and height.isdigit()) or not int(width) or int(width) % step or int(height) % step:
        raise InputError(f"--size {args.size}: give WIDTHxHEIGHT, multiples of {step}, for example 704x384")
    return replace(config, width=int(width), height=int(height))


def _options(args: argparse.Namespace) -> BenchOptions:
    from liveavatar.bench import BenchOptions
    from liveavatar.components import placement
    from liveavatar.inputs import InputError

    try:
        place = placement(args.device, DTYPES[args.dtype] if args.dtype else None)
    except ValueError as error:
        raise InputError(str(error)) from error
    if args.blocks < 1:
        raise InputError(f"--blocks {args.blocks}: give 1 or more")
    return BenchOptions(
        device=args.device,
        dtype=place.dtype,
        fp8=args.fp8,
        compile=args.compile,
        offload=args.offload,
        resident=args.resident,
        host_caches=args.host_caches,
        graphs=args.graphs,
        blocks=args.blocks,
        decode=not args.no_decode,
    )


def table(result: BenchResult) -> str:
    """The measurement for reading."""
    peak = {name.removesuffix("_peak"): size for name, size in result.memory_bytes.items() if name.endswith("_peak")}
    rates = ", ".join(f"{name} {rate:.2f}" for name, rate in result.matrix_tflops_per_s.items())
    lines = [
        f"{result.profile}, {result.picture} px, {result.parameters:,} parameters (random)",
        f"device      {result.machine['device']}; torch {result.machine['torch']}, {_form(result)}",
        f"matrix rate {rates} TFLOP/s measured; {result.operations_per_step['total'] / 1e12:.4g} TFLOP per step",
        "step   median ms   least ms   TFLOP/s   of the roofline",
        *(
            f"{row.step:4d}  {row.median_ms:10.2f} {row.least_ms:10.2f} {row.tflops_per_s:9.3g} {row.roofline_share:16.0%}"
            for row in result.steps
        ),
        f"block       {result.block_ms:.2f} ms: {result.generation_fps_of_denoising:.1f} generation FPS of denoising",
    ]
    if result.decode_ms is not None:
        lines.append(f"decode      {result.decode_ms:.2f} ms per block")
    lines.append(f"pipeline    {result.stage_fps:.1f} generation FPS with a device for each step and one for decoding")
    lines.append("memory      " + ", ".join(f"{name} peak {size / 2**30:.2f} GiB" for name, size in peak.items()))
    return "\n".join([*lines, *(f"note        {note}" for note in result.notes)])


def _form(result: BenchResult) -> str:
    """The options in words."""
    chosen = result.options
    words = [chosen["dtype"]]
    words += ["fp8"] if chosen["fp8"] else []
    words += [] if chosen["compile"] == "no" else [f"compiled ({chosen['compile']})"]
    words += [f"offloaded but {chosen['resident']} blocks"] if chosen["offload"] else []
    words += ["caches in host memory"] if chosen["host_caches"] else []
    words += ["evaluations replayed"] if chosen["graphs"] else []
    return ", ".join(words)
