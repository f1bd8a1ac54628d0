"""The verb `tpp`: plan a pipeline, run it, simulate what it would reach, measure what that takes, read what was traced."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveavatar.tpp.run_cli import add_run_verb

if TYPE_CHECKING:
    from liveavatar.tpp.simulate import Simulated, Traffic
    from liveavatar.tpp.times import TimesFile
    from liveavatar.tpp.variants import Variant

GIB = 2**30
ELEMENT_BYTES = {"s2v-14b": 2}  # weights and caches in bfloat16; anything else in float32
EXAMPLES = """\
examples:
  python -m liveavatar tpp plan --layout tpp --profile s2v-14b
  python -m liveavatar tpp run --layout 2 --reference face.png --audio voice.wav --out talk.mp4 --timeline talk.jsonl
  torchrun --nproc-per-node 5 -m liveavatar tpp run --profile s2v-14b --weights ckpt --device cuda --layout tpp \\
    --reference face.png --audio voice.wav --out talk.mp4
  python -m liveavatar tpp simulate --t-dit 0.565 --t-vae 0.575 --layout all --times own.json
  python -m liveavatar tpp measure --out times.json
  python -m liveavatar tpp trace talk.jsonl --chart talk.svg --perfetto talk.trace.json

layouts:
  tpp, no-vae-parallel, tpp3, no-tpp, sp4 (or any spN), no-dmd: the rows of the paper's tables
  1 to T+1: so many devices, as evenly loaded as the times allow
  0-1|2|3+vae: stages as written; 0-3*4|vae: four devices share the tokens of every step
"""


def add_tpp_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tpp` to the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = verbs.add_parser("tpp", help="the same stream over several devices", epilog=EXAMPLES, formatter_class=raw)
    inner = parser.add_subparsers(title="commands", metavar="{plan,run,simulate,measure,trace}", required=True)

    plan = inner.add_parser("plan", help="who does what, what it holds and sends", epilog=EXAMPLES, formatter_class=raw)
    plan.add_argument("--layout", default="tpp", help="see below (default: tpp)")
    _add_profile(plan)
    _add_times(plan)
    plan.add_argument("--json", action="store_true", help="print as JSON")
    plan.set_defaults(command=_plan)

    add_run_verb(inner, EXAMPLES)

    simulate = inner.add_parser(
        "simulate",
        help="generation FPS and time to first frame from the times of the parts",
        description="Rows of a layout, or of all. ttff_s is the latency of a block in the running pipeline plus half an "
        "output frame, as in the paper's Table 3; first_frame_s that of the first block, the pipeline empty.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    simulate.add_argument("--layout", default="all", help="see below, or all (default)")
    _add_profile(simulate)
    _add_times(simulate)
    simulate.add_argument("--depth", type=int, default=0, help="blocks that may wait between stages (default: 0, blocking)")
    simulate.add_argument("--in-flight", type=int, metavar="N", help="blocks that may be between sound and viewer")
    simulate.add_argument("--live", action="store_true", help="sound comes in real time")
    simulate.add_argument("--play", action="store_true", help="the viewer takes blocks at playback rate")
    simulate.add_argument("--cores", type=int, help="processor cores that all stages share (default: a device each)")
    simulate.add_argument("--json", action="store_true", help="print rows as JSON")
    simulate.set_defaults(command=_simulate)

    measure = inner.add_parser(
        "measure",
        help="times of all parts on this machine, one device being enough",
        description="Random weights; every part that a pipeline has, in one process. The file is what --times reads.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    _add_measure(measure)
    measure.set_defaults(command=_measure)

    trace = inner.add_parser(
        "trace", help="what a timeline.jsonl says, as words, chart or Perfetto file", epilog=EXAMPLES, formatter_class=raw
    )
    trace.add_argument("timeline", type=Path, help="written by tpp run --timeline, or by generate --timeline")
    trace.add_argument("--chart", type=Path, help="who works when (.svg, .png or .pdf), as the paper's Figure 8")
    trace.add_argument("--from-s", type=float, default=0.0, help="where the chart begins (default: 0)")
    trace.add_argument("--to-s", type=float, help="where it ends (default: the end)")
    trace.add_argument("--perfetto", type=Path, help="for ui.perfetto.dev or chrome://tracing (.json)")
    trace.add_argument("--json", action="store_true", help="print the summary as JSON")
    trace.set_defaults(command=_trace)


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="s2v-14b", help="whose sizes and options (default: s2v-14b)")
    parser.add_argument("--size", metavar="WxH", help="picture size in pixels (default: the profile's)")
    parser.add_argument("--steps", type=int, help="steps per block (default: the profile's)")


def _add_times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--t-dit", type=float, metavar="S", help="seconds of one evaluation of a block")
    parser.add_argument("--t-vae", type=float, metavar="S", help="seconds of decoding a block")
    parser.add_argument("--times", type=Path, metavar="FILE", help='JSON: {"t_dit", "t_vae", "layouts": {NAME: {...}}}')


def _add_measure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="nano", help="nano or s2v-14b (default: nano)")
    parser.add_argument("--size", metavar="WxH", help="picture size in pixels (default: the profile's)")
    parser.add_argument("--weights", default="random", choices=("random", "random-tiny"), help="default: random")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: float32 on cpu, else bfloat16")
    parser.add_argument("--fp8", action="store_true", help="linear layers of the transformer in 8 bits")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default: 1, as a process of a pipeline)")
    parser.add_argument("--steps", type=int, help="steps per block (default: the profile's)")
    parser.add_argument("--blocks", type=int, default=20, metavar="N", help="blocks to measure (default: 20)")
    parser.add_argument("--one-step", action="store_true", help="time one step, which stands for all (less memory)")
    parser.add_argument("--beside", type=int, default=1, metavar="N", help="measure while N - 1 others do too (default: 1)")
    parser.add_argument("--out", type=Path, help="write the times there (default: print them)")


# ---------------------------------------------------------------------------------------------------------------- plan


def _plan(args: argparse.Namespace) -> None:
    from liveavatar.tpp.plan import plan, table

    chosen, times, config = _chosen(args, args.layout), _times(args), _profile(args)
    given = times.of(chosen.name) if "t_dit" in times.common or times.has_own(chosen.name) else None
    made = plan(chosen, config, ELEMENT_BYTES.get(config.name, 4), given)
    print(json.dumps(made) if args.json else table(made))


def _profile(args: argparse.Namespace) -> Any:
    from dataclasses import replace

    from liveavatar.inputs import InputError
    from liveavatar.load_options import chosen_profile

    config = chosen_profile(args)
    try:
        rollout = config.rollout if args.steps is None else replace(config.rollout, steps=args.steps)
    except ValueError as error:
        raise InputError(str(error)) from error
    return replace(config, rollout=rollout)


def _chosen(args: argparse.Namespace, name: str) -> Variant:
    from liveavatar.inputs import InputError
    from liveavatar.tpp.variants import variant

    options, times = _profile(args).rollout, _times(args)
    steps, decode = None, 1.0
    if "t_dit" in times.common and "t_vae" in times.common:
        common = times.of("")
        steps, decode = [common.step(step, options.steps) for step in range(options.steps)], common.t_vae
    try:
        return variant(name, options, steps, decode)
    except ValueError as error:
        raise InputError(str(error)) from error


def _times(args: argparse.Namespace) -> TimesFile:
    from liveavatar.inputs import InputError
    from liveavatar.tpp.times import TimesError, read_times

    try:
        return read_times(args.times, t_dit=args.t_dit, t_vae=args.t_vae)
    except TimesError as error:
        raise InputError(str(error)) from error


# ------------------------------------------------------------------------------------------------------------ simulate


def _simulate(args: argparse.Namespace) -> None:
    from liveavatar.inputs import InputError
    from liveavatar.tpp.footprint import device_bytes
    from liveavatar.tpp.simulate import Traffic, simulate
    from liveavatar.tpp.times import TimesError
    from liveavatar.tpp.variants import names

    config, times = _profile(args), _times(args)
    traffic = Traffic(args.depth, args.in_flight, args.live, args.play, args.cores)
    rows = []
    for name in names(config.rollout.steps) if args.layout == "all" else [args.layout]:
        chosen = _chosen(args, name)
        try:
            result = simulate(chosen.layout, chosen.options, times.of(name), traffic)
        except (TimesError, ValueError) as error:
            raise InputError(str(error)) from error
        held = device_bytes(config, chosen.layout, chosen.options, ELEMENT_BYTES.get(config.name, 4))
        rows.append(_row(chosen, result, held, times.has_own(name)))
    print(json.dumps(rows, indent=1) if args.json else _rows_table(rows, traffic))


def _row(chosen: Variant, result: Simulated, held: list[dict[str, int]], has_own: bool) -> dict[str, Any]:
    per_device = [
        share for stage, share in zip(chosen.layout.stages, result.utilisation, strict=True) for _ in range(stage.devices)
    ]
    return {
        "layout": chosen.name,
        "devices": chosen.layout.devices,
        "nfe": chosen.options.evaluations,
        "fps": result.fps,
        "ttff_s": result.ttff_s,
        "utilisation": sum(per_device) / len(per_device),
        "stages": chosen.layout.spec,
        "utilisation_per_device": per_device,
        "first_frame_s": result.first_frame_s,
        "latency_s": result.latency_s,
        "wait_s": result.wait_s,
        "midstream_s": result.midstream_s,
        "interval_s": result.interval_s,
        "memory_gib": [sum(parts.values()) / GIB for parts in held],
        "has_own_times": has_own,
    }


def _rows_table(rows: list[dict[str, Any]], traffic: Traffic) -> str:
    lines = ["layout           stages           devices  NFE    FPS   TTFF s  first s  busy  GiB per device"]
    for row in rows:
        memory = " ".join(f"{gib:.1f}" for gib in row["memory_gib"])
        own = "*" if row["has_own_times"] else ""
        lines.append(
            f"{row['layout'] + own:16} {row['stages']:16} {row['devices']:7} {row['nfe']:4} {row['fps']:6.2f} "
            f"{row['ttff_s']:8.2f} {row['first_frame_s']:8.2f} {row['utilisation']:5.0%}  {memory}"
        )
    lines.append(f"simulated, not measured; depth {traffic.depth}, in flight {traffic.in_flight or 'any number'}; memory is")
    lines.append("weights and caches, without activations")
    if any(row["has_own_times"] for row in rows):
        lines.append("* with times of its own from the file")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------ measure, trace


def _measure(args: argparse.Namespace) -> None:
    from liveavatar.inputs import InputError
    from liveavatar.tpp.measure import MeasureOptions, measure

    if args.blocks < 1 or args.beside < 1 or args.threads < 1:
        raise InputError("--blocks, --beside and --threads: give 1 or more")
    if args.out is not None and not args.out.parent.is_dir():
        raise InputError(f"folder {args.out.parent} does not exist; make it first")
    options = MeasureOptions(
        weights=args.weights,
        device=args.device,
        dtype=args.dtype,
        fp8=args.fp8,
        threads=args.threads,
        blocks=args.blocks,
        one_step=args.one_step,
        beside=args.beside,
    )
    try:
        made = measure(_profile(args), options)
    except ValueError as error:
        raise InputError(str(error)) from error
    made["command"] = "python -m liveavatar " + " ".join(args.given)
    text = json.dumps(made, indent=1) + "\n"
    if args.out is None:
        print(text, end="")
        return
    args.out.write_text(text, encoding="utf-8")
    print(f"{args.out}: t_dit {_seconds(made['t_dit'])}, t_vae {made['t_vae']:.4f} s")
    print(f"next: python -m liveavatar tpp simulate --profile {args.profile} --times {args.out} --layout all")


def _seconds(value: float | list[float]) -> str:
    return ", ".join(f"{v:.4f}" for v in (value if isinstance(value, list) else [value])) + " s"


def _trace(args: argparse.Namespace) -> None:
    from liveavatar.inputs import InputError
    from liveavatar.tpp.summary import summarise, words
    from liveavatar.tpp.timeline import TimelineError, read_timeline

    try:
        timeline = read_timeline(args.timeline)
        summary = summarise(timeline)
    except TimelineError as error:
        raise InputError(str(error)) from error
    if args.perfetto is not None:
        from liveavatar.tpp.export import perfetto

        args.perfetto.write_text(json.dumps(perfetto(timeline)), encoding="utf-8")
    if args.chart is not None:
        from liveavatar.tpp.export import chart

        chart(timeline, args.chart, args.from_s, args.to_s)
    print(json.dumps(summary, indent=1) if args.json else words(summary))
