"""A model too big for one device: activation checkpointing, FSDP2 sharding, and sharded checkpoints.

Functions that take a model and alter it; the model knows nothing of them. Sharded checkpoints go through
`torch.distributed.checkpoint` in its safetensors form, so that nothing is pickled here either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from liveavatar.model.transformer import S2VTransformer

ENTRY_POINTS = ("encode_text", "encode_audio", "prefill", "step")  # beside `forward`
BLOCK_ENTRY_POINTS = ("seen_text", "modulated_by")


class Switched(Protocol):
    """What a block's result depends on beside its arguments: the adapter that is active."""

    active: str | None


def checkpoint_activations(transformer: S2VTransformer, switch: Switched | None = None) -> None:
    """Keep only each block's input for the backward pass, and run the block again there.

    switch: of the adapters on the transformer; the block is run again with the adapter of its first run, whatever is
    active by then.
    """
    for block in transformer.blocks:
        block.forward = partial(_checkpointed, block.forward, switch)


def _checkpointed(forward: Callable[..., list[Tensor]], switch: Switched | None, *args: object) -> list[Tensor]:
    if switch is None:
        return checkpoint(forward, *args, use_reentrant=False)
    first = switch.active

    def run(*same: object) -> list[Tensor]:
        now, switch.active = switch.active, first
        try:
            return forward(*same)
        finally:
            switch.active = now

    return checkpoint(run, *args, use_reentrant=False)


def shard(transformer: S2VTransformer) -> None:
    """Shard parameters, gradients and optimiser state over all processes, block by block, then the rest.

    Tensors keep their types, which autocast reconciles: a frozen base in bf16, float32 masters of what is trained, whose
    gradients are summed in float32. Inputs keep theirs as well: noise levels must not be rounded to 16 bits. Call it
    before optimisers are made.
    """
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    for block in transformer.blocks:
        fully_shard(block, mp_policy=policy)
        for name in BLOCK_ENTRY_POINTS:
            register_fsdp_forward_method(block, name)
    fully_shard(transformer, mp_policy=policy)
    # Without this, hooks run for `forward` alone and other calls would meet sharded parameters.
    for name in ENTRY_POINTS:
        register_fsdp_forward_method(transformer, name)


def is_sharded(tensors: Iterable[Tensor]) -> bool:
    """Whether any of the tensors is spread over processes."""
    return any(isinstance(tensor, DTensor) for tensor in tensors)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor on every process; all of them must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def clip_gradients(parameters: list[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients to a norm of at most `limit` over all processes' parts; returns the norm before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not is_sharded(gradients):
        return nn.utils.clip_grad_norm_(parameters, limit)
    parts, shared = (
        torch.stack([local(g).float().square().sum() for g in chosen]).sum() if chosen else torch.zeros(())
        for chosen in (
            [g for g in gradients if isinstance(g, DTensor)],
            [g for g in gradients if not isinstance(g, DTensor)],
        )
    )
    dist.all_reduce(parts)
    norm = (parts + shared.to(parts.device)).sqrt()
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        local(gradient).mul_(factor)
    return norm


def save_sharded(tensors: dict[str, Tensor], folder: Path) -> None:
    """Every process writes its own parts into `folder`, as safetensors."""
    dcp.save(tensors, storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True))


def load_sharded(tensors: dict[str, Tensor], folder: Path) -> None:
    """Fill tensors in place from what `save_sharded` wrote, with any number of processes."""
    dcp.load(tensors, storage_reader=dcp.HuggingFaceStorageReader(str(folder)))
