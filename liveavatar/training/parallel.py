"""Data parallelism of a training run: each process takes its rows of the batch, gradients are averaged once per step.

Start it with `torchrun --nproc-per-node N -m liveavatar.training ...`; without torchrun everything here does nothing.
All processes draw the same whole batch and step the same optimiser, so N processes train what one would.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def join() -> None:
    """Join the process group that torchrun describes, if it started this process."""
    if "TORCHELASTIC_RUN_ID" in os.environ and not dist.is_initialized():
        dist.init_process_group("gloo")


def is_first() -> bool:
    """Whether this process logs and saves."""
    return not dist.is_initialized() or dist.get_rank() == 0


def own_rows(batch: int) -> slice:
    """This process's rows of a batch; raises ValueError when they cannot be shared evenly."""
    if not dist.is_initialized():
        return slice(0, batch)
    count = dist.get_world_size()
    if batch % count:
        raise ValueError(f"a batch of {batch} cannot be shared by {count} processes; change --batch or the processes")
    share = batch // count
    return slice(dist.get_rank() * share, (dist.get_rank() + 1) * share)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by the mean over processes, in one message."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def any_wants(stop: bool) -> bool:
    """True in all processes when one of them says so: a signal or a clock must not part them."""
    if not dist.is_initialized():
        return stop
    flag = torch.tensor(float(stop))
    dist.all_reduce(flag)
    return bool(flag > 0)


def wait() -> None:
    """Until all processes are here."""
    if dist.is_initialized():
        dist.barrier()
