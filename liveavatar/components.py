"""What a pipeline is made of, and the builders: one per layout in which weights lie on a disk.

Everything after this file is the same for all profiles; what differs between them (which text encoder, which voice
encoder, which decoder) is decided here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.checkpoints.random_weights import fill_randomly
from liveavatar.checkpoints.store import WeightsFolder, open_weights
from liveavatar.config import AudioConfig, ProfileConfig, RolloutOptions
from liveavatar.config import profile as profile_named
from liveavatar.model.codec import Codec
from liveavatar.model.compiled import compile_blocks
from liveavatar.model.fp8 import quantise_linears
from liveavatar.model.light_decoder import LightDecoder, hold_for_cpu
from liveavatar.model.offload import offload_blocks
from liveavatar.model.precision import set_precision
from liveavatar.model.prepared import for_inference
from liveavatar.model.speech_encoder import SpeechEncoder, hold_by_tap
from liveavatar.model.text import HashedWords
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.conditions import Conditions, VoiceConditions

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"
ALL_PARTS = frozenset({"transformer", "codec", "voice", "text"})  # networks that a process may hold or do without
RANDOM, RANDOM_TINY = "random", "random-tiny"  # names that may stand where a weights folder is asked for
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Size = tuple[int, int]  # width and height in pixels


@dataclass(frozen=True)
class Placement:
    """Where networks run and in which type.

    offload: what is used once per prompt stays on the processor, and the transformer's blocks wait in its memory.
    compiled: the transformer's blocks go through torch.compile.
    """

    device: torch.device
    dtype: torch.dtype
    fp8: bool = False
    offload: bool = False
    compiled: bool = False

    @property
    def rare_device(self) -> torch.device:
        """Where networks stand that do not run for every block, and where large ones are put together."""
        return torch.device("cpu") if self.offload else self.device


@dataclass(frozen=True)
class Components:
    """The networks of a profile, ready to run, and the ways to make what each stream has of its own.

    prompt_rows: prompt -> text rows [1, up to text_len, text_dim]. conditions: a fresh voice front end. light: the light
    decoder, where the profile has one.
    """

    config: ProfileConfig
    transformer: S2VTransformer
    codec: Codec
    prompt_rows: Callable[[str], Tensor]
    conditions: Callable[[RolloutOptions], Conditions]
    light: LightDecoder | None = None


def placement(
    device: str = "cpu", dtype: str | None = None, fp8: bool = False, offload: bool = False, compiled: bool = False
) -> Placement:
    """A checked placement; dtype None is float32 on a processor and bfloat16 elsewhere.

    Raises ValueError for a device that is not there and a type that is not one of `DTYPES`.
    """
    try:
        where = torch.device(device)
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device={device!r} cannot be used here ({reason}); 'cpu' always can") from error
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: allowed are {' and '.join(map(repr, DTYPES))}")
    kind = DTYPES[dtype] if dtype else (torch.float32 if where.type == "cpu" else torch.bfloat16)
    return Placement(where, kind, fp8, offload, compiled)


def build(
    profile: str,
    weights: Path | str | WeightsFolder | None,
    place: Placement,
    size: Size | None = None,
    parts: frozenset[str] = ALL_PARTS,
    variant: str | None = None,
) -> Components:
    """The components of a profile from a folder (None: the shipped weights), or of random weights.

    weights: a folder, opened or not, "random" (the profile's own sizes) or "random-tiny". size: width and height of the
    video, for profiles whose weights know more than one. parts: what this process uses; other networks are not loaded and
    take no memory (the official profile's encoders raise when they are asked). variant: one of those that lie beside the
    folder's generator (nano). Raises ValueError for an unknown profile and a size that does not fit, WeightsError for what
    is wrong with a folder or is not in it.
    """
    config = profile_named(profile)
    if profile == "nano":
        return _nano(config, weights, place, size, parts, variant)
    if variant is not None:
        raise ValueError(f"variant={variant!r}: only nano's weights have variants; give another LoRA in the weights folder")
    from liveavatar.official_components import official, random_official

    if isinstance(weights, WeightsFolder):
        weights = weights.path
    if weights is None:
        raise ValueError(
            f"profile {profile!r} ships no weights; give a folder as weights (what must be in it: "
            f"python -m liveavatar weights list), or {RANDOM!r} to measure speed"
        )
    if size is not None:
        config = replace(config, width=size[0], height=size[1])
    if weights in (RANDOM, RANDOM_TINY):
        return random_official(config, place, weights == RANDOM_TINY, parts)
    return official(config, Path(weights), place, parts)


def finish_transformer(model: S2VTransformer, place: Placement) -> S2VTransformer:
    """A loaded transformer in its placement: types, 8-bit layers, no gradients, products in their fastest form."""
    set_precision(model, place.dtype)
    if place.fp8:
        quantise_linears(model)
    if place.offload:
        offload_blocks(model.eval().requires_grad_(False), place.device)
    else:
        for_inference(model.to(place.device).eval().requires_grad_(False))  # type: ignore[arg-type]
    return compile_blocks(model) if place.compiled else model


# --------------------------------------------------------------------------------------------------------------- nano


def _nano(
    config: ProfileConfig,
    weights: Path | str | WeightsFolder | None,
    place: Placement,
    size: Size | None,
    parts: frozenset[str],
    variant: str | None,
) -> Components:
    if size is not None and size != (config.width, config.height):
        raise ValueError(f"size {size[0]}x{size[1]}: nano's weights know {config.width}x{config.height} only")
    with torch.device("meta"):
        codec, light = Codec(config.codec), LightDecoder(config.codec)
        transformer, words, speech = S2VTransformer(config.transformer), _words(config), _speech(config)
    networks = {
        "codec": codec,
        "light_decoder": light,
        "generator:transformer.": transformer,
        "generator:words.": words,
        "generator:speech.": speech,
    }
    if "transformer" not in parts:
        del networks["generator:transformer."]
    if isinstance(weights, WeightsFolder):
        folder: WeightsFolder | None = weights
    else:
        is_random = weights in (RANDOM, RANDOM_TINY)
        folder = None if is_random else open_weights(Path(weights or SHIPPED_WEIGHTS / config.name))
    _fill(networks, folder, place.device, variant)
    if "transformer" in parts:
        finish_transformer(transformer, place)
    hold_by_tap(speech)
    if place.device.type == "cpu":
        hold_for_cpu(light)
    return Components(
        config=config,
        transformer=transformer,
        codec=codec,
        prompt_rows=lambda prompt: words(words.word_ids(prompt)[None].to(place.device)),
        conditions=lambda options: _causal_voice(transformer, speech, config, options),
        light=light,
    )


def _fill(
    networks: dict[str, nn.Module], folder: WeightsFolder | None, device: torch.device, variant: str | None
) -> None:
    """Weights into networks on the meta device, by "file" or "file:prefix of its names"; None: random weights."""
    for name, network in networks.items():
        if folder is None:
            fill_randomly(network, device)
            continue
        network.to_empty(device=device)
        file, _, prefix = name.partition(":")
        folder.load_into(file, network, prefix, variant)
        network.eval().requires_grad_(False)


def _words(config: ProfileConfig) -> HashedWords:
    return HashedWords(config.transformer.text_dim, config.transformer.text_len)


def _speech(config: ProfileConfig) -> SpeechEncoder:
    assert isinstance(config.audio, AudioConfig)
    return SpeechEncoder(config.audio.mel_bins, config.audio.encoder_width)


def _causal_voice(
    transformer: S2VTransformer, speech: SpeechEncoder, config: ProfileConfig, options: RolloutOptions
) -> Conditions:
    if options.audio_context != "window":
        raise ValueError(f"audio_context={options.audio_context!r}: nano's voice front end is causal; it has only 'window'")
    return VoiceConditions(transformer, speech, config, options.audio_history)
