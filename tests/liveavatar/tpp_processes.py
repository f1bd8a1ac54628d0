"""Pipelines of real processes for tests: forked from one that has imported everything, so that starting one costs little."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from liveavatar.checkpoints.random_weights import fill_randomly
from liveavatar.components import ALL_PARTS, Components, build, placement
from liveavatar.config import ProfileConfig, RolloutOptions, nano
from liveavatar.model.codec import Codec
from liveavatar.model.light_decoder import LightDecoder, hold_for_cpu
from liveavatar.model.prepared import for_inference
from liveavatar.model.text import HashedWords
from liveavatar.model.transformer import S2VTransformer
from liveavatar.pipeline import Pipeline
from liveavatar.streaming.conditions import VoiceConditions
from liveavatar.tpp.delivery import Finished, Nobody
from liveavatar.tpp.engine import Engine, StreamResult
from liveavatar.tpp.launch import REPORT, report_to
from liveavatar.tpp.layout import Layout
from liveavatar.tpp.membership import Rendezvous, alone, join
from liveavatar.tpp.order import StreamOrder
from liveavatar.tpp.sources import Source, WholeSound
from liveavatar.tpp.watch import Fault, StageFaultError
from liveavatar.tpp.workplace import EngineOptions
from tests.liveavatar.tiny import tiny_profile, tiny_speech

CPU = torch.device("cpu")
CONTEXT = mp.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.liveavatar.tpp_processes"])


def parts_of(profile: ProfileConfig, seed: int = 0) -> Components:
    """A nano-like profile's networks with random weights, the same in every process."""
    transformer, codec, light = S2VTransformer, Codec, LightDecoder
    with torch.device("meta"):
        made = transformer(profile.transformer), codec(profile.codec), light(profile.codec)
        words = HashedWords(profile.transformer.text_dim, profile.transformer.text_len)
    for network in (*made, words):
        fill_randomly(network, CPU, seed=seed)
    model = for_inference(made[0])
    return Components(
        config=profile,
        transformer=model,
        codec=made[1],
        prompt_rows=lambda prompt: words(words.word_ids(prompt)[None]),
        conditions=lambda options: VoiceConditions(model, tiny_speech(profile), profile, options.audio_history),
        light=hold_for_cpu(made[2]),
    )


def tiny_parts(parts: frozenset[str] = ALL_PARTS) -> Components:
    return parts_of(tiny_profile())


def nano_parts(parts: frozenset[str] = ALL_PARTS) -> Components:
    return parts_of(nano())


def official_parts(parts: frozenset[str] = ALL_PARTS) -> Components:
    """The official profile's classes at tiny sizes: motion tokens, wav2vec2, the VAE's own decoder."""
    return build("s2v-14b", "random-tiny", placement(), (64, 32), parts)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades like syllables, float [n] at 16 kHz."""
    samples = round(16_000 * seconds)
    envelope = np.abs(np.sin(np.arange(samples) / 16_000 * 2 * np.pi * 3))
    return (0.2 * envelope * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def picture(profile: ProfileConfig, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (profile.height, profile.width, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Asked:
    """One stream to make in a test. path: where a consumer may write."""

    options: RolloutOptions
    seconds: float = 3.0
    seed: int = 0
    prompt: str = "a face"
    negative_prompt: str = ""
    prompts: tuple[tuple[float, str], ...] = ()
    path: str | None = None
    timeline: str | None = None
    in_flight: int | None = None

    def order(self, profile: ProfileConfig) -> StreamOrder:
        return StreamOrder(
            reference=picture(profile),
            options=self.options,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            prompts=self.prompts,
            seed=self.seed,
            out=self.path,
            timeline=self.timeline,
            in_flight=self.in_flight,
        )


class Keeps:
    """A consumer that keeps everything, in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.blocks = path, list[Finished]()

    def take(self, done: Finished) -> None:
        self.blocks.append(done)

    def close(self) -> None:
        held: dict[str, Tensor] = {}
        for done in self.blocks:
            held[f"latents{done.number}"] = done.latents
            held[f"samples{done.number}"] = torch.from_numpy(done.samples)
            if done.chunk is not None:
                held[f"frames{done.number}"] = torch.from_numpy(done.chunk.frames)
        save_file({name: tensor.contiguous() for name, tensor in held.items()}, self.path)

    def abort(self) -> str:
        return ""


def keeps(order: StreamOrder) -> Any:
    return Nobody() if order.out is None else Keeps(Path(order.out))


def whole(asked: Asked, profile: ProfileConfig) -> Source:
    return WholeSound(sound(asked.seconds), profile.block_frames * profile.samples_per_frame)


@dataclass(frozen=True)
class Run:
    """What all processes of a test's pipeline do. Functions must be importable: processes look them up by name."""

    layout: Layout
    streams: tuple[Asked, ...]
    parts: Callable[[frozenset[str]], Components] = tiny_parts
    consumer: Callable[[StreamOrder], Any] = keeps
    source: Callable[[Asked, ProfileConfig], Source] = whole
    options: EngineOptions = field(default_factory=EngineOptions)
    prepare: Callable[[Engine], None] | None = None  # run in every process before the first stream

    def take_part(self, rendezvous: Rendezvous | None, report: Callable[[Fault, bool], None]) -> list[StreamResult]:
        torch.set_num_threads(1)
        membership = alone(self.layout) if rendezvous is None else join(self.layout, rendezvous, CPU)
        with Engine(membership, self.parts, CPU, self.options, report) as engine:
            if self.prepare is not None:
                self.prepare(engine)
            return list(engine.serve(self._streams(engine.place.pipeline.config), self.consumer))

    def _streams(self, profile: ProfileConfig) -> Iterator[tuple[StreamOrder, Source]]:
        for asked in self.streams:
            yield asked.order(profile), self.source(asked, profile)


class Forked:
    """A process as `supervise` wants it."""

    def __init__(self, process: Any) -> None:
        self.process = process
        self.pid: int = process.pid

    def poll(self) -> int | None:
        code = self.process.exitcode
        return None if code is None else int(code)


def forked(run: Run, started: list[int] | None = None) -> Callable[[Mapping[str, str], int], Forked]:
    """Starts processes for `supervise`; their ids are added to `started`."""

    def start(variables: Mapping[str, str], descriptor: int) -> Forked:
        reports = Connection(os.dup(descriptor), readable=False)
        process = CONTEXT.Process(target=_process, args=(run, dict(variables), reports), daemon=True)
        process.start()
        reports.close()
        if started is not None:
            started.append(process.pid or 0)
        return Forked(process)

    return start


def _process(run: Run, variables: dict[str, str], reports: Connection) -> None:
    os.environ.update({name: value for name, value in variables.items() if name != REPORT})
    signal.signal(signal.SIGTERM, _end)
    code = 1
    try:
        run.take_part(Rendezvous.of(variables), report_to(reports.fileno()))
        code = 0
    except StageFaultError:
        pass
    except BaseException:
        import traceback

        traceback.print_exc()
    os._exit(code)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def kept(path: Path) -> dict[str, Tensor]:
    """What `Keeps` wrote."""
    return dict(load_file(path))


def sequential(run: Run, stream: int = 0, *, decodes: bool = True) -> dict[str, Tensor]:
    """The same stream by the single process that users run: latents, and frames if it decodes, by block."""
    torch.set_num_threads(1)
    asked, pipeline = run.streams[stream], Pipeline(run.parts(ALL_PARTS))
    profile = pipeline.config
    session = pipeline.open(
        picture(profile), asked.prompt, asked.seed, options=asked.options, prompts=asked.prompts,
        negative_prompt=asked.negative_prompt,
    )  # fmt: skip
    held: dict[str, Tensor] = {}
    decode = session.showing.take

    def noting(latent: Any, frames: int) -> Any:
        held[f"latents{latent.block}"] = latent.latents
        return decode(latent, frames) if decodes else ()

    session.showing.take = noting  # type: ignore[method-assign]
    for chunks in (session.push(sound(asked.seconds)), session.flush()):
        for chunk in chunks:
            held[f"frames{chunk.block}"] = torch.from_numpy(chunk.frames)
    return held


def with_path(run: Run, folder: Path) -> Run:
    """The same run with a file of its own for each stream."""
    streams = tuple(replace(asked, path=str(folder / f"{n}.safetensors")) for n, asked in enumerate(run.streams))
    return replace(run, streams=streams)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
