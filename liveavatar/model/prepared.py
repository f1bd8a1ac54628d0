"""Forms of a trained transformer for inference, applied from outside: 16-bit weights, fused projections, weights by column.

Parameter names and the state dictionary stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from liveavatar.model.attention import Attention, FusedProjection
from liveavatar.model.transformer import S2VTransformer

# What the official run computes in float32 whatever the weights are stored in.
_FULL_PRECISION = ("time_embedding", "time_projection", "voice_embedding", "head", "casual_audio_encoder", "residual")


def hold_weights(model: S2VTransformer, dtype: torch.dtype) -> S2VTransformer:
    """Hold the weights of token embeddings, blocks and audio injection in `dtype`, as official bf16 runs do; in place.

    Time embedding, modulation, head and audio encoder stay in float32, and sums inside a block are formed in it.
    """
    for name, part in model.named_children():
        part.to(torch.float32 if name in _FULL_PRECISION else dtype)
    for block in model.blocks:
        block.modulation.data = block.modulation.data.float()  # type: ignore[union-attr,operator]
    return model


def fuse_projections(model: S2VTransformer) -> S2VTransformer:
    """Make query, key and value projections of self attention one matrix product; in place, for inference.

    The three weights become views of one piece, so nothing is held twice. Attentions whose projections are not plain
    linear layers (quantised, adapted) are left alone. Call it after weights are loaded, merged and moved; a module moved or
    cast later must be fused again.
    """
    for block in model.blocks:
        attention: Attention = block.self_attn  # type: ignore[assignment,union-attr]
        projections = (attention.q, attention.k, attention.v)
        if all(type(projection) is nn.Linear for projection in projections):
            weight = _as_views([projection.weight for projection in projections])
            bias = _as_views([projection.bias for projection in projections])
            norms = _as_views([attention.norm_q.weight, attention.norm_k.weight]).view(2, -1)
            attention.fused = FusedProjection(weight, bias, norms)
    return model


def for_inference(model: S2VTransformer) -> S2VTransformer:
    """What pays on the device that the model is on, without changing results beyond rounding; in place."""
    fuse_projections(model)
    return hold_by_column(model) if model.trainable_cond_mask.weight.device.type == "cpu" else model  # type: ignore[return-value]


def hold_by_column(model: nn.Module) -> nn.Module:
    """Lay out every linear weight [out, in] in memory as [in, out]; in place, same values, same shapes.

    The product of few rows with a weight then reads it in order: about a tenth of a block step on a CPU. Other devices
    choose the kernel for either layout, so there it changes nothing.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.weight.data = _by_column(module.weight.data)
        elif isinstance(module, Attention) and module.fused is not None:
            module.fused = replace(module.fused, weight=_by_column(module.fused.weight))
            for part, weight in zip((module.q, module.k, module.v), module.fused.weight.chunk(3), strict=True):
                part.weight.data = weight
    return model


def _by_column(weight: Tensor) -> Tensor:
    return weight.t().contiguous().t()


def _as_views(parameters: Sequence[Tensor]) -> Tensor:
    """The parameters one after the other in one tensor, of which they then are views."""
    joined = torch.cat([parameter.data for parameter in parameters])
    for parameter, part in zip(parameters, joined.chunk(len(parameters)), strict=True):
        parameter.data = part
    return joined
