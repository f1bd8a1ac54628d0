"""The verb `tpp run`: one process of a pipeline, started by torchrun or by itself, or all of it on one device."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from liveavatar.stream_options import add_stream_options, stream_options, timed_prompts

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from liveavatar.tpp.delivery import Consumer
    from liveavatar.tpp.engine import StreamResult
    from liveavatar.tpp.membership import Rendezvous
    from liveavatar.tpp.order import StreamOrder
    from liveavatar.tpp.sources import Source
    from liveavatar.tpp.variants import Variant
    from liveavatar.tpp.watch import Fault

PIPE, NOWHERE, AUTO = "-", "none", "auto"


@dataclass(frozen=True)
class Job:
    """One stream that was asked for. audio, out: files, or "-"; out "none": nothing is kept."""

    reference: Path
    audio: str
    out: str
    prompt: str = ""
    seed: int = 0
    timeline: Path | None = None


def add_run_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser], examples: str) -> None:
    """Add `run` to the verb `tpp`."""
    parser = verbs.add_parser(
        "run",
        help="make a stream with the steps spread over processes",
        description="Started by torchrun, this is one process of the pipeline; otherwise it starts them on this machine. "
        "The same frames as `generate` makes, whatever the layout.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_stream_options(parser, needs_reference=False)
    parser.add_argument("--negative-prompt", default="", help="what guidance leads away from (--set guidance=4.5)")
    group = parser.add_argument_group("pipeline")
    group.add_argument("--layout", default=AUTO, help="see below (default: auto, the devices at hand)")
    group.add_argument("--audio", help="voice file, or - for raw s16le 16 kHz mono on standard input")
    group.add_argument("--out", help="video to write (.mp4), - for a live MP4 to a pipe, none to throw it away")
    group.add_argument("--jobs", type=Path, metavar="FILE", help="several streams: JSON lines of reference, audio, out, ...")
    group.add_argument("--timeline", type=Path, metavar="FILE", help="also write what happened when (tpp trace reads it)")
    group.add_argument("--depth", type=int, default=2, help="blocks that may wait between two stages (default: 2)")
    group.add_argument("--in-flight", type=int, metavar="N", help="blocks that may be between sound and viewer")
    group.add_argument("--live", action="store_true", help="release a file's sound in real time, as it would be spoken")
    group.add_argument("--fill-silence", action="store_true", help="with --audio -: silence where no sound is waiting")
    group.add_argument("--play", action="store_true", help="take blocks at playback rate, as a viewer does")
    group.add_argument("--host-links", action="store_true", help="messages pass through the processors' memory")
    group.add_argument("--silence-limit", type=float, default=10, metavar="S", help="a mute process is dead (default: 10)")
    group.add_argument("--stall-limit", type=float, default=60, metavar="S", help="work that hangs (default: 60)")
    group.add_argument("--json", action="store_true", help="print results as JSON lines")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> None:
    """Run, as one of many processes, as their starter, or alone."""
    from liveavatar.inputs import InputError
    from liveavatar.tpp.membership import Rendezvous

    try:
        rendezvous = Rendezvous.of(os.environ)
    except ValueError as error:
        raise InputError(str(error)) from error
    jobs, chosen = _jobs(args), _variant(args, rendezvous)
    if rendezvous is None and chosen.layout.devices > 1:
        _check_jobs(jobs)
        _start_all(args, chosen, jobs)
        return
    if rendezvous is not None:
        _be_worker(args, chosen, jobs, rendezvous)
    _check_jobs(jobs)
    _be_alone(args, chosen, jobs)


# ---------------------------------------------------------------------------------------------------------------- asked


def _variant(args: argparse.Namespace, rendezvous: Rendezvous | None) -> Variant:
    from liveavatar.inputs import InputError
    from liveavatar.tpp.variants import variant

    options = stream_options(args)
    name = args.layout
    if name == AUTO:
        name = str(rendezvous.world if rendezvous is not None else min(options.steps + 1, _devices(args.device)))
    try:
        return variant(name, options)
    except ValueError as error:
        raise InputError(f"--layout: {error}") from error


def _devices(device: str) -> int:
    """How many processes can work at once here."""
    if device.startswith("cpu"):
        return os.cpu_count() or 1
    import torch

    return max(1, torch.accelerator.device_count())


def _jobs(args: argparse.Namespace) -> list[Job]:
    from liveavatar.inputs import InputError

    if args.jobs is None:
        missing = [name for name in ("reference", "audio", "out") if getattr(args, name) is None]
        if missing:
            raise InputError(f"--{', --'.join(missing)} missing; give them, or several streams with --jobs FILE")
        return [Job(args.reference, args.audio, args.out, args.prompt, args.seed, args.timeline)]
    if any(getattr(args, name) is not None for name in ("reference", "audio", "out", "timeline")):
        raise InputError("--jobs names references, sound and videos itself; give no --reference, --audio, --out, --timeline")
    try:
        lines = args.jobs.read_text(encoding="utf-8").splitlines()
        return [_job(json.loads(line)) for line in lines if line.strip()]
    except OSError as error:
        raise InputError(f"--jobs {args.jobs}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f'--jobs {args.jobs}: {error}; expected lines such as {{"reference": "a.png", "audio": "a.wav", "out": "a.mp4"}}'
        ) from error


def _job(values: dict[str, Any]) -> Job:
    unknown = set(values) - set(Job.__dataclass_fields__)
    if unknown:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    timeline = values.get("timeline")
    paths = {"reference": Path(values["reference"]), "timeline": None if timeline is None else Path(timeline)}
    return Job(**{**values, **paths})


def _check_jobs(jobs: list[Job]) -> None:
    """Raise InputError for files that are not there, before anything is started."""
    from liveavatar.inputs import InputError, require_file
    from liveavatar.output import OutputError, check_target

    for job in jobs:
        require_file(job.reference, "picture")
        if job.audio != PIPE:
            require_file(Path(job.audio), "voice")
        if job.timeline is not None and not job.timeline.parent.is_dir():
            raise InputError(f"timeline folder {job.timeline.parent} does not exist; make it first")
        try:
            if job.out not in (PIPE, NOWHERE):
                check_target(job.out)
        except OutputError as error:
            raise InputError(str(error)) from error


# ------------------------------------------------------------------------------------------------------------ processes


def _start_all(args: argparse.Namespace, chosen: Variant, jobs: list[Job]) -> None:
    """Start a process per device on this machine and wait; raises NotReadyError with stage and cause."""
    from liveavatar.cli import NotReadyError
    from liveavatar.output import kept_by_killed
    from liveavatar.tpp.launch import popen_start, supervise

    name = chosen.name if args.layout != AUTO else str(chosen.layout.devices)
    outcome = supervise(chosen.layout, popen_start([sys.executable, "-m", "liveavatar", *args.given, "--layout", name]))
    left = [kept_by_killed(job.out) for job in jobs if job.out not in (PIPE, NOWHERE)]
    kept = outcome.kept or "; ".join(filter(None, left))
    if outcome.is_interrupted:
        if kept:
            print(f"liveavatar: {kept}", file=sys.stderr)
        raise KeyboardInterrupt
    if outcome.fault is not None:
        raise NotReadyError(f"tpp: stage '{outcome.fault.stage}' (rank {outcome.fault.rank}) {outcome.fault.cause}"
                            + (f"; {kept}" if kept else ""))  # fmt: skip


def _be_alone(args: argparse.Namespace, chosen: Variant, jobs: list[Job]) -> None:
    """All of it in this process; what goes wrong is said as other verbs say it."""
    from liveavatar.cli import NotReadyError
    from liveavatar.inputs import InputError
    from liveavatar.tpp.watch import StageFaultError

    try:
        gone = _take_part(args, chosen, jobs, None, lambda fault, claimed: None)
    except StageFaultError as error:
        if isinstance(error.__cause__, InputError | KeyboardInterrupt | BrokenPipeError):
            raise error.__cause__ from None
        raise NotReadyError(f"tpp: {error.fault}") from error
    if gone is not None:
        raise NotReadyError(f"tpp: {gone}")


def _be_worker(args: argparse.Namespace, chosen: Variant, jobs: list[Job], rendezvous: Rendezvous) -> NoReturn:
    """One process: ends at once when its part is done, whatever its threads wait for."""
    from liveavatar.tpp.launch import REPORT, report_to
    from liveavatar.tpp.watch import StageFaultError

    signal.signal(signal.SIGTERM, _end)
    descriptor = os.environ.get(REPORT)
    end_rank = next(role.rank for role in chosen.layout.roles if role.is_end)

    def tell(fault: Fault, claimed: bool) -> None:
        # One message: from the last stage, which knows what is kept, or from whoever noticed that it is gone.
        if rendezvous.rank == end_rank or (claimed and fault.rank == end_rank):
            _tell_here(fault, claimed)

    code, report = 1, report_to(int(descriptor)) if descriptor else tell
    try:
        gone = _take_part(args, chosen, jobs, rendezvous, report)
        if gone is not None:
            report(gone, True)
        code = 0 if gone is None else 1
    except StageFaultError:
        pass
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _tell_here(fault: Fault, claimed: bool) -> None:
    print(f"liveavatar: tpp: {fault}", file=sys.stderr, flush=True)


def _take_part(
    args: argparse.Namespace,
    chosen: Variant,
    jobs: list[Job],
    rendezvous: Rendezvous | None,
    report: Callable[[Fault, bool], None],
) -> Fault | None:
    """Join, load, serve all jobs, and print what the viewer got; a lone stream's viewer who left is a fault."""
    import torch

    from liveavatar.components import Components, build, placement
    from liveavatar.load_options import parse_size
    from liveavatar.tpp.engine import Engine
    from liveavatar.tpp.membership import alone, join
    from liveavatar.tpp.watch import Fault, Limits
    from liveavatar.tpp.workplace import EngineOptions

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    device = _device(args.device, rendezvous)
    place = placement(str(device), args.dtype, args.fp8, args.offload)
    weights = Path(args.weights) if args.weights and Path(args.weights).is_dir() else args.weights

    def load(parts: frozenset[str]) -> Components:
        return build(args.profile, weights, place, parse_size(args.size), parts)

    options = EngineOptions(args.depth, args.host_links, Limits(args.silence_limit, args.stall_limit))
    membership = alone(chosen.layout) if rendezvous is None else join(chosen.layout, rendezvous, device)
    with Engine(membership, load, device, options, report) as engine:
        config = engine.place.pipeline.config
        streams, gone, role = _streams(args, chosen, jobs, config), "", membership.role
        for result in engine.serve(streams, lambda order: _consumer(args, order, config)):
            _tell_result(args, jobs[result.number], result, config)
            gone = result.gone
    return Fault(role.name, role.rank, f"lost its viewer: {gone}") if gone and args.jobs is None else None


def _device(name: str, rendezvous: Rendezvous | None) -> torch.device:
    """The process's own device: of its number on this machine, where several are meant."""
    import torch

    device = torch.device(name)
    if device.type == "cpu" or device.index is not None or rendezvous is None:
        return device
    torch.accelerator.set_device_index(rendezvous.local_rank)
    return torch.device(device.type, rendezvous.local_rank)


# -------------------------------------------------------------------------------------------------------------- streams


def _streams(
    args: argparse.Namespace, chosen: Variant, jobs: list[Job], config: Any
) -> Iterator[tuple[StreamOrder, Source]]:
    """Orders with their sound, read when their turn comes; for the first stage alone."""
    from liveavatar.inputs import read_picture
    from liveavatar.tpp.order import StreamOrder

    prompts = tuple(timed_prompts(args))
    for job in jobs:
        order = StreamOrder(
            reference=read_picture(job.reference, config.height, config.width),
            options=chosen.options,
            prompt=job.prompt,
            negative_prompt=args.negative_prompt,
            prompts=prompts,
            seed=job.seed,
            out=job.out,
            timeline=None if job.timeline is None else str(job.timeline),
            in_flight=args.in_flight,
        )
        yield order, _sound(args, job, config)


def _sound(args: argparse.Namespace, job: Job, config: Any) -> Source:
    from liveavatar.cli import pcm_pieces
    from liveavatar.inputs import read_voice
    from liveavatar.tpp.sources import FilledSound, LiveSound, PipedSound, WholeSound

    block_samples = config.block_frames * config.samples_per_frame
    if job.audio == PIPE:
        piped = PipedSound(pcm_pieces(sys.stdin.buffer))
        return FilledSound(piped, block_samples) if args.fill_silence else piped
    voice = read_voice(Path(job.audio))
    return LiveSound(voice, config.sample_rate) if args.live else WholeSound(voice, block_samples)


def _consumer(args: argparse.Namespace, order: StreamOrder, config: Any) -> Consumer:
    from liveavatar.cli import PipeEnd
    from liveavatar.tpp.delivery import Nobody, Paced, ToFile, ToPipe

    consumer: Consumer
    if order.out == NOWHERE or order.out is None:
        consumer = Nobody()
    elif order.out == PIPE:
        consumer = ToPipe(PipeEnd(sys.stdout.buffer), config)
    else:
        consumer = ToFile(Path(order.out), config)
    return Paced(consumer, config) if args.play else consumer


def _tell_result(args: argparse.Namespace, job: Job, result: StreamResult, config: Any) -> None:
    stream = sys.stderr if job.out == PIPE else sys.stdout
    values = {"out": job.out, "frames": result.frames, "blocks": result.blocks, "wall_s": result.wall_s, "gone": result.gone}
    if args.json:
        print(json.dumps(values), file=stream, flush=True)
    elif not result.gone:
        rate = result.frames / result.wall_s if result.wall_s else 0.0
        print(
            f"{job.out}: {result.frames / config.fps:.2f} s of {config.width}x{config.height} px at {config.fps} playback "
            f"FPS, made in {result.wall_s:.2f} s ({rate:.1f} generation FPS)",
            file=stream,
            flush=True,
        )
    elif args.jobs is not None:
        print(f"{job.out}: {result.gone}", file=sys.stderr, flush=True)
