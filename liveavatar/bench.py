"""What a block costs here and now: time of each step and of decoding, rate, share of what the device can do, memory.

Random weights, made on the device; sizes are the profile's. Rates count operations of the function in closed form
(liveavatar/cost.py), so a form that saves some shows as faster. Not here: arguments and printing (bench_cli.py).
"""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import liveavatar
from liveavatar.checkpoints.random_weights import fill_randomly
from liveavatar.components import placement
from liveavatar.config import ProfileConfig
from liveavatar.cost import BlockSizes, StepCost, cache_bytes, step_cost
from liveavatar.model.codec import Codec, VaeStreamDecoder
from liveavatar.model.compiled import compile_blocks
from liveavatar.model.fp8 import FORMAT, RELEASED_EXCLUSIONS, has_scaled_product, quantise, quantise_linears
from liveavatar.model.light_decoder import LightDecoder, LightStreamDecoder
from liveavatar.model.offload import SLOTS, offload_blocks
from liveavatar.model.precision import set_precision
from liveavatar.model.prepared import for_inference
from liveavatar.model.transformer import S2VTransformer
from liveavatar.pipeline import rollout_type
from liveavatar.streaming.rollout import Rollout

FIRST_BLOCK = 64  # measured blocks lie far enough into a stream that the window is full
DESIGN_RATE = 790e12  # bf16 operations per second for which the design states its limits (one H100 or H200)
ROOM = 1.1  # memory needed over what is counted: activations and the allocator's waste


class NotEnoughMemoryError(RuntimeError):
    """The device cannot hold what was asked for; the message says how much it needs and what would need less."""


@dataclass(frozen=True)
class BenchOptions:
    """How to run a profile. resident: blocks that stay on the device when the others are offloaded.

    host_caches: keys and values of the past in host memory.

    compile: "no", "default", or "reduce-overhead" (CUDA graphs of half blocks). graphs: whole evaluations recorded and
    replayed.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    fp8: bool = False
    compile: str = "no"
    offload: bool = False
    resident: int = 0
    host_caches: bool = False
    graphs: bool = False
    blocks: int = 5
    decode: bool = True


@dataclass
class StepRow:
    """One step of a block: median and least wall time, rate, and its share of the roofline (1 = nothing left)."""

    step: int
    median_ms: float
    least_ms: float
    tflops_per_s: float
    roofline_share: float


@dataclass
class BenchResult:
    """A whole measurement, as it is written to a file."""

    profile: str
    picture: str
    options: dict[str, Any]
    parameters: int
    operations_per_step: dict[str, int]
    matrix_tflops_per_s: dict[str, float]
    steps: list[StepRow]
    block_ms: float
    decode_ms: float | None
    generation_fps_of_denoising: float
    stage_fps: float
    design_limit_share: float
    memory_bytes: dict[str, int]
    machine: dict[str, str]
    command: str = ""
    notes: list[str] = field(default_factory=list)


class Stopwatch:
    """Wall time of work on a device: waits for it before and after, so asynchronous launches are counted whole."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait(self) -> None:
        """Until the device has done everything it was given."""
        if self.device.type != "cpu":
            torch.get_device_module(self.device).synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """How long `work` took."""
        self.wait()
        begin = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - begin


# ------------------------------------------------------------------------------------------------------------- memory


def needed_bytes(profile: ProfileConfig, options: BenchOptions) -> dict[str, int]:
    """Bytes of transformer weights, on the device and in host memory, and of the caches; nothing is allocated."""
    model = _meta_model(profile)
    set_precision(model, options.dtype)
    blocks = sum(tensor.nbytes for tensor in model.blocks.parameters())
    rest = sum(tensor.nbytes for tensor in model.parameters()) - blocks
    if options.fp8:
        blocks //= options.dtype.itemsize
    on_device = blocks
    if options.offload:
        share = min(profile.transformer.num_layers, options.resident + SLOTS) / profile.transformer.num_layers
        on_device = int(blocks * share)
    caches = profile.rollout.steps if profile.rollout.cache == "timestep" else 1
    held = cache_bytes(profile.transformer, sizes_of(profile), caches, options.dtype.itemsize)
    on_host = blocks if options.offload else 0
    if options.host_caches:  # the sink's own keys stay, and one layer is on loan
        sink = cache_bytes(profile.transformer, sizes_of(profile), 0, options.dtype.itemsize)
        lent = (held - sink) // (caches * profile.transformer.num_layers)
        return {"device": rest + on_device + sink + lent, "host": on_host + held - sink, "caches": held}
    return {"device": rest + on_device + held, "host": on_host, "caches": held}


def check_memory(profile: ProfileConfig, options: BenchOptions) -> None:
    """Raise NotEnoughMemoryError where the device or the host cannot hold it."""
    needed, device = needed_bytes(profile, options), torch.device(options.device)
    both = device.type == "cpu"
    wanted = {"device": needed["device"] + (needed["host"] if both else 0), "host": 0 if both else needed["host"]}
    for place, where in (("device", device), ("host", torch.device("cpu"))):
        free = free_bytes(where)
        if wanted[place] * ROOM > free:
            raise NotEnoughMemoryError(
                f"{profile.name} at {profile.width}x{profile.height} needs {wanted[place] * ROOM / 2**30:.1f} GiB on "
                f"{where} ({needed['caches'] / 2**30:.1f} GiB of it caches), which has {free / 2**30:.1f} GiB free; "
                "less is needed with --dtype bf16, --fp8, --profile nano, and on a card with --offload and --host-caches"
            )


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on a device."""
    if device.type == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    return int(torch.get_device_module(device).mem_get_info(device)[0])


def _peak_bytes(device: torch.device) -> dict[str, int]:
    scale = 1 if sys.platform == "darwin" else 1024
    peak = {"host_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale}
    if device.type != "cpu":
        peak["device_peak"] = int(torch.get_device_module(device).max_memory_allocated(device))
    return peak


# -------------------------------------------------------------------------------------------------------------- model


def random_transformer(profile: ProfileConfig, options: BenchOptions) -> S2VTransformer:
    """The profile's transformer with random weights, one block at a time, in the form that the options name."""
    device = torch.device(options.device)
    model = _meta_model(profile)
    for block in model.blocks:
        fill_randomly(block, device, options.dtype)
        if options.fp8:
            quantise_linears(block, exclude=())
        if options.offload:
            block.to("cpu")
    fill_randomly(model, device, options.dtype)
    set_precision(model, options.dtype)
    if options.fp8:
        quantise_linears(model, RELEASED_EXCLUSIONS)
    if options.offload:
        offload_blocks(model, device, options.resident)
    else:
        for_inference(model)
    if options.compile != "no":
        compile_blocks(model, mode=None if options.compile == "default" else options.compile)
    return model


def _meta_model(profile: ProfileConfig) -> S2VTransformer:
    """The transformer without memory."""
    with torch.device("meta"):
        return S2VTransformer(profile.transformer)


# -------------------------------------------------------------------------------------------------------- measurement


def sizes_of(profile: ProfileConfig) -> BlockSizes:
    """A steady block of a profile."""
    return BlockSizes(profile.block_latents, *profile.latent_size, profile.rollout.window_past + 1)


@torch.inference_mode()
def run(profile: ProfileConfig, options: BenchOptions) -> BenchResult:
    """Measure a profile; raises NotEnoughMemoryError before anything large is made, ValueError for what cannot be."""
    kind = rollout_type(placement(options.device, offload=options.offload), options.host_caches, options.graphs)
    check_memory(profile, options)
    device, watch = torch.device(options.device), Stopwatch(torch.device(options.device))
    model = random_transformer(profile, options)
    rollout = _steady_rollout(profile, model, device, options, kind)
    noise, voice = _noise(profile, device), _voice(profile, model, device)
    seconds: list[list[float]] = [[] for _ in range(len(rollout.levels) - 1)]
    whole = []
    warm = rollout.caches[0].slots if options.graphs else 1  # compiling, allocating; with graphs one recording per slot
    for block in range(warm + options.blocks):
        spent = _timed_block(rollout, noise, voice, watch)
        if block >= warm:
            whole.append(spent[-1])
            for step, value in enumerate(spent[:-1]):
                seconds[step].append(value)
    cost, rates = step_cost(profile.transformer, sizes_of(profile)), matrix_rates(profile, options, watch)
    least_s = roofline_seconds(cost, rates)
    decode_s = _decode_seconds(profile, options, watch) if options.decode else None
    block_s, step_s = statistics.median(whole), statistics.median([value for values in seconds for value in values])
    return BenchResult(
        profile=profile.name,
        picture=f"{profile.width}x{profile.height}",
        options=_words(options),
        parameters=sum(tensor.numel() for tensor in _meta_model(profile).parameters()),
        operations_per_step={**asdict(cost), "total": cost.total},
        matrix_tflops_per_s={name: rate / 1e12 for name, rate in rates.items()},
        steps=[_row(step, values, cost, least_s) for step, values in enumerate(seconds)],
        block_ms=1000 * block_s,
        decode_ms=None if decode_s is None else 1000 * decode_s,
        generation_fps_of_denoising=profile.block_frames / block_s,
        stage_fps=profile.block_frames / max(step_s, decode_s or 0),
        design_limit_share=cost.total / DESIGN_RATE / step_s,
        memory_bytes=_peak_bytes(device) | {f"{name}_counted": n for name, n in needed_bytes(profile, options).items()},
        machine=machine(device),
        notes=_notes(options, device),
    )


def _words(options: BenchOptions) -> dict[str, Any]:
    return asdict(options) | {"dtype": str(options.dtype).removeprefix("torch.")}


def _row(step: int, values: list[float], cost: StepCost, least_s: float) -> StepRow:
    median = statistics.median(values)
    return StepRow(step, 1000 * median, 1000 * min(values), cost.total / median / 1e12, least_s / median)


def _steady_rollout(
    profile: ProfileConfig,
    model: S2VTransformer,
    device: torch.device,
    options: BenchOptions,
    kind: type[Rollout] = Rollout,
) -> Rollout:
    """A stream whose window counts as full; the sink does not switch meanwhile."""
    c, (height, width) = profile.transformer, profile.latent_size
    text = model.encode_text(torch.randn(1, c.text_len, c.text_dim, device=device, dtype=options.dtype))
    sink = torch.randn(1, c.in_dim, 1, height, width, device=device)
    motion = torch.randn(1, c.in_dim, c.motion_latents, height, width, device=device) if c.motion != "none" else None
    rollout = kind(model, replace(profile.rollout, aas=False), text, sink, profile.block_latents, motion)
    rollout.next_block = FIRST_BLOCK
    return rollout


def _noise(profile: ProfileConfig, device: torch.device) -> Tensor:
    return torch.randn(1, profile.transformer.in_dim, profile.block_latents, *profile.latent_size, device=device)


def _voice(profile: ProfileConfig, model: S2VTransformer, device: torch.device) -> Any:
    c = profile.transformer
    return model.encode_audio(torch.randn(1, c.audio_layers, c.audio_dim, profile.block_frames, device=device))


def _timed_block(rollout: Rollout, noise: Tensor, voice: Any, watch: Stopwatch) -> list[float]:
    """Seconds of each step of one block, then of the whole block; the stream moves on by one."""
    spent: list[float] = []
    velocity: Callable[..., Tensor] = rollout.velocity

    def timed(*args: Any) -> Tensor:
        result: list[Tensor] = []
        spent.append(watch.seconds(lambda: result.append(velocity(*args))))
        return result[0]

    rollout.velocity = timed  # type: ignore[method-assign,assignment]
    try:
        whole = watch.seconds(lambda: rollout.denoise(noise, voice))
    finally:
        del rollout.velocity
    return [*spent[: len(rollout.levels) - 1], whole]


def _decode_seconds(profile: ProfileConfig, options: BenchOptions, watch: Stopwatch) -> float:
    """Median time of decoding one block with the profile's decoder."""
    device, light = watch.device, profile.rollout.decoder == "light"
    with torch.device("meta"):
        network = LightDecoder(profile.codec) if light else Codec(profile.codec)
    kind = torch.float32 if device.type == "cpu" else options.dtype
    fill_randomly(network, device, kind)
    stream: Any = LightStreamDecoder(network) if isinstance(network, LightDecoder) else VaeStreamDecoder(network)
    shape = (1, profile.codec.z_dim, profile.block_latents, *profile.latent_size)
    latents = torch.randn(shape, device=device).to(kind)
    stream.prime(latents[:, :, :1])
    stream.decode(latents)
    return statistics.median(watch.seconds(lambda: stream.decode(latents)) for _ in range(options.blocks))


def matrix_rates(profile: ProfileConfig, options: BenchOptions, watch: Stopwatch) -> dict[str, float]:
    """Operations per second that this device reaches in a plain matrix product of the feed-forward's shape.

    "dense" in the run's type; "fp8" where weights are in 8 bits and the device multiplies them.
    """
    c, tokens = profile.transformer, sizes_of(profile).tokens(profile.transformer)
    x = torch.randn(tokens, c.dim, device=watch.device).to(options.dtype)
    weight = torch.randn(c.dim, c.ffn_dim, device=watch.device).to(options.dtype)
    operations = 2 * tokens * c.dim * c.ffn_dim
    rates = {"dense": operations / _least_seconds(lambda: x @ weight, watch)}
    if options.fp8 and has_scaled_product(watch.device):
        one = torch.ones(1, device=watch.device)
        bits, columns = quantise(x)[0], weight.t().contiguous().to(FORMAT).t()

        def product() -> Tensor:
            return torch._scaled_mm(bits, columns, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True)

        rates["fp8"] = operations / _least_seconds(product, watch)
    return rates


def _least_seconds(work: Callable[[], object], watch: Stopwatch, repeats: int = 20) -> float:
    """Least time of one call, launched in tens so that launching does not count."""
    calls = 1 if watch.device.type == "cpu" else 10
    watch.seconds(work)
    return min(watch.seconds(lambda: [work() for _ in range(calls)]) for _ in range(repeats)) / calls


def roofline_seconds(cost: StepCost, rates: dict[str, float]) -> float:
    """The least time of a step at the measured rates: products with weights at the 8-bit rate where there is one."""
    return cost.weights / rates.get("fp8", rates["dense"]) + cost.attention / rates["dense"]


def machine(device: torch.device) -> dict[str, str]:
    """Names and versions that a measurement depends on."""
    if device.type == "cpu":
        name = f"{_processor()}, {torch.get_num_threads()} thread(s)"
    else:
        name = str(torch.get_device_module(device).get_device_name(device))
    return {
        "device": name,
        "liveavatar": liveavatar.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _notes(options: BenchOptions, device: torch.device) -> list[str]:
    notes = []
    if options.fp8 and not has_scaled_product(device):
        notes.append("this device does not multiply 8-bit matrices; the same rounding was computed in float32, slower")
    if (options.offload or options.host_caches) and device.type == "cpu":
        notes.append("offload copies within host memory here; its speed on a card is not seen")
    return notes
