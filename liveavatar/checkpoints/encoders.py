"""The official text and voice encoders from their files: names, sizes read from shapes, tokenizer from a local folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import torch

from liveavatar.checkpoints.files import TensorInfo, TensorSource, open_files
from liveavatar.checkpoints.load import load_into
from liveavatar.checkpoints.store import WeightsError
from liveavatar.model.umt5 import PromptEncoder, UMT5Encoder, UMT5Sizes
from liveavatar.model.wav2vec import Wav2VecStates
from liveavatar.optional import require

TEXT_LEN = 512
END_TOKEN = "</s>"

_UMT5_TOP = {
    "token_embedding.weight": "network.shared.weight",
    "norm.weight": "network.encoder.final_layer_norm.weight",
}
_UMT5_LAYER = {
    "norm1": "layer.0.layer_norm",
    "norm2": "layer.1.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_UMT5_NAME = re.compile(r"^blocks\.(?P<layer>\d+)\.(?P<part>.+)\.weight$")
# Names of the weight norm before torch 2, in which wav2vec2 was published.
_WEIGHT_NORM = {"conv.weight_g": "conv.parametrizations.weight.original0"}
_WEIGHT_NORM |= {"conv.weight_v": "conv.parametrizations.weight.original1"}


# --------------------------------------------------------------------------------------------------------------- text


def umt5_key_map(official: str) -> str:
    """Official UMT5 name -> name in `UMT5Encoder`; an unknown name stays as it is."""
    if official in _UMT5_TOP:
        return _UMT5_TOP[official]
    match = _UMT5_NAME.match(official)
    if match is None or match["part"] not in _UMT5_LAYER:
        return official
    return f"network.encoder.block.{match['layer']}.{_UMT5_LAYER[match['part']]}.weight"


def umt5_sizes(tensors: dict[str, TensorInfo]) -> UMT5Sizes:
    """Every size of the encoder, from the shapes of its file; raises WeightsError where the file is another network's."""
    try:
        vocabulary, dim = tensors["token_embedding.weight"].shape
        buckets, heads = tensors["blocks.0.pos_embedding.embedding.weight"].shape
        attention_dim = tensors["blocks.0.attn.q.weight"].shape[0]
        ffn_dim = tensors["blocks.0.ffn.fc1.weight"].shape[0]
    except KeyError as error:
        raise WeightsError(f"the text encoder's file has no {error.args[0]}; it is not the official UMT5 encoder") from error
    layers = 1 + max(int(match["layer"]) for match in map(_UMT5_NAME.match, tensors) if match)
    return UMT5Sizes(vocabulary, dim, attention_dim, ffn_dim, heads, layers, buckets)


def load_umt5(source: TensorSource, device: torch.device | str, dtype: torch.dtype | None = None) -> UMT5Encoder:
    """The text encoder with the file's weights, in evaluation mode; dtype None keeps the file's (bfloat16)."""
    sizes = umt5_sizes(source.tensors)
    with torch.device("meta"):
        encoder = UMT5Encoder(sizes)
    load_into(encoder, source, device, dtype, key_map=umt5_key_map)
    return encoder.eval().requires_grad_(False)


def load_tokenizer(folder: Path, text_len: int = TEXT_LEN) -> Callable[[str], list[int]]:
    """A function from a cleaned prompt to its ids: at most `text_len`, the last one the end token.

    Reads `tokenizer.json` of a local folder and nothing else. Raises WeightsError when it is missing or of another kind.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise WeightsError(f"{file} is missing; it is one of the text encoder's tokenizer files")
    tokenizers = require("tokenizers", "the text encoder's tokenizer")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises bare Exception
        raise WeightsError(f"{file} cannot be read ({error}); fetch it again") from error
    end = tokenizer.token_to_id(END_TOKEN)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=text_len)
    if end is None or tokenizer.encode("a").ids[-1:] != [end]:
        raise WeightsError(f"{file} does not end a prompt with {END_TOKEN}; it is not the UMT5 tokenizer")
    return lambda prompt: list(tokenizer.encode(prompt).ids)


def load_prompt_encoder(
    source: TensorSource,
    tokenizer: Path,
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    text_len: int = TEXT_LEN,
) -> PromptEncoder:
    """Prompts to rows [n, text_len, dim]: the tokenizer of a local folder and the text encoder."""
    tokenise = load_tokenizer(tokenizer, text_len)
    return PromptEncoder(load_umt5(source, device, dtype), tokenise, text_len)


# -------------------------------------------------------------------------------------------------------------- voice


def wav2vec_key_map(published: str) -> str | None:
    """Published wav2vec2 name -> name in `Wav2VecStates`; None for the speech recogniser's head and the training mask."""
    name = published.removeprefix("wav2vec2.")
    if name.startswith("lm_head.") or name == "masked_spec_embed":
        return None
    for old, new in _WEIGHT_NORM.items():
        name = name.replace(old, new)
    return f"network.{name}"


def load_wav2vec(folder: Path, device: torch.device | str, dtype: torch.dtype | None = torch.float32) -> Wav2VecStates:
    """The voice encoder of a folder with `config.json` and `model.safetensors` (or `pytorch_model.bin`)."""
    config = folder / "config.json"
    try:
        settings = json.loads(config.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{config} cannot be read ({error}); it is part of the wav2vec2 folder") from error
    pickled = folder / "pytorch_model.bin"
    is_pickled_only = pickled.is_file() and not (folder / "model.safetensors").is_file()
    source = open_files(pickled if is_pickled_only else folder / "model.safetensors")
    with torch.device("meta"):
        states = Wav2VecStates(settings)
    load_into(states, source, device, dtype, key_map=wav2vec_key_map)
    return states.eval().requires_grad_(False)
