"""Names and shapes of the official files, from sizes alone: what a checkpoint must hold, known without building a model.

Used to verify files by their headers, to write sample checkpoints, and by tests as the independent list of what the
networks must be made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from liveavatar.model.umt5 import UMT5Sizes

Layout = dict[str, tuple[int, ...]]

# The published config.json. The last two are constructor defaults, which that file does not repeat.
S2V_14B: dict[str, Any] = {
    "model_type": "s2v",
    "dim": 5120,
    "num_heads": 40,
    "num_layers": 40,
    "ffn_dim": 13824,
    "freq_dim": 256,
    "in_dim": 16,
    "out_dim": 16,
    "text_len": 512,
    "eps": 1e-6,
    "audio_dim": 1024,
    "num_audio_token": 4,
    "audio_inject_layers": [0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39],
    "cond_dim": 16,
    "zero_init": True,
    "zero_timestep": True,
    "enable_adain": True,
    "adain_mode": "attn_norm",
    "enable_framepack": True,
    "framepack_drop_mode": "padd",
    "enable_motioner": False,
    "enable_tsm": False,
    "add_last_motion": True,
    "trainable_token_pos_emb": False,
}
CONSTRUCTOR_DEFAULTS: dict[str, Any] = {"text_dim": 4096, "patch_size": [1, 2, 2]}
AUDIO_LAYERS = 25  # hidden states of the voice encoder that the transformer mixes

UMT5_XXL = UMT5Sizes(vocabulary=256_384, dim=4096, attention_dim=4096, ffn_dim=10_240, heads=64, layers=24)
VAE_BASE_DIM = 96
WAV2VEC_LARGE: dict[str, Any] = {
    "model_type": "wav2vec2",
    "architectures": ["Wav2Vec2ForCTC"],
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
    "feat_extract_activation": "gelu",
    "conv_bias": True,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "vocab_size": 33,
}


@dataclass
class _Writer:
    """Adds layers under official names."""

    layout: Layout

    def linear(self, name: str, out: int, inner: int, *, bias: bool = True) -> None:
        self.conv(name, out, inner, bias=bias)

    def conv(self, name: str, out: int, inner: int, *kernel: int, bias: bool = True) -> None:
        self.layout[f"{name}.weight"] = (out, inner, *kernel)
        if bias:
            self.layout[f"{name}.bias"] = (out,)

    def norm(self, name: str, dim: int) -> None:
        self.layout |= {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


# -------------------------------------------------------------------------------------------------------- transformer


def s2v_layout(config: Mapping[str, Any]) -> Layout:
    """Every tensor of the S2V transformer whose `config.json` this is: for the published one 1,260 tensors, 16.3 B values.

    Raises KeyError for a configuration without one of the sizes.
    """
    dim, ffn = config["dim"], config["ffn_dim"]
    text_dim = config.get("text_dim", CONSTRUCTOR_DEFAULTS["text_dim"])
    patch = tuple(config.get("patch_size", CONSTRUCTOR_DEFAULTS["patch_size"]))
    layout: Layout = {}
    write = _Writer(layout)
    write.conv("patch_embedding", dim, config["in_dim"], *patch)
    write.conv("cond_encoder", dim, config["cond_dim"], *patch)
    for index, inner in (("0", text_dim), ("2", dim)):
        write.linear(f"text_embedding.{index}", dim, inner)
    for index, inner in (("0", config["freq_dim"]), ("2", dim)):
        write.linear(f"time_embedding.{index}", dim, inner)
    write.linear("time_projection.1", 6 * dim, dim)
    layout["trainable_cond_mask.weight"] = (3, dim)
    for block in range(config["num_layers"]):
        name = f"blocks.{block}"
        layout[f"{name}.modulation"] = (1, 6, dim)
        _attention(write, f"{name}.self_attn", dim)
        write.norm(f"{name}.norm3", dim)
        _attention(write, f"{name}.cross_attn", dim)
        write.linear(f"{name}.ffn.0", ffn, dim)
        write.linear(f"{name}.ffn.2", dim, ffn)
    layout["head.modulation"] = (1, 2, dim)
    write.linear("head.head", config["out_dim"] * patch[0] * patch[1] * patch[2], dim)
    _audio(write, config, dim)
    if config.get("enable_framepack", False):
        for name, kernel in (("proj", (1, 2, 2)), ("proj_2x", (2, 4, 4)), ("proj_4x", (4, 8, 8))):
            write.conv(f"frame_packer.{name}", dim, config["in_dim"], *kernel)
    return layout


def _attention(write: _Writer, name: str, dim: int) -> None:
    for part in "qkvo":
        write.linear(f"{name}.{part}", dim, dim)
    for part in ("norm_q", "norm_k"):
        write.layout[f"{name}.{part}.weight"] = (dim,)


def _audio(write: _Writer, config: Mapping[str, Any], dim: int) -> None:
    encoder, tokens = "casual_audio_encoder.encoder", config["num_audio_token"]
    write.layout["casual_audio_encoder.weights"] = (1, AUDIO_LAYERS, 1, 1)
    write.layout[f"{encoder}.padding_tokens"] = (1, 1, 1, dim)
    write.conv(f"{encoder}.conv1_local.conv", dim // 4 * tokens, config["audio_dim"], 3)
    write.conv(f"{encoder}.conv1_global.conv", dim // 4, config["audio_dim"], 3)
    write.conv(f"{encoder}.conv2.conv", dim // 2, dim // 4, 3)
    write.conv(f"{encoder}.conv3.conv", dim, dim // 2, 3)
    write.linear(f"{encoder}.final_linear", dim, dim)
    for slot in range(len(config["audio_inject_layers"])):
        _attention(write, f"audio_injector.injector.{slot}", dim)
        write.linear(f"audio_injector.injector_adain_layers.{slot}.linear", 2 * dim, dim)


def lora_targets(layout: Layout) -> dict[str, tuple[int, int]]:
    """What the published LoRA adapts -> (out, in): attention (the audio's included) and feed-forward."""
    suffixes = tuple(f".{name}.weight" for name in ("q", "k", "v", "o", "ffn.0", "ffn.2"))
    inside = ("blocks.", "audio_injector.injector.")
    chosen = {name: shape for name, shape in layout.items() if name.endswith(suffixes) and name.startswith(inside)}
    return {name.removesuffix(".weight"): (shape[0], shape[1]) for name, shape in chosen.items()}


def lora_layout(layout: Layout, rank: int) -> Layout:
    """The LoRA's tensors for a transformer, under their published names."""
    tensors: Layout = {}
    for module, (out, inner) in lora_targets(layout).items():
        tensors[f"{module}.lora_A.default.weight"] = (rank, inner)
        tensors[f"{module}.lora_B.default.weight"] = (out, rank)
    return tensors


# ----------------------------------------------------------------------------------------------------------- encoders


def umt5_layout(sizes: UMT5Sizes) -> Layout:
    """The text encoder's tensors under their official names."""
    dim, inner, ffn = sizes.dim, sizes.attention_dim, sizes.ffn_dim
    layout: Layout = {"token_embedding.weight": (sizes.vocabulary, dim)}
    for block in range(sizes.layers):
        name = f"blocks.{block}"
        layout |= {f"{name}.norm1.weight": (dim,), f"{name}.norm2.weight": (dim,)}
        layout |= {f"{name}.attn.{part}.weight": (inner, dim) for part in "qkv"}
        layout[f"{name}.attn.o.weight"] = (dim, inner)
        layout |= {f"{name}.ffn.{part}.weight": (ffn, dim) for part in ("gate.0", "fc1")}
        layout[f"{name}.ffn.fc2.weight"] = (dim, ffn)
        layout[f"{name}.pos_embedding.embedding.weight"] = (sizes.buckets, sizes.heads)
    layout["norm.weight"] = (dim,)
    return layout


def wav2vec_layout(config: Mapping[str, Any]) -> Layout:
    """The voice encoder's tensors under the names of the published speech recogniser, its head included."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    layout: Layout = {"wav2vec2.masked_spec_embed": (width,)}
    write = _Writer(layout)
    channels = [1, *config["conv_dim"]]
    for index, kernel in enumerate(config["conv_kernel"]):
        name = f"wav2vec2.feature_extractor.conv_layers.{index}"
        write.conv(f"{name}.conv", channels[index + 1], channels[index], kernel, bias=config["conv_bias"])
        write.norm(f"{name}.layer_norm", channels[index + 1])
    write.norm("wav2vec2.feature_projection.layer_norm", channels[-1])
    write.linear("wav2vec2.feature_projection.projection", width, channels[-1])
    position, kernel = "wav2vec2.encoder.pos_conv_embed.conv", config["num_conv_pos_embeddings"]
    layout[f"{position}.bias"] = (width,)
    layout[f"{position}.weight_g"] = (1, 1, kernel)
    layout[f"{position}.weight_v"] = (width, width // config["num_conv_pos_embedding_groups"], kernel)
    write.norm("wav2vec2.encoder.layer_norm", width)
    for index in range(config["num_hidden_layers"]):
        name = f"wav2vec2.encoder.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            write.linear(f"{name}.attention.{part}", width, width)
        write.norm(f"{name}.layer_norm", width)
        write.linear(f"{name}.feed_forward.intermediate_dense", inner, width)
        write.linear(f"{name}.feed_forward.output_dense", width, inner)
        write.norm(f"{name}.final_layer_norm", width)
    write.linear("lm_head", config.get("vocab_size", 32), width)
    return layout


# -------------------------------------------------------------------------------------------------------------- codec


def vae_layout(base_dim: int = VAE_BASE_DIM, z_dim: int = 16) -> Layout:
    """The video codec's tensors under their official names: 194 of them."""
    layout: Layout = {}
    write = _Writer(layout)
    widths = [base_dim * factor for factor in (1, 1, 2, 4, 4)]
    write.conv("conv1", 2 * z_dim, 2 * z_dim, 1, 1, 1)
    write.conv("conv2", z_dim, z_dim, 1, 1, 1)
    write.conv("encoder.conv1", widths[0], 3, 3, 3, 3)
    index = 0
    for level in range(4):
        for inner in (widths[level], widths[level + 1]):
            _residual(write, f"encoder.downsamples.{index}", inner, widths[level + 1])
            index += 1
        if level < 3:
            name, width = f"encoder.downsamples.{index}", widths[level + 1]
            write.conv(f"{name}.resample.1", width, width, 3, 3)
            if level > 0:
                write.conv(f"{name}.time_conv", width, width, 3, 1, 1)
            index += 1
    _middle(write, "encoder", widths[-1], 2 * z_dim, widths[-1])
    widths = [base_dim * factor for factor in (4, 4, 4, 2, 1)]
    write.conv("decoder.conv1", widths[0], z_dim, 3, 3, 3)
    index = 0
    for level in range(4):
        inner, width = widths[level] // (2 if level else 1), widths[level + 1]
        for first in (inner, width, width):
            _residual(write, f"decoder.upsamples.{index}", first, width)
            index += 1
        if level < 3:
            name = f"decoder.upsamples.{index}"
            write.conv(f"{name}.resample.1", width // 2, width, 3, 3)
            if level < 2:
                write.conv(f"{name}.time_conv", 2 * width, width, 3, 1, 1)
            index += 1
    _middle(write, "decoder", widths[0], 3, widths[-1])
    return layout


def _residual(write: _Writer, name: str, inner: int, out: int) -> None:
    write.layout[f"{name}.residual.0.gamma"] = (inner, 1, 1, 1)
    write.conv(f"{name}.residual.2", out, inner, 3, 3, 3)
    write.layout[f"{name}.residual.3.gamma"] = (out, 1, 1, 1)
    write.conv(f"{name}.residual.6", out, out, 3, 3, 3)
    if inner != out:
        write.conv(f"{name}.shortcut", out, inner, 1, 1, 1)


def _middle(write: _Writer, half: str, width: int, out: int, head_width: int) -> None:
    """The innermost layers of one half, and its last convolution."""
    for index in (0, 2):
        _residual(write, f"{half}.middle.{index}", width, width)
    write.layout[f"{half}.middle.1.norm.gamma"] = (width, 1, 1)
    write.conv(f"{half}.middle.1.to_qkv", 3 * width, width, 1, 1)
    write.conv(f"{half}.middle.1.proj", width, width, 1, 1)
    write.layout[f"{half}.head.0.gamma"] = (head_width, 1, 1, 1)
    write.conv(f"{half}.head.2", out, head_width, 3, 3, 3)
