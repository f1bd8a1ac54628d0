"""The command line: generate a video from files, stream one from standard input, tell what is installed.

Heavy imports stay inside the commands, so that --help is quick. Exit codes: 0 done, 1 failed while running, 2 bad input
or arguments (one line on standard error), 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import math
import os
import statistics
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from liveavatar.bench_cli import add_bench_verb
from liveavatar.load_options import chosen_profile, load_pipeline
from liveavatar.stream_options import add_stream_options, stream_options, timed_prompts
from liveavatar.tpp.cli import add_tpp_verb
from liveavatar.weights_cli import add_weights_verb

if TYPE_CHECKING:
    import numpy as np

    from liveavatar.config import ProfileConfig
    from liveavatar.output import Mp4Stream, VideoWriter

logger = logging.getLogger(__name__)

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
READ_BYTES = 15_360  # at most one block of sound (0.48 s) at a time, so that latency means what a live speaker sees
STDOUT = Path("-")
WEIGHTS = Path(__file__).parent / "weights"

EXAMPLES = """\
examples:
  python -m liveavatar generate --reference face.png --audio voice.wav --out talk.mp4
  python -m liveavatar generate --reference face.jpg --audio voice.mp3 --out talk.mp4 --seed 7 --json
  ffmpeg -loglevel error -i voice.mp3 -f s16le -ar 16000 -ac 1 - \\
    | python -m liveavatar stream --reference face.png --out - | ffplay -
  python -m liveavatar generate --profile s2v-14b --weights ckpt --device cpu --reference face.png --audio voice.wav \\
    --prompts prompts.jsonl --out talk.mp4
  python -m liveavatar weights list --weights ckpt
  python -m liveavatar bench --profile nano
  python -m liveavatar tpp run --layout 2 --reference face.png --audio voice.wav --out talk.mp4
  python -m liveavatar info
"""


class NotReadyError(RuntimeError):
    """The installation lacks something; the message says what."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    args.given = list(sys.argv[1:] if argv is None else argv)  # for verbs that start more processes like this one
    if args.command is None:
        parser.print_help(sys.stderr)
        return BAD_INPUT
    logging.basicConfig(level=logging.WARNING, format="liveavatar: %(message)s", stream=sys.stderr)
    try:
        return _run(args)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, "interrupted")
    except BrokenPipeError:
        # Python flushes standard output once more when it ends; let that go nowhere.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(FAILED, "the reader of standard output has gone")


def _run(args: argparse.Namespace) -> int:
    from liveavatar.inputs import InputError
    from liveavatar.output import OutputError

    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            args.command(args)
    except InputError as error:
        return _fail(BAD_INPUT, error)
    except (OutputError, NotReadyError) as error:
        return _fail(FAILED, error)
    except BrokenPipeError:
        raise
    except Exception:
        traceback.print_exc()
        return FAILED
    return DONE


def _fail(code: int, message: object) -> int:
    print(f"liveavatar: {message}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"liveavatar: warning: {message}", file=sys.stderr)


# ---------------------------------------------------------------------------------------------------------- arguments


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m liveavatar",
        description="A picture and a voice in, talking video out.",
        epilog=EXAMPLES + "\ntraining: python -m liveavatar.training --help",
        formatter_class=raw,
    )
    parser.set_defaults(command=None)
    verbs = parser.add_subparsers(title="commands", metavar="{generate,stream,weights,bench,tpp,info}")

    generate = verbs.add_parser(
        "generate", help="a video file from a picture and a sound file", epilog=EXAMPLES, formatter_class=raw
    )
    add_stream_options(generate)
    generate.add_argument("--audio", type=Path, required=True, help="voice: WAV, MP3, FLAC, OGG or M4A; any rate")
    generate.add_argument("--out", type=Path, required=True, help="video to write (.mp4); replaced only when whole")
    generate.add_argument("--timeline", type=Path, help="also write what happened when, as JSON lines")
    generate.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    generate.set_defaults(command=_generate)

    stream = verbs.add_parser(
        "stream",
        help="a video from sound on standard input, while it comes",
        description="Reads raw signed 16-bit little-endian mono sound at 16 kHz from standard input, in pieces of any "
        "size, and writes frames as they are made. Latency per block goes to standard error.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    add_stream_options(stream)
    stream.add_argument("--out", type=Path, required=True, help="video to write (.mp4), or - for a live MP4 to a pipe")
    stream.set_defaults(command=_stream)

    add_weights_verb(verbs)
    add_bench_verb(verbs)
    add_tpp_verb(verbs)

    info = verbs.add_parser(
        "info",
        help="profile, parameters, digests of the weights, what it can do",
        epilog="examples:\n  python -m liveavatar info\n  python -m liveavatar info --profile s2v-14b --json\n",
        formatter_class=raw,
    )
    info.add_argument("--profile", default="nano", help="which model (default: nano)")
    info.add_argument("--json", action="store_true", help="print as JSON")
    info.set_defaults(command=_info)
    return parser


def _check_target(path: Path) -> None:
    from liveavatar.inputs import InputError
    from liveavatar.output import OutputError, check_target

    try:
        check_target(path)
    except OutputError as error:
        raise InputError(str(error)) from error


def _load(args: argparse.Namespace) -> Any:
    """The pipeline; what is wrong with weights or packages is said in one line."""
    from liveavatar.checkpoints.store import WeightsError
    from liveavatar.optional import MissingPackageError

    try:
        return load_pipeline(args)
    except (WeightsError, MissingPackageError) as error:
        raise NotReadyError(str(error)) from error


# ----------------------------------------------------------------------------------------------------------- generate


def _generate(args: argparse.Namespace) -> None:
    from liveavatar.inputs import InputError, require_file

    require_file(args.reference, "picture")
    require_file(args.audio, "voice")
    _check_target(args.out)
    if args.timeline is not None and not args.timeline.parent.is_dir():
        raise InputError(f"timeline folder {args.timeline.parent} does not exist; make it first")
    options, prompts = stream_options(args), timed_prompts(args)
    progress = ProgressLine() if sys.stderr.isatty() else None
    with progress or contextlib.nullcontext():
        result = _load(args).generate(
            args.reference,
            args.audio,
            args.out,
            prompt=args.prompt,
            seed=args.seed,
            options=options,
            timeline=args.timeline,
            progress=progress,
            prompts=prompts,
        )
    _tell_result(args, result)


def _tell_result(args: argparse.Namespace, result: Any) -> None:
    if args.json:
        names = ("frames", "fps", "width", "height", "wall_s", "generation_fps")
        print(json.dumps({"out": str(args.out)} | {name: getattr(result, name) for name in names}))
        return
    print(
        f"{args.out}: {result.frames / result.fps:.2f} s of {result.width}x{result.height} px at {result.fps} playback "
        f"FPS, made in {result.wall_s:.2f} s ({result.generation_fps:.1f} generation FPS)"
    )


class ProgressLine:
    """One line on the terminal, redrawn: `progress(frames_done, frames_total)` after each block."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin_s: float | None = None
        self._first_frames = 0

    def __call__(self, frames_done: int, frames_total: int) -> None:
        now_s = self._clock()
        line = f"{frames_done}/{frames_total} frames"
        if self._begin_s is None:  # the first block also warms up: rate and time left are told from the second on
            self._begin_s, self._first_frames = now_s, frames_done
        elif now_s > self._begin_s and frames_done > self._first_frames:
            rate = (frames_done - self._first_frames) / (now_s - self._begin_s)
            left_s = math.ceil((frames_total - frames_done) / rate)
            line += f", {rate:.1f} generation FPS, {left_s // 60}:{left_s % 60:02d} left"
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._begin_s is not None:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------------------------- stream


def _stream(args: argparse.Namespace) -> None:
    from liveavatar.inputs import InputError, read_picture, require_file

    require_file(args.reference, "picture")
    if args.out != STDOUT:
        _check_target(args.out)
    elif sys.stdout.isatty():
        raise InputError("--out - writes a binary video; send it to a program or a file, for example | ffplay -")
    if sys.stdin.isatty():
        raise InputError("no sound on standard input; pipe raw s16le 16 kHz mono into it (examples: stream --help)")
    config, options, prompts = chosen_profile(args), stream_options(args), timed_prompts(args)
    picture = read_picture(args.reference, config.height, config.width)
    session = _load(args).open(picture, prompt=args.prompt, seed=args.seed, sample_id="", options=options, prompts=prompts)
    pieces = pcm_pieces(sys.stdin.buffer)
    first = next(pieces, None)
    if first is None:
        raise InputError("standard input ended without sound; pipe raw s16le 16 kHz mono into it")
    with _sink(args.out, config) as video:
        meter = LatencyMeter()
        _push(session, first, video, meter)
        for samples in pieces:
            _push(session, samples, video, meter)
        meter.sound_arrived()
        for chunk in session.flush():
            video.write(chunk.frames)
            meter.block_left(chunk.block, len(chunk.frames))
    meter.summarise()


def _push(session: Any, samples: np.ndarray, video: VideoWriter | Mp4Stream, meter: LatencyMeter) -> None:
    meter.sound_arrived()
    video.write_audio(samples)
    for chunk in session.push(samples):
        video.write(chunk.frames)
        meter.block_left(chunk.block, len(chunk.frames))


def pcm_pieces(source: BinaryIO) -> Iterator[np.ndarray]:
    """float32 samples of raw s16le, as they come; a sample split between two reads is put together."""
    import numpy as np

    from liveavatar.inputs import InputError

    read = getattr(source, "read1", source.read)  # read1 gives what is there, read would wait for all
    held, is_checked = b"", False
    while data := read(READ_BYTES):
        held += data
        if not is_checked and len(held) < 4:
            continue
        if not is_checked and held[:4] in (b"RIFF", b"fLaC", b"OggS", b"ID3\x03", b"ID3\x04"):
            raise InputError(
                "standard input holds a sound file, not raw sound; "
                "convert it: ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | python -m liveavatar stream ..."
            )
        is_checked = True
        whole = len(held) - len(held) % 2
        yield np.frombuffer(held[:whole], dtype="<i2").astype(np.float32) / 32768.0
        held = held[whole:]
    if len(held) > 1:
        yield np.frombuffer(held[: len(held) // 2 * 2], dtype="<i2").astype(np.float32) / 32768.0
    if len(held) % 2:
        logger.warning("standard input ended inside a sample; the last byte is dropped")


@contextlib.contextmanager
def _sink(out: Path, config: ProfileConfig) -> Iterator[VideoWriter | Mp4Stream]:
    from fractions import Fraction

    from liveavatar.output import Mp4Stream, VideoFormat, VideoWriter

    if out != STDOUT:
        with VideoWriter(out, config.width, config.height, config.fps, audio_rate=config.sample_rate) as video:
            yield video
        return
    form = VideoFormat(config.width, config.height, Fraction(config.fps), config.sample_rate, is_live=True)
    pipe = PipeEnd(sys.stdout.buffer)
    live = Mp4Stream(pipe, form)
    try:
        yield live
    finally:
        try:
            live.close()
        finally:
            pipe.check()


class PipeEnd:
    """A binary stream that can only be written to, at once: no seeking back to patch sizes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self._stream.write(data)
            self._stream.flush()
        except OSError as error:
            self._error = error
            raise
        return len(data)

    def check(self) -> None:
        """Raise what went wrong here, whatever the encoder made of it."""
        from liveavatar.output import OutputError

        if isinstance(self._error, BrokenPipeError):
            raise self._error
        if self._error is not None:
            raise OutputError(f"standard output: {self._error.strerror}") from self._error


class LatencyMeter:
    """From the arrival of the sound that completed a block until its frames are written, on standard error."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin_s = self._arrival_s = clock()
        self._latencies_ms: list[float] = []
        self._frames = 0

    def sound_arrived(self) -> None:
        self._arrival_s = self._clock()

    def block_left(self, block: int, frames: int) -> None:
        latency_ms = 1000 * (self._clock() - self._arrival_s)
        self._latencies_ms.append(latency_ms)
        self._frames += frames
        print(f"block {block}: {frames} frames, latency {latency_ms:.0f} ms", file=sys.stderr, flush=True)

    def summarise(self) -> None:
        if self._latencies_ms:
            median, worst = statistics.median(self._latencies_ms), max(self._latencies_ms)
            print(
                f"{self._frames} frames in {len(self._latencies_ms)} blocks, latency median {median:.0f} ms, "
                f"longest {worst:.0f} ms, {self._clock() - self._begin_s:.1f} s in all",
                file=sys.stderr,
            )


# --------------------------------------------------------------------------------------------------------------- info


def _info(args: argparse.Namespace) -> None:
    import dataclasses

    config = chosen_profile(args)
    weights = [_weights_file(path) for path in sorted((WEIGHTS / config.name).glob("*.safetensors"))]
    if args.json:
        print(json.dumps({"profile": dataclasses.asdict(config), "weights": weights}))
        return
    print(f"profile     {config.name}")
    print(f"picture     {config.width}x{config.height} px, {config.fps} playback FPS")
    print(f"block       {config.block_frames} frames, {config.block_frames / config.fps:.2f} s")
    print(f"sound       {config.sample_rate} Hz mono; files: WAV, MP3, FLAC, OGG, M4A")
    print(f"rollout     {dataclasses.asdict(config.rollout)}")
    for file in weights:
        print(f"weights     {file['name']}: {file['parameters']:,} parameters, sha256 {file['sha256'][:16]}")
    if not weights:
        print(f"weights     none in the package for this profile ({config.name}); see: python -m liveavatar weights list")
    print("can         generate (files), stream (raw sound in, live MP4 out), weights (list, verify, convert, sample, get)")


def _weights_file(path: Path) -> dict[str, Any]:
    """Name, size and digest; the parameters are counted from the header alone (8 bytes of length, then JSON)."""
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    parameters = sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return {"name": path.name, "parameters": parameters, "bytes": path.stat().st_size, "sha256": digest}
